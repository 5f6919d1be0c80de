"""Read a user's folder of photos and table of labels, for `ppl.data.new`."""
