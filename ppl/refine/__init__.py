"""Refinement of CAMs into pseudo labels: reliable labels, affinity network, random walk (Sec. III-F)."""
