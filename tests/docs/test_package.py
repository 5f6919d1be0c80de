"""Wheel and source archive hold what the package needs at run time, and nothing else; citation and catalogue agree."""

import json
import re
import shlex
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pages
import pytest
import yaml

import ppl

REPOSITORY = pages.REPOSITORY
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((REPOSITORY / "envs" / "ppl.yaml").read_text())
CITATION = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
# Folders in the root of the repository, to which ppl/run links; of the documentation, the text.
LINKED = (("workflow", "**/*"), ("config", "*"), ("envs", "ppl.yaml"), ("docs", "*.md"))
PACKAGE_FILES = {
    str(path.relative_to(REPOSITORY))
    for path in (REPOSITORY / "ppl").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
} | {
    f"ppl/run/{path.relative_to(REPOSITORY)}"
    for folder, pattern in LINKED
    for path in (REPOSITORY / folder).glob(pattern)
    if path.is_file()
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
    """All commands of the documentation, up to the trainings, which are planned."""
    installed = tmp_path / "installed"
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]

    def run(*command: str) -> str:
        environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "check": False}
        done = subprocess.run(command, cwd=tmp_path, env=environment, **pipes)
        assert done.returncode == 0, done.stdout
        return done.stdout

    run(sys.executable, *pip, str(next(folder.glob("*.whl"))))
    where = run(sys.executable, "-c", "import ppl; print(ppl.__version__, ppl.__file__)").split()
    assert where == [PROJECT["version"], str(installed / "ppl" / "__init__.py")]
    run(sys.executable, "-m", "ppl.data.example", "--photos", "24", "--size", "64")
    flags = {"--photos": "my_photos", "--labels": "my_photos/labels.csv", "--device": "cpu"}
    new = run(sys.executable, "-m", "ppl.data.new", *chain.from_iterable(flags.items()))
    check, workflow = (shlex.split(line) for line in new.partition("next:")[2].strip().splitlines())
    assert "no faults" in run(*check)
    separator = workflow.index("--")
    plan = run(*workflow[:separator], "--dry-run", *workflow[separator:])
    assert "write_report" in plan
    assert str(REPOSITORY) not in plan.replace(sys.prefix, "")
    run(*workflow[:separator], "--", "results/mine/check.json")  # jobs find the package, too
    assert json.loads((tmp_path / "results" / "mine" / "check.json").read_text())
    script = str(installed / "bin" / "ppl")
    assert "Nothing to be done" in run(script, *workflow[3:separator], "--", "results/mine/data")
    assert str(installed / "ppl" / "run") in run(script)


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
