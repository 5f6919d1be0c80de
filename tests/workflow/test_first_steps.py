"""What a new user may lack is told in one line: a Python, a compiler, the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
OLD = f"""#!/bin/sh
exec {sys.executable} -c "import sys; sys.version_info = (3, 9, 2)
$2"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of a clone as `make venv` reads, and programs that it may find."""
    (tmp_path / "envs").mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "envs/build.lock", "envs/python.sh"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "old").chmod(0o755)
    return tmp_path


def make_venv(clone: Path, path: str, *arguments: str) -> str:
    """Return what `make venv` prints to stderr when it fails."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    command = [make, "venv", *arguments]
    done = subprocess.run(command, cwd=clone, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize(("arguments", "message"), [
    (["PYTHON=./old"], "error: ./old is Python 3.9, and 3.11, 3.12 or 3.13 is needed; name one"),
    ([], "error: there is no C++ compiler, which pydensecrf2 needs; on Debian"),
])  # fmt: skip
def test_make_venv_tells_what_is_missing(clone, arguments, message):
    assert make_venv(clone, str(clone / "bin"), "SHELL=/bin/sh", *arguments).startswith(message)
    assert not (clone / ".venv").exists()  # nothing half-made


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def chosen_python(folder: Path) -> str:
    """Return the Python that envs/python.sh chooses where `folder` is all of PATH."""
    script = ["/bin/sh", str(REPOSITORY / "envs" / "python.sh")]
    return subprocess.run(script, env={"PATH": str(folder)}, capture_output=True, text=True, check=True).stdout.strip()


def test_the_first_python_that_is_complete_is_chosen(tmp_path):
    complete, untested, without_headers = (
        f'exec {sys.executable} "$@"',
        "exit 1",
        'case "$2" in *Python.h*) exit 1; esac',
    )
    program(tmp_path, "python3", untested)
    assert chosen_python(tmp_path) == "python3"  # which the Makefile refuses with its version
    program(tmp_path, "uv", f"echo {tmp_path}/offered")
    program(tmp_path, "offered", complete)
    assert chosen_python(tmp_path) == f"{tmp_path}/offered"
    program(tmp_path, "python3.12", without_headers)
    assert chosen_python(tmp_path) == f"{tmp_path}/offered"
    (tmp_path / "uv").unlink()
    assert chosen_python(tmp_path) == "python3.12"  # which the Makefile refuses with what it lacks
    program(tmp_path, "python3.11", complete)
    assert chosen_python(tmp_path) == "python3.11"
    program(tmp_path, "python3", complete)
    assert chosen_python(tmp_path) == "python3"


@pytest.mark.parametrize("folder", ["", "/former/clone"])
def test_an_environment_that_was_moved_is_made_again(clone, folder):
    marker = clone / ".venv" / ".ready"
    marker.parent.mkdir()
    marker.write_text(f"{clone}\n")
    make = [shutil.which("make") or pytest.skip("there is no make"), "--question", "venv"]
    assert subprocess.run(make, cwd=clone, check=False).returncode == 0  # nothing to do
    marker.write_text(f"{folder}\n")
    assert subprocess.run(make, cwd=clone, check=False).returncode == 1


def test_an_environment_that_is_half_made_is_not_used_to_make_itself(clone):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python3").symlink_to("python3")  # what clearing it from inside leaves
    activated = f"{clone}/.venv/bin{os.pathsep}{clone}/bin"
    assert make_venv(clone, activated).startswith("error: there is no C++ compiler")


def test_modules_are_stored_compiled_where_python_is_told_to_store_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "envs" / "compiled.py"), "ppl.jobs.errors", "ppl.absent"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [path.name.split(".")[0] for path in tmp_path.rglob("*/jobs/errors.*.pyc")] == ["errors"]
    assert done.stderr == "not compiled: ppl.absent (No module named 'ppl.absent')\n"


def test_a_snakemake_without_the_package_says_so(tmp_path):
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["ppl"] = None\n')
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "workflow" / "Snakefile"), "--dry-run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot import the package ppl; use .venv/bin/snakemake" in done.stderr
    assert "Traceback" not in done.stderr
