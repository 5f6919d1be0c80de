"""Step `data`: a dataset folder in VOC layout with image-level labels, from any source."""
