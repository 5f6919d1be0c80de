"""What only Snakemake's own process imports: the resolved configuration, paths of files, running jobs, locks."""
