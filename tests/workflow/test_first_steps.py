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
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "old").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["PYTHON=./old"], "error: ./old is Python 3.9, and 3.11 or later is needed; name one"),
        ([], "error: there is no C++ compiler, which pydensecrf2 needs; on Debian"),
    ],
)
def test_make_venv_tells_what_is_missing(clone, arguments, told):
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    command = [make, "venv", "SHELL=/bin/sh", *arguments]
    done = subprocess.run(
        command, cwd=clone, env={"PATH": str(clone / "bin")}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert done.stderr.startswith(told), done.stderr
    assert not (clone / ".venv").exists()  # nothing half-made


def test_an_environment_that_is_half_made_is_not_used_to_make_itself(clone):
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python3").symlink_to("python3")  # what clearing it from inside leaves
    path = os.pathsep.join([f"{clone}/.venv/bin", str(clone / "bin")])  # activated
    done = subprocess.run([make, "venv"], cwd=clone, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("error: there is no C++ compiler"), done.stderr


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
