"""Backbones, and checkpoints of networks."""
