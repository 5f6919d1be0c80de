from pathlib import Path

import pytest

from ppl.data.label_maps import find_maps
from ppl.jobs.errors import UserError


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder, names in zip(folders, (("a.png", "c.1.png"), ("b.png", "a.txt")), strict=True):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    return folders


def test_label_maps_of_all_shards_come_in_the_order_of_the_images(shards: list[Path]) -> None:
    first, second = shards
    assert list(find_maps(shards, ["b", "c.1", "a"])) == [second / "b.png", first / "c.1.png", first / "a.png"]


def test_missing_label_maps_are_one_error_and_a_missing_folder_is_named(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1, .*2: 2 of 3 label maps are missing, for example d.png"):
        find_maps(shards, ["a", "d", "c"])
    with pytest.raises(UserError, match="absent: no such folder"):
        find_maps([*shards, tmp_path / "absent"], ["a"])
