"""Training of all four networks: loop, schedule, resumable state, divergence, data-parallel means."""
