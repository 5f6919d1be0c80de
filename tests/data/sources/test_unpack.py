"""Archives: what is inside comes out, and nothing lands elsewhere."""

import io
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import pytest

from ppl.data.sources import unpack
from ppl.jobs.errors import UserError


def _tar(path: Path, members: list[tuple[str, bytes | str]], mode: str = "w") -> Path:
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
    first = _tar(tmp_path / "a.tar", [("VOC/a.jpg", b"1")])
    second = _tar(tmp_path / "b.tgz", [("VOC/b.jpg", b"2")], "w:gz")
    unpack.main(unpack.Settings((first, second), tmp_path / "out"))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out" / "VOC").iterdir()} == {"a.jpg": b"1", "b.jpg": b"2"}


def _zip(path: Path, name: str, mode: int) -> Path:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fine", b"1")
        archive.writestr(member, b"/etc/passwd")
    return path


def _special(path: Path, kind: bytes) -> Path:
    info = tarfile.TarInfo("other")
    info.type, info.linkname = kind, "fine"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("fine"))
        tar.addfile(info)
    return path


TARS = [[("../evil", b"x")], [("a/../../evil", b"x")], [("link", "/etc"), ("link/evil", b"x")], [("l", "../..")],
        [("l", "fine")]]  # fmt: skip
ZIPS = [("../evil", 0o100644), ("/evil", 0o100644), ("a/../../evil", 0o100644), ("link", 0o120777)]
SPECIAL = [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE, tarfile.CHRTYPE]
HOSTILE = [
    *(partial(_tar, members=[("fine", b"1"), *members]) for members in TARS),
    *(partial(_zip, name=name, mode=mode) for name, mode in ZIPS),
    *(partial(_special, kind=kind) for kind in SPECIAL),
]


@pytest.mark.parametrize("write", HOSTILE)
def test_a_name_outside_the_folder_a_link_and_a_device_are_refused(tmp_path: Path, write) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(UserError, match=r"a: contains a link, a device or a name outside the folder"):
        unpack.main(unpack.Settings((write(tmp_path / "a"),), home / "out"))
    assert not list(home.iterdir())
    assert not (tmp_path / "evil").exists()


def test_an_absolute_name_is_one_inside_the_folder(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a.tar", [(f"{tmp_path}/evil", b"x")])
    unpack.main(unpack.Settings((archive,), tmp_path / "out"))
    assert not (tmp_path / "evil").exists()
    assert [path.name for path in (tmp_path / "out").rglob("evil")] == ["evil"]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"no tar at all"])
def test_a_damaged_archive_is_named_and_nothing_is_left(tmp_path: Path, damage) -> None:
    archive = _tar(tmp_path / "a.tgz", [(f"{i}", bytes(range(256)) * 9) for i in range(9)], "w:gz")
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(UserError, match=r"a.tgz: cannot be unpacked .* delete it to download it again") as refused:
        unpack.main(unpack.Settings((archive,), tmp_path / "out"))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_published_archive_must_be_the_published_one(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "benchmark.tgz", [("a", b"1")], "w:gz")
    with pytest.raises(UserError, match=r"benchmark.tgz: not the published file"):
        unpack.main(unpack.Settings((archive,), tmp_path / "out"))
