"""Trained networks on one's own photos: `python -m ppl.predict`, and `ppl.load` for scripts and notebooks."""
