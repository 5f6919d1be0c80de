"""Run every command and every Python block of the documentation in a copy of the repository.

    python tests/docs/run.py [docs/own-data.md ...]

The copy differs in three ways: experiments have the size of tests/tiny.yaml; the files of a reader (photo, dataset)
exist; commands of `exceptions.py` are planned or omitted. Each page is one shell script, in reading order.
Exits with 1 if a page fails, and prints the end of its output and the command that failed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))
import exceptions
import pages

from ppl.workflow import config

BIN = Path(sys.executable).parent
OUTPUT_LINES = 60  # printed of a page that fails
OWN_DATA = (
    "ppl.data.example --photos 24 --size 64 --out own --masks own-masks",
    "ppl.data.new --photos own --labels own/labels.csv",
)
"""Write `mine.yaml`, which pages before docs/own-data.md name."""


def main(*names: str) -> None:
    chosen = {str(page.relative_to(pages.REPOSITORY)): page for page in pages.pages()}
    root = Path(tempfile.mkdtemp(prefix="docs-")) / "ppl"
    copy_repository(root)
    shrink(root)
    for module in OWN_DATA:
        command = [sys.executable, "-m", *module.split()]
        subprocess.run(command, cwd=root, env=environment(root), check=True, capture_output=True)
    shutil.copy(min((root / "own").rglob("*.jpg")), root / "photo.jpg")
    if failed := [name for name in names or chosen if not run(chosen[name], root)]:
        sys.exit(f"error: {', '.join(failed)}: a command failed; the copy is {root}")
    shutil.rmtree(root.parent)


def copy_repository(root: Path) -> None:
    """Copy the files of the repository; link the environment, which `make` then takes for up to date."""
    for name in pages.repository_files():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(pages.REPOSITORY / name, root / name, follow_symlinks=False)
    (root / ".venv").mkdir()
    for part in BIN.parent.iterdir():
        if part.name != ".ready":
            (root / ".venv" / part.name).symlink_to(part)
    (root / ".venv" / ".ready").write_text(f"{root}\n")


def shrink(root: Path) -> None:
    """Overlay sizes of tests/tiny.yaml and one epoch per training on the defaults, the demo and `ppl.data.new`."""
    tiny = yaml.safe_load((root / "tests" / "tiny.yaml").read_text())["experiments"]["tiny"]
    short = {
        "classify": {"training": {"epochs": 1}, "patch_training": {"epochs": 1}},
        "refine": {"irnet": {"training": {"epochs": 1}}},
        "segment": {"training": {"steps": 4}},
    }
    steps = config.overlay({key: tiny[key] for key in ("classify", "cam", "refine", "segment")}, short)
    demo = {"demo": {**steps, "data": tiny["data"]}}
    changes = {
        root / "config" / "config.yaml": {"defaults": steps, "experiments": demo},
    }
    shipped, small_photos = root / "ppl" / "data" / "own" / "settings", {"data": {"folder": {"max_side": 64}}}
    changes[shipped / "small.yaml"] = {"defaults": steps}  # which `ppl.data.new` writes below cpu.yaml
    changes[shipped / "cpu.yaml"] = {"experiments": {"NAME": small_photos}}
    changes[shipped / "gpu.yaml"] = {"experiments": {"NAME": {**steps, **small_photos}}}
    for path, change in changes.items():
        overlaid = config.overlay(yaml.safe_load(path.read_text()), change)
        path.write_text(f"# Sizes of tests.\n{yaml.safe_dump(overlaid, sort_keys=False)}")


def environment(root: Path) -> Mapping[str, str]:
    """Return the variables of a reader who has activated the environment; the package is that of the copy."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(root), "COLUMNS": "120"}


def run(page: Path, root: Path) -> bool:
    """Run the blocks of a page in order, in one shell; return whether all commands succeeded."""
    script = []
    for block in pages.blocks(page):
        if file := pages.file_name(block):
            tasks = [f"cat > {shlex.quote(file)} <<'FILE-BLOCK'\n{block.text}\nFILE-BLOCK"]
        elif block.language == "python":
            tasks = [f"python - <<'PYTHON-BLOCK'\n{block.text}\nPYTHON-BLOCK"]
        else:
            tasks = list(filter(None, map(adapted, pages.commands(block))))
        for task in tasks:
            script += [f"echo {shlex.quote(f'+ {block.where} {task.splitlines()[0]}')}", task]
    for folder in exceptions.OUTPUTS:
        shutil.rmtree(root / folder, ignore_errors=True)
    started = time.monotonic()
    bash = ["bash", "-eo", "pipefail", "-c", "\n".join(script)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(bash, cwd=root, env=environment(root), text=True, check=False, **pipes)
    print(f"{page.relative_to(pages.REPOSITORY)}: {time.monotonic() - started:.0f} s", flush=True)
    if done.returncode:
        lines = done.stdout.splitlines()
        print(*lines[-OUTPUT_LINES:], f"failed: {[line for line in lines if line.startswith('+ ')][-1]}", sep="\n")
    return done.returncode == 0


def adapted(command: str) -> str:
    """Return the command to run: unchanged, as a dry run, or empty if it is not run."""
    if any(re.fullmatch(pattern, command) for pattern in exceptions.NOT_RUN):
        return ""
    command = command.replace(pages.PLACEHOLDER, str(pages.REPOSITORY))
    dry = any(re.fullmatch(pattern, command) for pattern in exceptions.DRY_RUN)
    return re.sub(r"^(snakemake|python -m ppl\.run) ", r"\1 --dry-run ", command) if dry else command


if __name__ == "__main__":
    main(*sys.argv[1:])
