"""`python -m ppl.run` is Snakemake with the workflow of the package, in any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppl.jobs.errors import UserError
from ppl.run import __main__ as run

REPOSITORY = Path(__file__).parents[2]
SMALL = str(REPOSITORY / "ppl" / "data" / "own" / "settings" / "small.yaml")  # to which config/small.yaml links
SLURM = str(REPOSITORY / "workflow" / "profiles" / "slurm")


def ppl_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m ppl.run` in a folder, with the package of this repository."""
    command = [sys.executable, "-m", "ppl.run", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with a workflow of its own, a folder `ppl`, and a module with the name of one of Python's."""
    for profile in (tmp_path / "profiles" / "default", tmp_path / "workflow" / "profiles" / "default"):
        profile.mkdir(parents=True)
        (profile / "config.yaml").write_text("no-such-option: 1\n")
    (tmp_path / "workflow" / "Snakefile").write_text("rule all:\n    shell: 'false'\n")
    (tmp_path / "ppl").mkdir()
    (tmp_path / "random.py").write_text("raise SystemExit('a module of the user')\n")
    return tmp_path


def test_without_arguments_it_describes_itself_and_names_the_folder_of_config_and_docs(foreign: Path) -> None:
    done = ppl_run(foreign)
    assert done.returncode == 0, done.stderr
    (folder,) = [line.strip() for line in done.stdout.splitlines() if line.startswith("  /")]
    assert all(Path(folder, name).exists() for name in ("config/README.md", "docs/own-data.md", "workflow/Snakefile"))
    assert "python -m ppl.run --cores 2 results/demo_test_preds" in done.stdout


def test_a_target_is_computed_in_a_folder_with_another_workflow(foreign: Path) -> None:
    data = "{source: demo, train_split: train, demo: {size: 64, train: 24, val: 6, test: 4}}"
    (foreign / "small.yaml").write_text(f"experiments: {{small: {{data: {data}}}}}")
    arguments = ("--cores", "1", "--configfile", "small.yaml", "--", "results/small/check.json")
    done = ppl_run(foreign, *arguments)
    assert done.returncode == 0, done.stderr
    assert (foreign / "results" / "small" / "check.json").exists()
    assert (foreign / ".snakemake").is_dir()
    assert "Nothing to be done" in ppl_run(foreign, *arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-n", "results/dmo_test_preds"), "error: results/dmo_test_preds: unknown experiment 'dmo'; "),
        (
            ("-n", "--configfile", "absent.yaml", "results/demo_test_preds"),
            "error: --configfile absent.yaml: no such file; ",
        ),
        (
            ("-n", "--configfile", "config/small.yaml", "results/demo_test_preds"),
            "error: --configfile results/demo_test_preds: no such file; name an existing file, and write -- between",
        ),
        (("-n", "--sdm", "conda", "--", "results/demo_test_preds"), "error: --sdm conda: "),
    ],
)
def test_a_mistake_is_one_line_and_a_failure(foreign: Path, arguments: tuple[str, ...], line: str) -> None:
    done = ppl_run(foreign, *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(line), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--configfile", "config/small.yaml", "mine.yaml", "--", "config/x"], ["--configfile", SMALL, "mine.yaml"]),
        (["--configfile=config/small.yaml", "-n"], [f"--configfile={SMALL}", "-n"]),
        (["--profile", "workflow/profiles/slurm", "-n"], ["--profile", SLURM, "-n"]),
        (["--profile", "of-the-user"], ["--profile", "of-the-user"]),
        (["config/small.yaml", "--report", "config/x"], ["config/small.yaml", "--report", "config/x"]),
    ],
)
def test_files_of_the_package_are_found_from_any_folder_and_other_arguments_are_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    assert list(run.with_files(arguments))[: len(expected)] == expected
    assert list(run.with_files(["--", *arguments])) == ["--", *arguments]


def test_files_of_the_user_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "small.yaml").touch()
    assert run.file_of("--configfile", "config/small.yaml") == "config/small.yaml"
    with pytest.raises(UserError, match="is a folder"):
        run.file_of("--configfile", "config")


def test_options_of_the_user_replace_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake takes the last of several --snakefile."""
    monkeypatch.chdir(tmp_path)
    options = run.command_line(["--snakefile", "mine", "--workflow-profile", "none"])
    assert options.index("mine") > options.index(str(REPOSITORY / "workflow" / "Snakefile"))
    assert options.index("none") > options.index(str(REPOSITORY / "workflow" / "profiles" / "default"))


def test_the_folders_of_the_package_are_links_to_those_of_the_repository() -> None:
    """Nothing is stored twice."""
    for name in ("workflow", "config", "envs", "docs"):
        assert (run.FILES / name).resolve() == REPOSITORY / name


def test_without_a_home_snakemake_caches_in_the_current_folder(foreign: Path) -> None:
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": ""}
    command = [sys.executable, "-m", "ppl.run", "-n", "results/demo/data"]
    environment = {**os.environ, **nowhere, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=foreign, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (foreign / ".snakemake" / "cache").is_dir()


def test_a_cache_that_can_be_written_is_used(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run.caches() == {}
