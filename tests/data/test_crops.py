from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from ppl.data.crops import (
    Augmentation,
    Crop,
    ResizedImages,
    TrainingCrops,
    Window,
    cut_labels,
    cut_photo,
    draw_window,
    jitter_colours,
    label_vectors,
    normalise,
    normalise_crops,
)
from ppl.data.masks import write_mask

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CPU = torch.device("cpu")
SHADES = np.array([20, 80, 140, 200], dtype=np.uint8)  # grey of the classes 0..3 in a photo that shows its labels
sides = st.integers(1, 90)
augmentations = st.one_of(
    st.builds(Augmentation, st.integers(1, 70), long_side=st.just((20, 120))),
    st.builds(Augmentation, st.integers(1, 70), scale=st.just((0.5, 1.5))),
    st.builds(Augmentation, st.integers(1, 70), scales=st.just((0.5, 0.75, 1, 1.25, 1.5)), pad_end=st.booleans()),
)


def _blocks(h: int, w: int) -> np.ndarray:
    """A label map (h, w) of 16 x 16 blocks of the classes 0..3, each unlike its neighbours."""
    rows, columns = np.arange(h)[:, None] // 16, np.arange(w)[None] // 16
    return ((rows * 2 + columns) % 4).astype(np.uint8)


@given(st.tuples(sides, sides), augmentations, st.integers(0, 2**32))
def test_a_window_lies_in_photo_and_crop_and_a_side_smaller_than_the_crop_is_not_cropped(size, a, seed) -> None:
    window = draw_window(size, a, np.random.default_rng(seed))
    (left, top, right, bottom), (n, m) = window.box, window.size
    assert 0 <= left < right <= size[1]
    assert 0 <= top < bottom <= size[0]
    for place, length in zip(window.offset, window.size, strict=True):
        assert 0 <= place <= place + length <= a.crop
        assert length >= 1
    if n < a.crop:
        assert (top, bottom) == (0, pytest.approx(size[0]))
    if m < a.crop:
        assert (left, right) == (0, pytest.approx(size[1]))


