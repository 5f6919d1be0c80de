import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data.masks import read_mask, write_mask
from ppl.jobs.errors import UserError
from ppl.segment import voc_server as server
from ppl.segment.voc_server import Settings

FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"


@pytest.fixture
def settings(scenes, tmp_path: Path) -> Settings:
    out = tmp_path / "demo_test_preds"
    return Settings(data=scenes.root, split="all", predictions=scenes.labels, out=out, tar=tmp_path / "demo.tar")


def test_folder_and_tar_have_the_layout_of_the_server(settings: Settings, scenes) -> None:
    (scenes.labels[0] / "of_another_split.png").write_bytes(b"")
    server.main(settings)
    names = [f"{FOLDER}/{image}.png" for image in scenes.images]
    files = sorted(str(path.relative_to(settings.out)) for path in settings.out.rglob("*") if path.is_file())
    assert files == names
    with tarfile.open(settings.tar) as archive:
        assert archive.getnames() == names
        for i, member in enumerate(archive.getmembers()):
            assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
            content = archive.extractfile(member).read()
            assert content == (settings.out / member.name).read_bytes()
            assert content == (scenes.labels[i % 2] / f"{scenes.images[i]}.png").read_bytes()


def test_the_tar_depends_on_the_maps_only(settings: Settings, scenes, tmp_path: Path) -> None:
    server.main(settings)
    for folder in scenes.labels:
        for path in folder.iterdir():
            os.utime(path, (1, 1))
            path.chmod(0o600)
    again = replace(settings, out=tmp_path / "again", tar=tmp_path / "again.tar", predictions=scenes.labels[::-1])
    server.main(again)
    assert settings.tar.read_bytes() == again.tar.read_bytes()


@pytest.mark.parametrize(("write", "message"), [
    (lambda path, ids: path.unlink(), "1 of 4"),
    (lambda path, ids: write_mask(path, ids[1:]), "scene.3.png: size"),
    (lambda path, ids: write_mask(path, ids + np.uint8(253)), "scene.3.png: id 25"),
    (lambda path, ids: Image.fromarray(ids).save(path), r"demo.tar: 1 fault, (.|\n)*scene.3.png: mode L"),
])  # fmt: skip
def test_wrong_maps_are_named_and_leave_neither_folder_nor_tar(settings: Settings, scenes, write, message: str) -> None:
    path = scenes.labels[1] / "scene.3.png"
    write(path, read_mask(path))
    with pytest.raises(UserError, match=message):
        server.main(settings)
    assert not list(settings.tar.parent.glob("*demo*"))
