"""The documentation agrees with the repository: links, anchors, paths, keys, blocks of YAML and Python, exceptions."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exceptions
import pages
import pytest
import yaml

from ppl.workflow import config

REPOSITORY = pages.REPOSITORY
SCHEMA = REPOSITORY / "workflow" / "schemas" / "config.schema.yaml"
TOP = {path.name for path in REPOSITORY.iterdir() if path.is_dir()} - {"results", "build", "dist", "shared"}
SUFFIXES = {".py", ".yaml", ".yml", ".md", ".smk", ".toml", ".lock", ".sh", ".ipynb", ".cff"}
USERS = {"mine.yaml", "experiments.yaml"}
"""Files that the documentation has the reader write."""
SECTIONS = ("data", "classify", "cam", "refine", "segment", "hardware")


def each(of: Any) -> list[Any]:
    """Parameters (page, item), named by where the item stands."""
    return [
        pytest.param(page, item, id=f"{page.relative_to(REPOSITORY)}-{n}")
        for page in pages.pages()
        for n, item in enumerate(of(page))
    ]


def by_page() -> list[Any]:
    return [pytest.param(page, id=str(page.relative_to(REPOSITORY))) for page in pages.pages()]


@pytest.mark.parametrize("page", by_page())
def test_links_lead_somewhere(page):
    broken = []
    for target in pages.LINK.findall(pages.prose(page)):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = (page.parent / file).resolve() if file else page
        if not found.exists() or (anchor and anchor not in pages.anchors(found)):
            broken.append(target)
    assert not broken


def paths(page: Path) -> Iterator[str]:
    """What the page's code spans name that looks like a file of the repository."""
    for code in pages.CODE.findall(pages.prose(page)):
        for word in re.findall(r"[\w./*{}-]+", code):
            word = word.rstrip(".").removeprefix("./")
            begins = word.split("/")[0] in TOP and "/" in word
            # `NAME.py`, `{shard}` and `*` stand for others.
            if not re.search(r"[A-Z]{3,}[/.]|[{}]|=", word.replace("README", "readme")) and (
                begins or Path(word).suffix in SUFFIXES
            ):
                yield word


@pytest.mark.parametrize("page", by_page())
def test_paths_exist(page):
    missing = []
    for word in paths(page):
        from_here = any(base.glob(word) for base in (REPOSITORY,)) and list(REPOSITORY.glob(word))
        nested = (
            "/" not in word
            and word not in USERS
            and any(found for top in TOP for found in (REPOSITORY / top).glob(f"**/{word}"))
        )
        made = word.split("/")[0] in {"results", "resources"} or word in USERS
        if not (from_here or nested or made or list(page.parent.glob(word))):
            missing.append(word)
    assert not missing


def resolves(key: str, schema: dict[str, Any]) -> bool:
    """Whether a dotted key is one of the configuration's schema."""
    definitions = schema.get("$defs", {})

    def within(node: dict[str, Any], parts: list[str]) -> bool:
        if "$ref" in node:
            node = {**definitions[node["$ref"].rpartition("/")[2]], **{k: v for k, v in node.items() if k != "$ref"}}
        if not parts:
            return True
        inside = node.get("properties", {})
        if parts[0] in inside:
            return within(inside[parts[0]], parts[1:])
        further = node.get("additionalProperties")
        return isinstance(further, dict) and within(further, parts[1:])

    return within(schema, key.split("."))


def keys(page: Path) -> set[str]:
    """Dotted names of the page's code spans that begin with a section of the configuration."""
    spans = " ".join(pages.CODE.findall(pages.prose(page)))
    dotted = re.findall(rf"(?<![\w./-])((?:{'|'.join(SECTIONS)})(?:\.[a-z_]+)+)(?![\w./(-])", spans)
    return {key for key in dotted if Path(key).suffix not in SUFFIXES | {".csv", ".pt", ".h5", ".log"}}


@pytest.mark.parametrize("page", by_page())
def test_keys_are_those_of_the_configuration(page):
    schema = yaml.safe_load(SCHEMA.read_text())
    assert not {key for key in keys(page) if not resolves(key, schema)}


def test_a_key_that_is_none_would_be_found():
    schema = yaml.safe_load(SCHEMA.read_text())
    assert resolves("classify.training.lr", schema)
    assert not resolves("classify.training.rate", schema)


def of_language(*languages: str) -> Any:
    return lambda page: [block for block in pages.blocks(page) if block.language in languages]


@pytest.mark.parametrize(("page", "block"), each(of_language("yaml", "yml")))
def test_blocks_of_yaml_are_configurations(page, block):
    shipped = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    given = yaml.safe_load(block.text)
    assert set(given) <= {"defaults", "experiments"}, block.where
    config.resolve(config.overlay(shipped, given), SCHEMA)


@pytest.mark.parametrize(("page", "block"), each(of_language("python")))
def test_blocks_of_python_parse(page, block):
    ast.parse(block.text)  # run.py executes them


@pytest.mark.parametrize(("page", "block"), each(of_language("snakemake")))
def test_a_workflow_that_uses_the_module_can_be_planned(page, block, tmp_path):
    (tmp_path / "Snakefile").write_text(block.text.replace("path/to/ppl", str(REPOSITORY)))
    for other in pages.blocks(page):
        if other.language == "yaml":
            (tmp_path / str(pages.file_named(other))).write_text(other.text)
    snakemake = Path(sys.executable).parent / "snakemake"
    done = subprocess.run([snakemake, "--dry-run", "--cores", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", by_page())
def test_modules_and_targets_of_make_exist(page):
    spans = pages.CODE.findall(pages.prose(page)) + [
        command for block in pages.blocks(page) for command in pages.commands(block)
    ]
    made = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for span in spans:
        if module := re.match(r"python3? -m (ppl[\w.]*)", span):
            path = REPOSITORY / module[1].replace(".", "/")
            wrong += [] if path.with_suffix(".py").exists() or (path / "__main__.py").exists() else [span]
        elif targets := re.fullmatch(r"make ((?:[\w-]+ ?)+)(?: [A-Z]+=.*)?", span):
            wrong += [] if set(targets[1].split()) <= made else [span]
    assert not wrong


def test_no_block_is_left_out_by_mistake():
    """What has no language and is taken for no commands, holds none."""
    for page in pages.pages():
        for block in pages.blocks(page):
            if not block.language and not pages.is_shell(block):
                assert not re.search(r"^(snakemake|python|make|pip|git) ", block.text, re.MULTILINE), block.where


@pytest.mark.parametrize("pattern", [*exceptions.PLANNED, *exceptions.LEFT_OUT])
def test_no_exception_is_stale(pattern):
    assert any(re.fullmatch(pattern, command) for _, command in pages.all_commands())


@pytest.mark.parametrize("word", exceptions.PLACEHOLDERS)
def test_no_placeholder_is_stale(word):
    texts = [block.text for page in pages.pages() for block in pages.blocks(page)]
    assert any(word in text for text in texts)
