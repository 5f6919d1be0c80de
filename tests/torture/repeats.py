"""Runs the same again, and with other numbers of worker processes and cores: are the results the same, bit for bit?

    python tests/torture/repeats.py

Runs tests/tiny.yaml on the CPU of this machine, once for each row of the table that it prints.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kills import REPOSITORY, compare, environment

RUNS = {
    "2 workers, 2 cores": (2, 2),
    "the same again": (2, 2),
    "1 worker": (1, 2),
    "5 workers": (5, 2),
    "1 core": (2, 1),
}
MUST = ("the same again", "1 worker", "5 workers")
"""Of a step's threads each adds up a part of a sum: with other cores, other roundings are possible."""
TARGETS = ("results/tiny_test_preds", "results/tiny/report.html")


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="repeats-"))
    reference, wrong = work / "0" / "results", 0
    print("| run | files | differing |\n| --- | --- | --- |")
    for number, (name, (workers, cores)) in enumerate(RUNS.items()):
        folder = work / str(number)
        folder.mkdir()
        (folder / "workers.yaml").write_text(f"experiments: {{tiny: {{hardware: {{gpu: 0, workers: {workers}}}}}}}\n")
        where = ["--snakefile", REPOSITORY / "workflow" / "Snakefile", "--directory", folder, "--cores", cores]
        config = ["--configfile", REPOSITORY / "tests" / "tiny.yaml", folder / "workers.yaml", "--", *TARGETS]
        command = [sys.executable, "-m", "snakemake", *map(str, (*where, *config))]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"error: the run with {name} failed\n{done.stdout[-4000:]}")
        differing, compared = compare(reference, folder / "results")
        wrong += bool(differing) and name in MUST
        named = f", such as {differing[0]}" if differing else ""
        print(f"| {name} | {compared} | {len(differing)}{named} |", flush=True)
    if wrong:
        sys.exit(f"error: {wrong} runs differ; the folders are left in {work}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
