"""Step `cam`: class activation maps, their store, and seeds (Section III-E)."""
