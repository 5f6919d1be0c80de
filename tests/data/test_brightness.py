"""Photos that show nothing are named by the check; photos of the night are not."""

import numpy as np
import pytest

from ppl.data.brightness import DARK, brightness_fault

RNG = np.random.default_rng(0)


def noise(low: int, high: int, size: tuple[int, int] = (70, 90)) -> np.ndarray:
    return RNG.integers(low, high, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(70, 90), (1, 5), (1500, 1100)])
def test_nearly_black_nearly_white_and_constant_photos_are_named(size):
    assert "nearly black" in brightness_fault(noise(0, DARK, size))
    assert "nearly white" in brightness_fault(noise(255 - DARK + 1, 256, size))
    assert "one colour, (9, 200, 30)" in brightness_fault(np.full((*size, 3), (9, 200, 30), np.uint8))


@pytest.mark.parametrize("size", [(70, 90), (1500, 1100)])
def test_a_night_with_lamps_fog_and_a_dim_room_are_photos(size):
    night = noise(0, 8, size)
    night[: size[0] // 20, : size[1] // 20] = 240
    fog = noise(215, 250, size)
    for photo in (night, fog, noise(0, 40, size)):
        assert brightness_fault(photo) is None


def test_one_pixel_of_another_colour_makes_a_large_photo_more_than_constant():
    photo = np.full((1500, 1100, 3), 128, np.uint8)
    photo[777, 333] = 129
    assert brightness_fault(photo) is None
