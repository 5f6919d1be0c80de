"""What `ppl.data.check` looks for, one module each; their findings are listed together."""
