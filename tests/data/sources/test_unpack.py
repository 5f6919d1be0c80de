"""Archives: what is inside comes out, and nothing lands elsewhere."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from ppl.data.sources import unpack
from ppl.jobs.errors import UserError


def _tar(path: Path, *members: tuple[str, bytes | str], mode: str = "w") -> Path:
    """A tar of files; a text instead of bytes is the target of a link."""
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def test_archives_share_a_folder(tmp_path: Path) -> None:
    first = _tar(tmp_path / "a.tar", ("VOC/a.jpg", b"1"))
    second = _tar(tmp_path / "b.tgz", ("VOC/b.jpg", b"2"), mode="w:gz")
    unpack.main(unpack.Settings((first, second), tmp_path / "out"))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out" / "VOC").iterdir()} == {"a.jpg": b"1", "b.jpg": b"2"}


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("a/../../evil", b"x")],
        [("link", "/etc"), ("link/evil", b"x")],
        [("l", "../..")],
        [("l", "fine")],
    ],
)
def test_a_name_outside_the_folder_is_refused(tmp_path: Path, members: list) -> None:
    home = tmp_path / "home"
    home.mkdir()
    archive = _tar(tmp_path / "a.tar", ("fine", b"1"), *members)
    with pytest.raises(UserError, match="outside the folder"):
        unpack.main(unpack.Settings((archive,), home / "out"))
    assert not list(home.iterdir())
    assert not (tmp_path / "evil").exists()


def _zip(path: Path, name: str, content: bytes, mode: int) -> Path:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fine", b"1")
        archive.writestr(member, content)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("../evil", 0o100644), ("/evil", 0o100644), ("a/../../evil", 0o100644), ("link", 0o120777)],
)
def test_a_zip_that_reaches_out_or_holds_a_link_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    archive = _zip(tmp_path / "a.zip", name, b"/etc/passwd", mode)
    with pytest.raises(UserError, match=r"a.zip: contains a link, a device or a name outside the folder"):
        unpack.main(unpack.Settings((archive,), home / "out"))
    assert not list(home.iterdir())


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE, tarfile.CHRTYPE])
def test_other_than_files_and_folders_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("fine"))
        info = tarfile.TarInfo("other")
        info.type, info.linkname = kind, "fine"
        tar.addfile(info)
    with pytest.raises(UserError, match="contains a link, a device"):
        unpack.main(unpack.Settings((tmp_path / "a.tar",), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_absolute_name_is_one_inside_the_folder(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a.tar", (f"{tmp_path}/evil", b"x"))
    unpack.main(unpack.Settings((archive,), tmp_path / "out"))
    assert not (tmp_path / "evil").exists()
    assert [path.name for path in (tmp_path / "out").rglob("evil")] == ["evil"]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"no tar at all"])
def test_a_damaged_archive_is_named_and_nothing_is_left(tmp_path: Path, damage) -> None:
    archive = _tar(tmp_path / "a.tgz", *((f"{i}", bytes(range(256)) * 9) for i in range(9)), mode="w:gz")
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(UserError, match=r"a.tgz: cannot be unpacked .* delete it to download it again") as refused:
        unpack.main(unpack.Settings((archive,), tmp_path / "out"))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_published_archive_must_be_the_published_one(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "benchmark.tgz", ("a", b"1"), mode="w:gz")
    with pytest.raises(UserError, match=r"benchmark.tgz: not the published file"):
        unpack.main(unpack.Settings((archive,), tmp_path / "out"))
