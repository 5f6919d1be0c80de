"""Names in the documentation exist: paths, keys, modules and targets; blocks and the table of exceptions are valid.

`mkdocs build --strict` checks links and anchors (test_site.py); run.py runs commands and Python blocks.
"""

import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import exceptions
import pages
import pytest
import yaml

from ppl.experiment.settings import Experiment
from ppl.workflow import config

REPOSITORY = pages.REPOSITORY
TOP = {path.name for path in REPOSITORY.iterdir() if path.is_dir()} - {"results", "build", "dist", "shared"}
SUFFIXES = {".py", ".yaml", ".yml", ".md", ".smk", ".toml", ".lock", ".sh", ".ipynb", ".cff"}
BLOCKS = [block for page in pages.pages() for block in pages.blocks(page)]
USERS_FILES = {"mine.yaml", "experiments.yaml", "settings.yaml", *filter(None, map(pages.file_name, BLOCKS))}
by_page = pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))


def blocks_of(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == language], ids=lambda b: b.where)


@by_page
def test_paths_exist(page: Path) -> None:
    missing = []
    for word in re.findall(r"[\w./*{}=-]+", " ".join(pages.code_spans(page))):
        word = word.rstrip(".").removeprefix("./")
        if re.search(r"[A-Z]{3,}[/.]|[{}=]", word.replace("README", "")):  # NAME.py, {shard}: placeholders
            continue
        named = ("/" in word and word.split("/")[0] in TOP) or Path(word).suffix in SUFFIXES
        if named and word not in USERS_FILES and word.split("/")[0] not in {"results", "resources", ".snakemake"}:
            anywhere = [] if "/" in word else [f"{top}/**/{word}" for top in sorted(TOP)]
            if not any(list(REPOSITORY.glob(pattern)) for pattern in (word, *anywhere)):
                missing.append(word)
    assert not missing


def has_key(key: str) -> bool:
    """Whether an experiment has a dotted key; of the settings of a user's own module any key."""
    kind: Any = Experiment
    for part in key.split("."):
        if not is_dataclass(kind):
            return get_origin(kind) is dict
        kind = get_type_hints(kind).get(part)
    return kind is not None


def test_keys_of_the_configuration_exist() -> None:
    text = " ".join(span for page in pages.pages() for span in pages.code_spans(page))
    keys = set(re.findall(r"(?<![\w./-])(?:data|classify|cam|refine|segment|hardware)(?:\.[a-z_]+)+(?![\w./(-])", text))
    keys = {key for key in keys if Path(key).suffix not in SUFFIXES | {".csv", ".pt", ".h5", ".log"}}
    assert len(keys) > 10
    assert not {key for key in keys if not has_key(key)}
    assert not has_key("classify.training.rate")


@by_page
def test_modules_and_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for span in pages.code_spans(page):
        if module := re.match(r"python3? -m (ppl[\w.]*)", span):
            path = REPOSITORY / module[1].replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), span
        elif target := re.fullmatch(r"make ([\w-]+)(?: [A-Z]+=.*)?", span):
            assert target[1] in targets, span


@blocks_of("yaml")
def test_yaml_blocks_are_configurations(block: pages.Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in BLOCKS:
        if other.language == "python" and (file := pages.file_name(other)):
            (tmp_path / file).write_text(other.text)  # modules that the block may name
    monkeypatch.syspath_prepend(tmp_path)
    shipped = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    config.resolve(config.overlay(shipped, yaml.safe_load(block.text)))


@blocks_of("snakemake")
def test_a_workflow_with_this_module_can_be_planned(block: pages.Block, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(block.text.replace(pages.PLACEHOLDER, str(REPOSITORY)))
    for other in (b for b in BLOCKS if b.language == "yaml" and b.where.split(":")[0] == block.where.split(":")[0]):
        (tmp_path / str(pages.file_name(other))).write_text(other.text)
    snakemake = Path(sys.executable).parent / "snakemake"
    done = subprocess.run([snakemake, "--dry-run", "--cores", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_stand_in_blocks_that_are_run() -> None:
    assert {block.language for block in BLOCKS} == {"", "python", "yaml", "snakemake", "text", "dockerfile"}
    for block in BLOCKS:
        if block.language in {"text", "dockerfile"}:
            assert not re.search(r"^(snakemake|python|make|pip|git) ", block.text, re.MULTILINE), block.where


def test_every_exception_and_the_placeholder_are_used() -> None:
    commands = [command for block in BLOCKS for command in pages.commands(block)]
    patterns = [*exceptions.DRY_RUN, *exceptions.NOT_RUN]
    assert not [pattern for pattern in patterns if not any(re.fullmatch(pattern, command) for command in commands)]
    assert any(pages.PLACEHOLDER in block.text for block in BLOCKS)
