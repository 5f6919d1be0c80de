"""Runs every command and every block of Python of the documentation, in a copy of the repository.

    python tests/docs/run.py [--pages docs/own-data.md ...]

The copy is what a reader has, but for three things: experiments are shrunk to the size of tests/tiny.yaml, what the
reader brings or writes (a photo, a dataset and its settings) is there, and what `exceptions.py` names is planned or
left out. Pages come in the reader's order, each in a shell of its own; what an earlier one made is there for the next.
Prints what takes long; exits with 1 where a command fails, and shows its output.
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
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import tyro
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import exceptions
import pages

from ppl.workflow import config

REPOSITORY = pages.REPOSITORY
BIN = Path(sys.executable).parent
SLOW = 5  # seconds from which a command is told
SHOWN = 60  # lines of a failed page's output
PLACEHOLDERS = {word: stands.format(repository=REPOSITORY) for word, stands in exceptions.PLACEHOLDERS.items()}
PREPARE = """
import shutil
from pathlib import Path
composed = Path("composed")
photos = sorted((composed / "JPEGImages").iterdir())
shutil.copy(photos[0], "photo.jpg")
"""
"""A single photo of the reader's, `photo.jpg`: one of the demo's, composed small."""
OWN = (
    "ppl.data.example --photos 24 --size 64 --out own --masks own-masks",
    "ppl.data.new --photos own --labels own/labels.csv",
)
"""What has written the `mine.yaml` that pages name before docs/own-data.md does."""


@dataclass(frozen=True)
class Settings:
    """Command line."""

    pages: tuple[str, ...] = ()
    """Only these, such as docs/own-data.md; all of them by default."""
    keep: bool = False
    """Leave the copy where it is and say where."""


def main(settings: Settings) -> None:
    chosen = [
        page for page in pages.pages() if not settings.pages or str(page.relative_to(REPOSITORY)) in settings.pages
    ]
    if len(chosen) < len(settings.pages):
        sys.exit(f"error: no such page among {', '.join(str(p.relative_to(REPOSITORY)) for p in pages.pages())}")
    root = Path(tempfile.mkdtemp(prefix="docs-")) / "ppl"
    copy_repository(root)
    shrink(root)
    for module in OWN:
        subprocess.run(
            [sys.executable, "-m", *module.split()], cwd=root, env=environment(root), check=True, capture_output=True
        )
    started = time.monotonic()
    failed = [page for page in chosen if not run(page, root)]
    print(f"{len(chosen)} pages in {time.monotonic() - started:.0f} s")
    if settings.keep or failed:
        print(f"the copy is left in {root}")
    else:
        shutil.rmtree(root.parent)
    if failed:
        sys.exit(f"error: {', '.join(str(page.relative_to(REPOSITORY)) for page in failed)}: a command failed")


def copy_repository(root: Path) -> None:
    """What git tracks or would track, and the environment; the files that a reader brings."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, root / name)
    link_environment(root / ".venv")
    size = ["--size", "64", "--train", "24", "--val", "12", "--test", "6"]
    compose = [sys.executable, "-m", "ppl.data.sources.demo", "--out", "composed", "--seed", "1", *size]
    subprocess.run(compose, cwd=root, env=environment(root), check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", PREPARE], cwd=root, check=True)
    shutil.rmtree(root / "composed")


def link_environment(folder: Path) -> None:
    """An environment that `make` takes for finished, of links: whatever is done to it, the real one stays."""
    folder.mkdir()
    for part in BIN.parent.iterdir():
        (folder / part.name).symlink_to(part)
    (folder / ".ready").unlink(missing_ok=True)
    (folder / ".ready").touch()


def shrink(root: Path) -> None:
    """Lays the sizes of tests/tiny.yaml, and an epoch a training, over the defaults and the demo; its variants stay."""
    tiny = yaml.safe_load((root / "tests" / "tiny.yaml").read_text())["experiments"]["tiny"]
    short = {
        "classify": {"training": {"epochs": 1}, "patch_training": {"epochs": 1}},
        "refine": {"irnet": {"epochs": 1}},
        "segment": {"training": {"steps": 4}},
    }
    steps = config.overlay({key: tiny[key] for key in ("classify", "cam", "refine", "segment")}, short)
    demo = {"experiments": {"demo": {**steps, "data": tiny["data"]}}}
    for file, shown in (("config.yaml", demo), ("small.yaml", {})):
        path = root / "config" / file
        shrunk = config.overlay(yaml.safe_load(path.read_text()), {"defaults": steps, **shown})
        path.write_text(yaml.safe_dump(shrunk, sort_keys=False))
    for path in (root / "ppl" / "data" / "settings").iterdir():  # what ppl.data.new writes
        own = {"experiments": {"NAME": {**steps, "data": {"max_side": 64}}}}
        path.write_text(yaml.safe_dump(config.overlay(yaml.safe_load(path.read_text()), own), sort_keys=False))


def environment(root: Path) -> Mapping[str, str]:
    """That of a reader who has activated the environment; the package is that of the copy."""
    own = {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), "PYTHONPATH": str(root), "COLUMNS": "120"}
    return {**os.environ, **own}


