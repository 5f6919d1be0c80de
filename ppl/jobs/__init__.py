"""Infrastructure of jobs: command line and signals, whole files, worker processes, progress, devices, provenance."""
