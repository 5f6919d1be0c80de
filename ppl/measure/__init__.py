"""Measurement against masks: mIoU of label maps, threshold sweeps of seeds, their curves; names of all measures."""