@given(st.integers(0, 2**32))
def test_the_scale_is_drawn_from_its_range_and_the_same_for_both_sides(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for augmentation in (Augmentation(400, long_side=(80, 160)), Augmentation(400, scale=(0.5, 1.0))):
        h, w = draw_window((80, 160), augmentation, rng).size  # the crop holds all of it
        assert 80 <= w <= 160
        assert abs(h - w / 2) <= 1


def test_single_scales_are_drawn_equally_often_and_nothing_between_them() -> None:
    rng, augmentation = np.random.default_rng(0), Augmentation(400, scales=(0.5, 1, 1.25))
    drawn = [draw_window((80, 160), augmentation, rng).size for _ in range(300)]  # the crop holds all of it
    assert {*drawn} == {(40, 80), (80, 160), (100, 200)}
    assert all(70 < drawn.count(size) < 130 for size in {*drawn})


def test_with_padding_at_the_end_a_photo_lies_at_the_top_left_and_is_mirrored_with_its_padding() -> None:
    rng, augmentation = np.random.default_rng(0), Augmentation(10, scales=(1,), pad_end=True)
    drawn = {(window.offset, window.flip) for window in (draw_window((4, 7), augmentation, rng) for _ in range(50))}
    assert drawn == {((0, 0), False), ((0, 3), True)}
    wide = [draw_window((4, 20), augmentation, rng) for _ in range(300)]  # cut from anywhere along its longer side
    assert {window.box[0] for window in wide} == set(range(11))
    assert {(window.offset, window.size) for window in wide} == {((0, 0), (4, 10))}


def test_every_place_and_both_flips_are_drawn() -> None:
    rng, a = np.random.default_rng(0), Augmentation(4, scale=(1, 1))
    inside = [draw_window((6, 6), a, rng) for _ in range(200)]
    assert {(window.box[0], window.box[1]) for window in inside} == {(x, y) for x in range(3) for y in range(3)}
    assert {window.flip for window in inside} == {False, True}
    assert {draw_window((2, 2), a, rng).offset for _ in range(200)} == {(x, y) for x in range(3) for y in range(3)}


@given(st.tuples(st.integers(40, 90), st.integers(40, 90)), st.floats(0.6, 1.6), st.integers(0, 2**32))
def test_photo_and_labels_are_cut_alike(size: tuple[int, int], scale: float, seed: int) -> None:
    labels = _blocks(*size)
    photo = np.repeat(SHADES[labels][:, :, None], 3, axis=2)
    window = draw_window(size, Augmentation(48, scale=(scale, scale)), np.random.default_rng(seed))
    image = cut_photo(photo, window, 48).pixels
    cut = cut_labels(labels, window, 48)
    (top, left), (n, m) = window.offset, window.size
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[top : top + n, left : left + m] = True
    assert (cut[~inside] == 255).all()
    assert (cut[inside] < 4).all()
    difference = image[0][inside].float() - torch.from_numpy(SHADES)[cut[inside].long()]
    # interpolation blurs the borders of the 16 x 16 blocks; a shift by more than that would show in their inside
    assert (difference.abs() < 10).float().mean() > 0.6


@pytest.mark.parametrize("size", [(24, 32), (90, 120), (60, 33)])
def test_photos_are_resized_as_pillow_does_it_within_a_grey_level(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    window = Window((0, 0, 80, 60), size, (0, 0), flip=False)
    image = cut_photo(photo, window, max(size)).pixels[:, : size[0], : size[1]]
    pillow = np.array(Image.fromarray(photo).resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.float32)
    difference = np.abs(image.permute(1, 2, 0).numpy() - pillow)
    assert difference.max() < 1.01
    assert (difference > 0.5).mean() < 0.05


@pytest.mark.parametrize("step", [1, -1])
def test_without_rescaling_a_window_is_a_slice_normalised_by_mean_and_deviation(step: int) -> None:
    rng = np.random.default_rng(0)
    photo, labels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), rng.integers(0, 9, (9, 12), dtype=np.uint8)
    window = Window((2, 1, 8, 5), (4, 6), (3, 1), flip=step == -1)
    image = normalise_crops(cut_photo(photo, window, 8), MEAN, STD, CPU)
    cut = cut_labels(labels, window, 8)
    expected = normalise(photo[1:5, 2:8][:, ::step].copy(), MEAN, STD)
    by_hand = (torch.from_numpy(photo[1:5, 2:8][:, ::step] / 255).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(expected, by_hand)
    assert torch.equal(image[:, 3:7, 1:7], expected.permute(2, 0, 1))
    np.testing.assert_array_equal(cut[3:7, 1:7], labels[1:5, 2:8][:, ::step])
    assert image.count_nonzero() == expected.count_nonzero()  # 0 around it, behind the normalisation
    assert (cut != 255).sum() == 24


photos = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(photos, st.floats(0, 1), st.integers(0, 2**32))
def test_jitter_depends_on_its_seed_only(photo: np.ndarray, strength: float, seed: int) -> None:
    first, again = (jitter_colours(photo, strength, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(first, again)
    assert (first.shape, first.dtype) == (photo.shape, np.uint8)
    assert np.array_equal(jitter_colours(photo, 0, np.random.default_rng(seed)), photo)


def test_jitter_draws_from_all_of_its_range_and_no_further() -> None:
    grey, red = np.full((4, 4, 3), 100, np.uint8), np.full((4, 4, 3), (200, 40, 40), np.uint8)
    rng = np.random.default_rng(0)
    # An even grey has no contrast, saturation or hue: what is left is its brightness.
    shades = [int(jitter_colours(grey, 0.3, rng)[0, 0, 0]) for _ in range(300)]
    assert min(shades) in (70, 71, 72)
    assert max(shades) in (128, 129, 130)
    colours = np.array([jitter_colours(red, 0.3, rng)[0, 0] for _ in range(300)]).astype(int)
    assert (colours.argmax(axis=1) == 0).all()  # a tenth of a turn leads from red to no other channel
    assert (colours[:, 1] - colours[:, 2]).max() > 40
    assert (colours[:, 2] - colours[:, 1]).max() > 40


def test_jitter_changes_colours_but_no_window(files: tuple[list[Path], list[Path]]) -> None:
    plain, jittered = (crops(*files, Augmentation(64, scale=(0.5, 1.5), jitter=jitter)) for jitter in (0, 0.5))
    for sample in [(0, 3), (1, 4), (0, 5)]:
        (crop, labels), (other, same) = plain[sample], jittered[sample]
        assert torch.equal(labels, same)
        assert torch.equal(crop.place, other.place)
        assert not other.pixels.permute(1, 2, 0)[labels == 255].any()
        assert not torch.equal(crop.pixels, other.pixels)
        assert torch.equal(jittered[sample][0].pixels, other.pixels)


@pytest.fixture
def files(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """Two photos that show their labels, and these."""
    photos, masks = ([tmp_path / f"{i}{kind}.png" for i in range(2)] for kind in ("-photo", ""))
    for photo, mask, size in zip(photos, masks, [(50, 60), (30, 20)], strict=True):
        Image.fromarray(SHADES[_blocks(*size)]).save(photo)
        write_mask(mask, _blocks(*size))
    return photos, masks


def crops(photos: list[Path], targets: list[Path] | torch.Tensor, augmentation: Augmentation) -> TrainingCrops:
    return TrainingCrops(photos, targets, augmentation, mean=MEAN, std=STD)


def test_a_sample_depends_on_index_and_seed_only(files: tuple[list[Path], list[Path]]) -> None:
    views = crops(*files, Augmentation(32, long_side=(30, 70)))
    assert len(views) == 2
    wanted = [(0, 1), (1, 1), (0, 2)]
    first = {sample: views[sample] for sample in wanted}
    torch.manual_seed(5)
    np.random.seed(5)
    for sample in reversed(wanted):
        (crop, labels), (again, same) = first[sample], views[sample]
        assert torch.equal(crop.pixels, again.pixels)
        assert torch.equal(crop.place, again.place)
        assert torch.equal(labels, same)
    assert not torch.equal(first[0, 1][0].pixels, first[0, 2][0].pixels)


def batch_of_crops() -> tuple[Crop, Tensor]:
    """Crops of random photos, smaller and larger than the crop, and their images by numpy, one by one."""
    rng, crops, images = np.random.default_rng(0), [], []
    for size in [(9, 12), (30, 17), (40, 44), (32, 32)] * 3:
        photo = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        crops.append(cut_photo(photo, window := draw_window(size, Augmentation(32, scale=(0.5, 1.5)), rng), 32))
        (top, left), (n, m) = window.offset, window.size
        inside = (slice(top, top + n), slice(left, left + m))
        images.append(torch.zeros(32, 32, 3))
        images[-1][inside] = normalise(crops[-1].pixels.permute(1, 2, 0)[inside].numpy(), MEAN, STD)
    return default_collate(crops), torch.stack(images).permute(0, 3, 1, 2)


def test_crops_of_a_batch_are_normalised_and_0_around_their_windows() -> None:
    crops, images = batch_of_crops()
    assert torch.equal(normalise_crops(crops, MEAN, STD, CPU), images)
    assert (images == 0).any()


@pytest.mark.gpu
def test_crops_normalised_on_a_gpu_are_those_of_the_cpu_bit_for_bit() -> None:
    crops, images = batch_of_crops()
    assert torch.equal(normalise_crops(crops, MEAN, STD, torch.device("cuda")).cpu(), images)
    photos = crops.pixels.permute(0, 2, 3, 1).numpy()
    assert torch.equal(normalise(photos, MEAN, STD, "cuda").cpu(), normalise(photos, MEAN, STD))


def test_targets_are_vectors_or_label_maps_cut_like_the_photo(files: tuple[list[Path], list[Path]]) -> None:
    photos, masks = files
    augmentation, vectors = Augmentation(64, scale=(1, 1)), label_vectors([(1, 3), ()], 3)
    assert vectors.tolist() == [[1, 0, 1], [0, 0, 0]]
    crop, vector = crops(photos, vectors, augmentation)[0, 7]
    of_masks = crops(photos, masks, augmentation)
    same, labels = of_masks[0, 7]
    assert torch.equal(vector, vectors[0])
    assert torch.equal(crop.pixels, same.pixels)
    image = of_masks.normalise(crop, CPU)
    inside = labels != 255
    assert inside.sum() == 50 * 60
    expected = normalise(SHADES[labels[inside].numpy()][:, None].repeat(3, axis=1), MEAN, STD)
    assert torch.equal(image.permute(1, 2, 0)[inside], expected)
    assert not image.permute(1, 2, 0)[~inside].any()


def test_as_many_targets_as_photos() -> None:
    with pytest.raises(ValueError, match="1 photos but 2 targets"):
        crops([Path("a.jpg")], torch.zeros(2, 3), Augmentation(8, scale=(1, 1)))


def test_a_resized_image_fills_the_crop_with_its_longest_side(files: tuple[list[Path], list[Path]]) -> None:
    wide, high = ResizedImages(files[0], 30, mean=(0, 0, 0), std=(1, 1, 1))
    for image, (h, w) in ((wide, (25, 30)), (high, (30, 20))):
        assert image.shape == (3, 30, 30)
        filled = image[0] > 0
        assert filled[:h, :w].all()
        assert filled.sum() == h * w