def run(page: Path, root: Path) -> bool:
    """Runs the page's blocks in order, in one shell; says what took long or failed."""
    name = page.relative_to(REPOSITORY)
    tasks: list[tuple[str, str]] = []
    for block in pages.blocks(page):
        if block.language == "python":
            tasks.append((block.where, f"python - <<'PYTHON-BLOCK'\n{block.text}\nPYTHON-BLOCK"))
        elif block.language in {"yaml", "yml"} and (file := pages.file_named(block)):
            tasks.append((block.where, f"cat > {shlex.quote(file)} <<'YAML-BLOCK'\n{block.text}\nYAML-BLOCK"))
        tasks += [(block.where, adapted(command)) for command in pages.commands(block) if adapted(command)]
    if not tasks:
        return True
    for folder in exceptions.OWN:
        shutil.rmtree(root / folder, ignore_errors=True)
    marks, log = root.parent / "marks", root.parent / "log"
    lines = ["exec 3>" + shlex.quote(str(marks))]
    for number, (_, task) in enumerate(tasks):
        lines += [f'echo "{number} $EPOCHREALTIME" >&3', f'{task}\n[ $? = 0 ] || {{ echo "failed" >&3; exit 1; }}']
    lines.append('echo "end $EPOCHREALTIME" >&3')
    with log.open("w") as out:
        subprocess.run(
            ["bash", "-o", "pipefail", "-c", "\n".join(lines)],
            cwd=root,
            env=environment(root),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    told = marks.read_text().splitlines()
    finished = told[-1].startswith("end")
    times = [(line.split()[0], float(line.split()[1])) for line in told if line != "failed"]
    if finished:
        print(f"{name}: {len(tasks)} commands in {times[-1][1] - times[0][1]:.0f} s", flush=True)
    for (number, begun), (_, ended) in pairwise(times):
        if ended - begun >= SLOW:
            print(f"  {ended - begun:4.0f} s  {tasks[int(number)][1].splitlines()[0]}", flush=True)
    if not finished:
        where, task = tasks[int(times[-1][0])]
        print(f"{where} failed: {task}\n" + "\n".join(log.read_text().splitlines()[-SHOWN:]), flush=True)
    return finished


def adapted(command: str) -> str:
    """The command as it is run here: literally, planned, or empty where it is left out."""
    if matches(exceptions.LEFT_OUT, command):
        return ""
    for word, stands in PLACEHOLDERS.items():
        command = command.replace(word, stands)
    return re.sub(r"^snakemake ", "snakemake --dry-run ", command) if matches(exceptions.PLANNED, command) else command


def matches(patterns: Mapping[str, Any], command: str) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in patterns)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
