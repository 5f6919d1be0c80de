"""The report of benchmarks/gpu.sh: what the machine has, and the results of the parts that have run.

    python benchmarks/gpu_report.py check OUT     # writes OUT/machine.json; fails if a package is missing
    python benchmarks/gpu_report.py write OUT     # writes OUT.md and OUT.json

Needs Python's own modules only.
"""

import csv
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NEEDED = (
    "torch", "torchvision", "lightning_fabric", "numpy", "pandas", "PIL", "h5py", "tyro", "pydantic", "annotated_types",
    "loky", "tqdm", "psutil", "networkx", "scipy", "yaml", "pytest", "hypothesis",
)  # fmt: skip
"""Modules that the parts import; without pydensecrf the rows of the CRF fail."""
PARTS = ("tests", "compiled-segment", "rates", "compiled-others", "bench")

Row = Mapping[str, str]


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["check", out]:
            check(Path(out))
        case ["write", out]:
            write(Path(out))
        case _:
            sys.exit(__doc__)


def check(out: Path) -> None:
    """Write what the machine has; exit if modules are missing, or if OUT holds parts of another commit or card."""
    machine, path = describe_machine(), out / "machine.json"
    if machine["missing"]:
        what = f"not installed: {' '.join(machine['missing'])}"
        sys.exit(f"error: {what}; install them, or carry them in build/gpu-packages (see benchmarks/gpu.sh)")
    if path.exists():
        before = json.loads(path.read_text())
        if changed := [key for key in ("card", "commit", "torch") if before[key] != machine[key]]:
            key = changed[0]
            sys.exit(f"error: {out}: measured with {key} {before[key]}, now {machine[key]}; name another folder")
    path.write_text(json.dumps(machine, indent=1) + "\n")
    print(", ".join(f"{key} {value}" for key, value in machine.items() if value))


def describe_machine() -> dict[str, Any]:
    """Return card, driver, versions and commit, and the modules of NEEDED that are missing."""
    card = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()[:1]
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return {
        "card": card[0] if card else "none",
        "torch": None if "torch" in missing else importlib.metadata.version("torch"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "commit": commit(),
        "missing": missing,
    }


def commit() -> str:
    """Return the commit of the code, with `+` if files differ from it; `GPU_COMMIT` names it where git cannot."""
    named = os.environ.get("GPU_COMMIT") or _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    return f"{named or 'unknown'}{'+' if changed else ''}"


def write(out: Path) -> None:
    """Write OUT.md and OUT.json from the files of the folder OUT."""
    results = collect(out)
    Path(f"{out}.json").write_text(json.dumps(results, indent=1) + "\n")
    Path(f"{out}.md").write_text(as_markdown(results))


def collect(out: Path) -> dict[str, Any]:
    """Return machine, parts (seconds, exit status, last line of the log) and tables of a run."""
    parts = {}
    for name in PARTS:
        if (file := out / f"{name}.seconds").exists():
            seconds, status = map(int, file.read_text().split())
            lines = [line for line in (out / f"{name}.log").read_text(errors="replace").splitlines() if line.strip()]
            parts[name] = {"seconds": seconds, "status": status, "last_line": lines[-1] if lines else ""}
    return {
        "machine": json.loads((out / "machine.json").read_text()),
        "parts": parts,
        "rates": compare(
            _table(out / "rates.csv"),
            [*_table(out / "compiled-segment.csv"), *_table(out / "compiled-others.csv")],
        ),
        "bench": _table(out / "bench.csv"),
    }


def compare(eager: Sequence[Row], compiled: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rates of both runs of rates.py by step, and their ratio; steps that one lacks have None there."""
    ours, theirs = ({row["step"]: row for row in rows} for rows in (eager, compiled))
    rows = []
    for step in dict.fromkeys([*ours, *theirs]):
        rates = [float(rows[step]["images_per_second"]) if step in rows else None for rows in (ours, theirs)]
        other = theirs.get(step, {})
        rows.append({
            "step": step,
            "images_per_second": rates[0],
            "share_of_peak": float(share) if (share := ours.get(step, {}).get("share_of_peak")) else None,
            "compiled_images_per_second": rates[1],
            "ratio": rates[1] / rates[0] if None not in rates else None,
            "compiled_first_seconds": float(other["first_seconds"]) if other else None,
            "is_compiled": other.get("compiled") == "True" if other else None,
        })  # fmt: skip
    return rows


def as_markdown(results: Mapping[str, Any]) -> str:
    """Return results as Markdown."""
    machine = results["machine"]
    lines = [
        f"{machine['card']}, {machine['cores']} cores, torch {machine['torch']}, Python {machine['python']}, commit "
        f"{machine['commit']}",
        "",
        *_markdown_table(
            ("part", "seconds", "exit status", "last line"),
            [(name, *part.values()) for name, part in results["parts"].items()],
        ),
        "",
        *_markdown_table(
            ("step", "images/s", "% of a matrix product", "images/s, compiled", "ratio", "first run, s"),
            [
                (
                    row["step"],
                    _number(row["images_per_second"]),
                    _number(row["share_of_peak"] and 100 * row["share_of_peak"]),
                    _number(row["compiled_images_per_second"]) if row["is_compiled"] else "-",
                    _number(row["ratio"]) if row["is_compiled"] else "-",
                    _number(row["compiled_first_seconds"]) if row["is_compiled"] else "-",
                )
                for row in results["rates"]
            ],
        ),
        "",
    ]
    if results["bench"]:
        lines += [*_markdown_table(tuple(results["bench"][0]), [tuple(row.values()) for row in results["bench"]]), ""]
    return "\n".join(lines)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [head, ["---"] * len(head), *([str(cell).replace("|", "/") for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in cells]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _output(*command: str) -> str:
    """Return what a command prints; empty if it does not exist or fails."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1:])
