"""Wheel and source archive hold what the package needs at run time, and nothing else; citation and catalogue agree."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pages
import pytest
import yaml

import ppl
from ppl.data.sources import demo

REPOSITORY = pages.REPOSITORY
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((REPOSITORY / "envs" / "ppl.yaml").read_text())
CITATION = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
PACKAGE_FILES = {
    str(path.relative_to(REPOSITORY))
    for path in (REPOSITORY / "ppl").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and source archive, built from the files that git tracks or would track."""
    folder = tmp_path_factory.mktemp("package")
    for name in pages.repository_files():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).symlink_to(REPOSITORY / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_is_the_package_and_its_licences(folder: Path) -> None:
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - info == PACKAGE_FILES
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_the_source_archive_holds_the_package_and_no_results(folder: Path) -> None:
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert PACKAGE_FILES | {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert not any(name.startswith(("results", ".git", ".venv", "build", "docs/")) for name in names)


def test_the_installed_wheel_works_outside_of_the_repository(folder: Path, tmp_path: Path) -> None:
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path / "installed")]

    def python(*arguments: str) -> str:
        environment = {"PYTHONPATH": str(tmp_path / "installed"), "PATH": "/usr/bin:/bin"}
        pipes = {"capture_output": True, "text": True, "check": False}
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, **pipes)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python(*pip, str(next(folder.glob("*.whl"))))
    where = python("-c", "import ppl; print(ppl.__version__, ppl.__file__)").split()
    assert where == [PROJECT["version"], str(tmp_path / "installed" / "ppl" / "__init__.py")]
    numbers = {"size": 64, "train": 24, "val": 6, "test": 4}
    flags = [part for key, value in numbers.items() for part in (f"--data.demo.{key}", str(value))]
    compose = "--out data --data.source demo --hardware.workers 1"
    python("-m", "ppl.data.prepare", *compose.split(), *flags)
    check = "--data data --train-split train --val-split val --test-split test --seed-split train --out out --workers 1"
    python("-m", "ppl.data.check", *check.split())
    assert (tmp_path / "data" / "classes.txt").read_text().split() == list(demo.open_photos()[0])


def test_versions_and_licences_agree_and_the_citation_has_the_fields_of_format_1_2() -> None:
    assert PROJECT["version"] == ppl.__version__ == CITATION["version"]
    assert f"## {ppl.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text().replace("[", "").replace("]", "")
    assert PROJECT["license"] == CITATION["license"] == "MIT"
    assert CITATION["cff-version"] == "1.2.0"
    paper = CITATION["preferred-citation"]
    for work in (CITATION, paper):
        assert work["title"]
        assert all("name" in author or {"given-names", "family-names"} <= set(author) for author in work["authors"])
    assert (paper["type"], paper["doi"]) == ("article", "10.1109/TMM.2022.3152388")
    assert all(set(identifier) <= {"type", "value", "description"} for identifier in paper["identifiers"])


def test_the_workflow_catalogue_can_list_the_repository() -> None:
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert all(isinstance(value, bool) for value in usage["software-stack-deployment"].values())
    assert (REPOSITORY / "workflow" / "Snakefile").exists()
    assert {"snakemake", "workflow"} <= set((REPOSITORY / "README.md").read_text().lower().split())


def test_the_conda_environment_has_the_dependencies_at_the_locked_versions() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    (pip,) = [part["pip"] for part in CONDA["dependencies"] if isinstance(part, dict)]
    named = {re.match(r"[\w-]+", requirement)[0] for requirement in PROJECT["dependencies"]}
    # Snakemake runs outside of the environment of its jobs, and what only its own process imports with it.
    assert set(pip) == {f"{name}=={locked[name]}" for name in named - {"snakemake", "networkx", "psutil"}}
