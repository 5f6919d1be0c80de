"""What is not run as the documentation has it: the one table of exceptions, and what placeholders stand for.

Every entry is a pattern that has to match a whole command of the documentation; one that matches none any more fails
`test_pages.py`.
"""

PLANNED = {
    r"snakemake .*results/(voc|coco)(_test_preds|/tables)": "downloads gigabytes",
    r"snakemake --cores 32 --resources gpu=4 .*": "has four GPUs",
    r"snakemake --profile workflow/profiles/slurm .*": "needs SLURM: tests/cluster/slurm.sh runs it",
    r"snakemake --cores \d+ --configfile mine.yaml -- results/mine_test_preds": "docs/own-data.md runs it, and more",
}
"""Snakemake's commands that are planned only (`--dry-run`), and why."""

LEFT_OUT = {
    r"make test|make docs-test|make docs|make lint": "the gate runs it (.ci/run)",
    r"make (venv|audit|torture|bench|lock)": "installs, asks the network, or takes half an hour",
    r"pytest .*": "the gate runs all tests",
    r"pip install .*": "asks the network; test_package.py installs the wheel without",
}
"""Commands that are not run, and why."""

OWN = ("my_photos", "my_masks")
"""Folders that commands make and then refuse to replace: each page begins without them, as its reader does."""

PLACEHOLDERS = {
    "path/to/ppl": "{repository}",
}
"""Words of commands and files that stand for something of the reader's, and what they are replaced by."""
