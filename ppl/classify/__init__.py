"""Step `classify`: the multi-label classifier with patch learning (Sections III-B to III-D)."""
