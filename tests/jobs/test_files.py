import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppl.jobs import files
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic, digest_of, write_json


def fill(path: Path, kind: str, text: str) -> None:
    """Make `path` a file with this text, or a folder with a file of this name."""
    if kind == "folder":
        path.mkdir()
        path = path / text
    path.write_text(text)


def content(path: Path, kind: str) -> list[str]:
    return [path.read_text()] if kind == "file" else [file.name for file in path.iterdir()]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_an_output_replaces_the_old_one_as_a_whole_at_the_end_or_not_at_all(
    tmp_path: Path, kind: str, old: bool, fails: bool
) -> None:
    target = tmp_path / "a" / "b" / "out.csv"
    if old:
        target.parent.mkdir(parents=True)
        fill(target, kind, "old")
    with contextlib.suppress(ZeroDivisionError), atomic(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (target.parent, ".csv")
        fill(temporary, kind, "new")
        assert target.exists() == old
        assert not fails or 1 / 0
    remains = old or not fails
    assert list(target.parent.iterdir()) == [target] * remains
    assert not remains or content(target, kind) == ["old" if fails else "new"]


@pytest.mark.parametrize(("write", "error", "message"), [
    (lambda new: new.write_text("new"), UserError, "out: is a folder, not a file"),
    (lambda new: None, FileNotFoundError, "out"),
], ids=["file", "nothing"])  # fmt: skip
def test_a_folder_is_replaced_by_a_folder_only(tmp_path: Path, write, error: type, message: str) -> None:
    fill(tmp_path / "out", "folder", "old")
    with pytest.raises(error, match=message), atomic(tmp_path / "out") as new:
        write(new)
    assert content(tmp_path / "out", "folder") == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 3 vs 2")])
def test_any_error_on_a_full_disk_says_that_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(target: Path) -> None:
        with atomic(target) as temporary:
            temporary.write_text("half")
            raise error

    disk = SimpleNamespace(free=0)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: disk)
    with pytest.raises(UserError, match=r"out.pt: disk full \(.*\); free some space and run again") as full:
        fail(tmp_path / "out.pt")
    assert full.value.__cause__ is error
    assert not list(tmp_path.iterdir())
    disk.free = 1 << 30
    with pytest.raises(type(error)):
        fail(tmp_path / "out.pt")


def test_a_linked_folder_is_replaced_at_its_target(tmp_path: Path) -> None:
    fill(tmp_path / "large-disk", "folder", "old")
    (tmp_path / "out").symlink_to(tmp_path / "large-disk")
    with atomic(tmp_path / "out") as temporary:
        fill(temporary, "folder", "new")
    assert (tmp_path / "out").is_symlink()
    assert content(tmp_path / "large-disk", "folder") == ["new"]


def test_json_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_digest_changes_with_settings_and_with_content(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("a")
    digests = [digest_of((1, "x"), file), digest_of((2, "x"), file), digest_of((1, "x"))]
    assert digest_of((1, "x"), file) == digests[0]
    file.write_text("b")
    assert len({*digests, digest_of((1, "x"), file)}) == 4
