import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data.dataset import Dataset
from ppl.data.masks import write_mask
from ppl.jobs.errors import UserError
from ppl.segment import check_server
from ppl.segment.check_server import Settings, archive_faults

FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"
MAP = f"{FOLDER}/scene.1.png"  # of a photo of 33 x 47
BACKGROUND = np.zeros((33, 47), np.uint8)
Entries = dict[str, bytes | tarfile.TarInfo]


def _png(ids: np.ndarray) -> bytes:
    out = io.BytesIO()
    write_mask(out, ids)
    return out.getvalue()


def _changed(change: Callable[[Image.Image], Image.Image | None]) -> bytes:
    """Return a map of background after a change of its image."""
    image, out = Image.open(io.BytesIO(_png(BACKGROUND))), io.BytesIO()
    (change(image) or image).save(out, format="PNG")
    return out.getvalue()


@pytest.fixture
def entries(scenes) -> Entries:
    """What belongs into the archive, by name."""
    return {f"{FOLDER}/{path.name}": path.read_bytes() for folder in scenes.labels for path in folder.iterdir()}


@pytest.fixture
def faults(scenes, tmp_path: Path) -> Callable[..., list[str]]:
    """Packs entries, and asks for the faults."""

    def found(entries: Entries, *more: tuple[str, bytes | tarfile.TarInfo], cut: int | None = None) -> list[str]:
        tar = tmp_path / "packed.tar"
        with tarfile.open(tar, "w") as archive:
            for name, content in (*entries.items(), *more):
                if isinstance(content, tarfile.TarInfo):
                    archive.addfile(content)
                else:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        tar.write_bytes(tar.read_bytes()[:cut])
        return list(archive_faults(tar, Dataset.open(scenes.root), scenes.images))

    return found


def _special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_complete_archives_pass_with_or_without_folders_and_a_missing_map_is_named(entries, faults) -> None:
    assert faults(entries) == []
    parts = FOLDER.split("/")
    folders = {"/".join(parts[:n]): _special("/".join(parts[:n]), tarfile.DIRTYPE) for n in range(1, len(parts) + 1)}
    assert faults(folders | entries) == []
    del entries[MAP]
    assert faults(entries) == ["scene.1.png: is missing"]


@pytest.mark.parametrize(("content", "fault"), [
    (b"no picture", r"scene.1.png: is not a readable PNG"),
    (_png(BACKGROUND)[:-40], r"scene.1.png: is not a readable PNG"),
    (_png(BACKGROUND.T), r"scene.1.png: size 33x47, the photo has 47x33"),
    (_png(BACKGROUND + 3), r"scene.1.png: id 3, the last class is 2"),
    (_png(BACKGROUND + 255), r"scene.1.png: id 255, the last class is 2"),
    (_changed(lambda image: image.convert("L")), r"scene.1.png: mode L"),
    (_changed(lambda image: image.putpalette(bytes(range(256)) * 3)), r"scene.1.png: its palette is not VOC's"),
    (_special(MAP, tarfile.SYMTYPE, "/etc/passwd"), r"scene.1.png': is a link"),
    (_special(MAP, tarfile.LNKTYPE, f"{FOLDER}/scene.0.png"), r"scene.1.png': is a link"),
], ids=["text", "cut", "size", "id", "border", "greyscale", "palette", "symlink", "hard link"])  # fmt: skip
def test_each_fault_of_a_map_is_named_alone(entries, faults, content, fault: str) -> None:
    found = faults(entries | {MAP: content})
    assert len(found) == 1
    assert re.search(fault, found[0])


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (MAP, "appears twice"),
        ("/" + MAP, "lies outside the archive"),
        (f"{FOLDER}/../scene.1.png", "lies outside the archive"),
        ("./" + MAP, "unexpected member"),
        ("scene.1.png", "unexpected member"),
        (f"{FOLDER}/notes.txt", "unexpected member"),
        (f"{FOLDER}/scene.9.png", "not in the list of images"),
    ],
)
def test_whatever_else_is_in_the_archive_is_named(entries, faults, name: str, fault: str) -> None:
    found = faults(entries, (name, entries[MAP]))
    assert len(found) == 1
    assert found[0].startswith(f"{name!r}: {fault}")


@pytest.mark.parametrize("cut", [0, 300, 1000])
def test_an_archive_that_ends_early_is_no_archive(entries, faults, cut: int) -> None:
    found = faults(entries, cut=cut)
    assert "scene.3.png: is missing" in found
    assert any("readable" in fault for fault in found)


def test_an_archive_that_is_not_there(scenes, tmp_path: Path) -> None:
    found = list(archive_faults(tmp_path / "none.tar", Dataset.open(scenes.root), scenes.images))
    assert len(found) == 1 + len(scenes.images)
    assert "No such file" in found[0]


def test_the_command_prints_success_or_the_first_faults(scenes, entries, faults, tmp_path, capsys, monkeypatch) -> None:
    settings = Settings(tar=tmp_path / "packed.tar", data=scenes.root, split="all")
    faults(entries)
    check_server.main(settings)
    assert capsys.readouterr().out.splitlines() == [f"{settings.tar}: 4 label maps in the server's format"]
    faults(entries | {MAP: b""}, ("more", b""), ("again", b""))
    with pytest.raises(UserError, match=r"packed.tar: 3 faults") as refused:
        check_server.main(settings)
    assert len(str(refused.value).splitlines()) == 4
    monkeypatch.setattr(check_server, "MAX_FAULTS", 2)
    with pytest.raises(UserError, match=r"and 1 more$"):
        check_server.main(settings)
