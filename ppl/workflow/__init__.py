"""Modules that only Snakemake's own process imports: configuration, paths of files, plans, running jobs, locks."""
