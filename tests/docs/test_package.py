"""Wheel and source archive hold what the package needs at run time, and nothing else; citation and catalogue agree."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import ppl
from ppl.data.sources import demo

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and source archive, built from what git tracks or would track: no leftovers of other builds."""
    folder = tmp_path_factory.mktemp("package")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split("\0")
    source = folder / "source"
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).symlink_to(REPOSITORY / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a folder of its own, without what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, str(built[0])], check=True)
    return folder


def package_files() -> set[str]:
    """Files of the package in the repository, without what Python makes."""
    files = (path for path in (REPOSITORY / "ppl").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(REPOSITORY)) for path in files}


def test_the_wheel_is_the_package_and_its_licences(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - info == package_files()
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_the_source_archive_builds_the_same(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files() | {"pyproject.toml", "README.md", "LICENSE"} <= names
    assert not any(name.startswith(("results", ".git", ".venv", "build", "docs/")) for name in names)


def test_installed_it_works_outside_of_the_repository(installed, tmp_path):
    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    where = python("-c", "import ppl; print(ppl.__version__, ppl.__file__)")
    assert where.stdout.split() == [PROJECT["version"], str(installed / "ppl" / "__init__.py")], where.stderr
    sizes = ["--size", "64", "--train", "24", "--val", "6", "--test", "4", "--seed", "0", "--workers", "1"]
    composed = python("-m", "ppl.data.sources.demo", "--out", "data", *sizes)
    assert composed.returncode == 0, composed.stderr
    splits = [f"--{split}-split={split}" for split in ("train", "val", "test")]
    checked = python(
        "-m", "ppl.data.check", "--data", "data", *splits, "--seed-split=train", "--out", "check.json", "--workers=1"
    )
    assert checked.returncode == 0, checked.stderr
    assert (tmp_path / "data" / "classes.txt").read_text().split() == list(demo.open_photos()[0])


def test_versions_agree():
    assert PROJECT["version"] == ppl.__version__ == CITATION["version"]
    assert f"## {ppl.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text().replace("[", "").replace("]", "")
    assert PROJECT["license"] == CITATION["license"] == "MIT"


def test_the_citation_has_what_version_1_2_of_its_format_asks_for():
    assert CITATION["cff-version"] == "1.2.0"
    for work in (CITATION, CITATION["preferred-citation"]):
        assert work["title"]
        assert all("name" in author or {"given-names", "family-names"} <= set(author) for author in work["authors"])
    paper = CITATION["preferred-citation"]
    assert (paper["type"], paper["doi"]) == ("article", "10.1109/TMM.2022.3152388")
    assert all(set(found) <= {"type", "value", "description"} for found in paper["identifiers"])


def test_the_catalogue_finds_what_it_asks_for():
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert all(isinstance(value, bool) for value in usage["software-stack-deployment"].values())
    assert (REPOSITORY / "workflow" / "Snakefile").exists()
    assert (REPOSITORY / "config" / "README.md").exists()
    readme = (REPOSITORY / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme
