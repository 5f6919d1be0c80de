"""Pseudo labels on which variants agree."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppl.data.label_maps import find_maps
from ppl.data.masks import IGNORE, read_mask, write_mask
from ppl.jobs.errors import UserError
from ppl.refine import agree
from ppl.refine.agree import agreement

label_maps = arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 2, IGNORE]))


@given(label_maps, label_maps, label_maps)
def test_agreement_is_symmetric_idempotent_and_leaves_the_rest_unlabelled(a, b, c) -> None:
    agreed = agreement([a, b])
    assert agreed.dtype == np.uint8
    np.testing.assert_array_equal(agreed, agreement([b, a]))
    np.testing.assert_array_equal(agreement([agreed, a]), agreed)
    np.testing.assert_array_equal(agreement([a, b, c]), agreement([agreed, c]))
    np.testing.assert_array_equal(agreed != IGNORE, (a == b) & (a != IGNORE))
    labelled = agreed != IGNORE
    np.testing.assert_array_equal(agreed[labelled], a[labelled])


@given(label_maps)
def test_equal_maps_agree_on_all_that_they_label(labels) -> None:
    for count in (1, 2, 3):
        np.testing.assert_array_equal(agreement([labels] * count), labels)


def test_maps_of_unequal_shapes_are_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match=r"shape mismatch: \(3, 4\), \(4, 3\)"):
        agreement([np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8)])


@pytest.fixture
def settings(scenes, tmp_path: Path) -> Callable[..., agree.Settings]:
    """Return a builder of the settings: a second variant labels the left column of every image as class 1."""
    folders = tuple(tmp_path / name for name in ("one", "other"))
    for folder in folders:
        folder.mkdir()
    for image_id, path in zip(scenes.images, find_maps(scenes.labels, scenes.images), strict=True):
        labels = read_mask(path)
        write_mask(folders[0] / f"{image_id}.png", labels)
        labels[:, 0] = 1
        write_mask(folders[1] / f"{image_id}.png", labels)

    def build(**changes) -> agree.Settings:
        values = {"data": scenes.root, "split": "all", "labels": folders, "out": tmp_path / "agreed"}
        return agree.Settings(**(values | changes))

    return build


@pytest.mark.parametrize("workers", [0, 1])
def test_a_map_of_the_agreement_is_written_for_each_image_of_a_shard(settings, scenes, workers: int) -> None:
    step = settings(shard="1/2", workers=workers)
    agree.main(step)
    written = sorted(path.stem for path in step.out.iterdir())
    assert 0 < len(written) < len(scenes.images)
    for image_id in written:
        labels = read_mask(step.out / f"{image_id}.png")
        one, other = (read_mask(folder / f"{image_id}.png") for folder in step.labels)
        np.testing.assert_array_equal(labels[:, 1:], one[:, 1:])
        np.testing.assert_array_equal(labels, agreement([one, other]))


def test_a_missing_folder_or_image_is_named_and_nothing_is_left(settings, scenes, tmp_path: Path) -> None:
    step = settings()
    with pytest.raises(UserError, match=r"elsewhere: no such folder"):
        agree.main(settings(labels=(step.labels[0], tmp_path / "elsewhere")))
    (step.labels[1] / f"{scenes.images[1]}.png").unlink()
    with pytest.raises(UserError, match=rf"other: 1 of {len(scenes.images)} label maps are missing"):
        agree.main(step)
    assert not step.out.exists()


def test_variants_of_other_sizes_are_refused_in_one_line(settings, scenes) -> None:
    step = settings()
    write_mask(step.labels[1] / f"{scenes.images[0]}.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(UserError, match=r"differ in size .*refine\.labels\.agree") as caught:
        agree.main(step)
    assert "\n" not in str(caught.value)
    assert not step.out.exists()
