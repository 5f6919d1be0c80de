"""What every job needs: command line and signals, whole files, worker processes, progress, devices, provenance."""
