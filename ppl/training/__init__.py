"""The training loop: schedule, resumable state, divergence, data-parallel means."""
