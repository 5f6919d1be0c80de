"""Step `cam`: class activation maps, their store and the threshold sweep (Section III-E, Figures 7 and 9)."""
