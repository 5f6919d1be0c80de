"""Inference on photos with trained networks: `python -m ppl.predict`, and `ppl.load` for scripts and notebooks."""
