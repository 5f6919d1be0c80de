import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppl.jobs import files
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic, digest_of, write_json


def _fail(target: Path, *, folder: bool = False, error: Exception | None = None) -> None:
    with atomic(target) as temporary:
        _fill(temporary, folder=folder, text="half")
        raise error or RuntimeError


def _fill(path: Path, *, folder: bool, text: str) -> None:
    if folder:
        path.mkdir()
        path = path / text
    path.write_text(text)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_nothing_appears_before_the_end_and_nothing_else_stays(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "a" / "b" / "out.csv"
    with atomic(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".csv"
        _fill(temporary, folder=folder, text="new")
        assert not target.exists()
    assert ((target / "new") if folder else target).read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_an_exception_leaves_nothing(tmp_path: Path, folder: bool) -> None:
    with pytest.raises(RuntimeError):
        _fail(tmp_path / "out.csv", folder=folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_an_exception_keeps_the_old_content(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "out.csv"
    _fill(target, folder=folder, text="old")
    with pytest.raises(RuntimeError):
        _fail(target, folder=folder)
    assert ((target / "old") if folder else target).read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for text in ("old", "new"):
        with atomic(target) as temporary:
            _fill(temporary, folder=True, text=text)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    _fill(tmp_path / "out", folder=True, text="old")
    with (
        pytest.raises(UserError, match="out: is a folder, where a file is to be written"),
        atomic(tmp_path / "out") as new,
    ):
        new.write_text("new")
    assert (tmp_path / "out" / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 3 vs 2")])
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Writers tell in ways of their own; in doubt the disk decides."""
    free = SimpleNamespace(free=0)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: free)
    told = r"out.pt: cannot be written, its disk is full \(.*\); free some space and run again"
    with pytest.raises(UserError, match=told):
        _fail(tmp_path / "out.pt", error=error)
    assert not list(tmp_path.iterdir())
    free.free = 1 << 30
    with pytest.raises(type(error)):
        _fail(tmp_path / "out.pt", error=error)


def test_without_new_content_the_old_folder_stays(tmp_path: Path) -> None:
    target = tmp_path / "out"
    _fill(target, folder=True, text="old")
    with pytest.raises(FileNotFoundError), atomic(target):
        pass
    assert (target / "old").exists()


def test_a_linked_folder_is_replaced_where_it_lies(tmp_path: Path) -> None:
    _fill(tmp_path / "large-disk", folder=True, text="old")
    (tmp_path / "out").symlink_to(tmp_path / "large-disk")
    with atomic(tmp_path / "out") as temporary:
        _fill(temporary, folder=True, text="new")
    assert (tmp_path / "out").is_symlink()
    assert [path.name for path in (tmp_path / "large-disk").iterdir()] == ["new"]


def test_json_does_not_depend_on_the_order_of_its_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_mistake_of_the_user_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    arguments = ["--data", tmp_path / "absent", "--split", "val", "--cams", tmp_path / "cams.h5"]
    arguments += ["--out", tmp_path / "sweep.csv", "--workers", 1]
    command = [sys.executable, "-m", "ppl.measure.sweep", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/absent/classes.txt: ")
    assert not list(tmp_path.iterdir())


def test_a_digest_changes_with_settings_and_with_content(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("a")
    digests = [digest_of((1, "x"), file), digest_of((2, "x"), file), digest_of((1, "x"))]
    assert digest_of((1, "x"), file) == digests[0]
    file.write_text("b")
    assert len({*digests, digest_of((1, "x"), file)}) == 4
