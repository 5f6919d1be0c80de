"""Step `segment`: DeepLab v2 on pseudo labels, its predictions, and the archive for VOC's server (Section III-F)."""
