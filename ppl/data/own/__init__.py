"""Reading what people have: folders of photos and tables of labels, as `ppl.data.new` takes them."""
