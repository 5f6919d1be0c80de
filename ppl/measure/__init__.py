"""Everything that opens a mask: mIoU of label maps, threshold sweeps of seeds, their curves."""
