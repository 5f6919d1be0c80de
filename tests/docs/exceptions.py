"""Commands of the documentation that `run.py` does not run unchanged, with reasons.

A key is a pattern that matches a whole command. `test_pages.py` fails for an entry that matches none.
"""

DRY_RUN = {
    r"snakemake .*results/(voc|coco)(_test_preds|/tables)": "downloads gigabytes",
    r"snakemake --cores 32 --resources gpu=4 .*": "needs four GPUs",
    r"snakemake --profile workflow/profiles/slurm .*": "needs SLURM: tests/cluster/slurm.sh runs it",
    r".* --configfile mine.yaml -- results/mine/report.html results/mine_test_preds": "docs/own-data.md runs it",
}
"""Commands of Snakemake, or of `ppl.run`, that are planned only (`--dry-run`)."""

NOT_RUN = {
    r"make test|make docs-test|make docs|make lint": "the gate runs it (.ci/run)",
    r"make (venv|audit|torture|bench|lock)": "installs packages, needs the network, or takes half an hour",
    r"pytest .*": "the gate runs all tests",
    r"pip install .*": "needs the network; test_package.py installs the wheel without it",
}
"""Commands that are not run."""

OUTPUTS = ("my_photos", "my_masks")
"""Folders that commands write and refuse to replace: they are removed before each page."""
