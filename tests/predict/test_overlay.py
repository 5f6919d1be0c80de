import numpy as np
import pytest
from PIL import Image

from ppl.data.masks import VOC_COLOURS
from ppl.predict import overlay
from ppl.predict.overlay import DISPLAY_SIDES, display_size, draw_legend, draw_overlay, outline


def test_background_is_unchanged_and_a_class_is_half_its_colour() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (600, 500, 3), dtype=np.uint8)
    labels = np.zeros((600, 500), np.uint8)
    labels[200:400, 100:300] = 3
    picture = np.asarray(draw_overlay(photo, labels, {3: "cat"}))[:600, :500]
    assert np.array_equal(picture[:190], photo[:190])
    assert np.array_equal(picture[410:], photo[410:])
    inner = (slice(210, 390), slice(110, 290))
    assert np.abs(picture[inner].astype(float) - (photo[inner] / 2 + VOC_COLOURS[3] / 2)).max() <= 0.5
    assert (picture[200, 100:300] == VOC_COLOURS[3]).all()  # the outline


def test_an_outline_separates_classes_and_background() -> None:
    labels = np.array([[0, 1, 1, 1], [0, 1, 1, 2], [0, 1, 1, 2]], np.uint8)
    assert np.array_equal(outline(labels), [[0, 1, 0, 1], [0, 1, 1, 1], [0, 1, 1, 1]])
    assert not outline(np.full((3, 3), 4, np.uint8)).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (40, 30), (4000, 3000), (640, 480)])
def test_a_picture_fits_a_screen(size: tuple[int, int]) -> None:
    shown = display_size(size)
    assert DISPLAY_SIDES[0] <= max(shown) <= DISPLAY_SIDES[1]
    assert min(shown) >= 1
    picture = draw_overlay(np.zeros((*size[::-1], 3), np.uint8), np.ones(size[::-1], np.uint8), {1: "dog 100.0 %"})
    assert picture.height > shown[1]  # the legend is below
    assert np.asarray(picture)[shown[1] :].min() < 100  # and says something


def test_a_legend_shows_long_and_foreign_names_whole() -> None:
    names = ["background", "a" * 200, "\u03b6\u03ce\u03bf", "\u0441\u043e\u0431\u0430\u043a\u0430"]
    legend = draw_legend(names)
    assert isinstance(legend, Image.Image)
    assert (np.asarray(legend)[:, -4:] == 255).all()  # nothing is cut at the right
    lines = draw_overlay(np.zeros((30, 40, 3), np.uint8), np.ones((30, 40), np.uint8), dict(enumerate(names * 5)))
    assert (np.asarray(lines)[:, -4:][360:] == 255).all()


def test_no_filter_of_one_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    widths, whole = [], overlay.ImageFilter.MaxFilter
    monkeypatch.setattr(overlay.ImageFilter, "MaxFilter", lambda size: widths.append(size) or whole(size))
    draw_overlay(np.zeros((48, 48, 3), np.uint8), np.eye(48, dtype=np.uint8), {1: "cat"})
    assert widths
    assert min(widths) > 1  # Pillow 12.3 ends the process there, by SIGFPE
