"""Step `segment`: DeepLab v2 on pseudo labels, its evaluation and test predictions (Section III-F)."""
