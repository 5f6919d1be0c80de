"""Progressive Patch Learning: semantic segmentation from image-level labels (Li et al.)."""

__version__ = "0.1.0"
