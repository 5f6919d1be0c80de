"""Formats of labels, one module each; `ppl.data.own.formats` lists them."""
