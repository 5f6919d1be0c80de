"""Dense CRF inference: pydensecrf on a CPU core, tensors on a GPU or without pydensecrf."""
