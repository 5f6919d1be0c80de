"""Formats of masks, one module each; `ppl.data.own.mask_formats` lists them. Masks are for measuring only."""
