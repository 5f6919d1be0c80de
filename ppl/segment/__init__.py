"""Step `segment`: a segmentation network on pseudo labels, its predictions, the archive for VOC's server (III-F)."""
