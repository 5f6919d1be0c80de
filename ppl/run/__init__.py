"""Start Snakemake with the workflow of this package, from any folder: `python -m ppl.run`, or `ppl`."""
