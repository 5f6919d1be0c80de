"""Refinement of CAMs into pseudo labels: confident labels, affinity network, random walk (Sec. III-F)."""
