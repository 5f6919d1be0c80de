"""Repeat a run with other numbers of worker processes and cores: are the results the same, bit for bit?

    python tests/torture/repeats.py

Runs tests/tiny.yaml on the CPU, once per row of the table that it prints.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from common import REPOSITORY, compare, run

RUNS = {
    "2 workers, 2 cores": (2, 2), "the same again": (2, 2), "1 worker": (1, 2), "5 workers": (5, 2), "1 core": (2, 1),
}  # fmt: skip
MUST_BE_EQUAL = ("the same again", "1 worker", "5 workers")
"""Each thread of a step adds up a part of a sum, so another number of cores may round differently."""


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="repeats-"))
    wrong = 0
    print("| run | files | differing |\n| --- | --- | --- |")
    for number, (name, (workers, cores)) in enumerate(RUNS.items()):
        folder = work / str(number)
        folder.mkdir()
        (folder / "more.yaml").write_text(f"experiments: {{tiny: {{hardware: {{gpu: 0, workers: {workers}}}}}}}\n")
        status, output = run(REPOSITORY, folder, "--cores", cores)
        if status:
            sys.exit(f"error: the run with {name} failed\n{output[-4000:]}")
        differing, compared = compare(work / "0" / "results", folder / "results")
        wrong += bool(differing) and name in MUST_BE_EQUAL
        example = f", such as {differing[0]}" if differing else ""
        print(f"| {name} | {compared} | {len(differing)}{example} |", flush=True)
    if wrong:
        sys.exit(f"error: {wrong} runs differ; the folders are left in {work}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
