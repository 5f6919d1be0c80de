"""The report page in a real Chromium, without network: its script must show what Python computes."""

import base64
import io
import itertools
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import Page, expect, sync_playwright

from ppl.cam.seeds import seed
from ppl.cam.store import Cam
from ppl.data.masks import VOC_COLOURS
from ppl.measure import sweep
from ppl.measure.metrics import confusion, iou
from ppl.report.page import main
from ppl.report.pictures import MAX_SIDE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CLASSES = ("cat", "dog", "tree")
SHAPES = {  # size (h, w), class ids in the photo
    "a": ((40, 56), (1,)),
    "b": ((48, 40), (2,)),
    "c": ((44, 44), (1, 2)),
    "wide": ((200, 448), (3,)),
    "nothing": ((40, 40), ()),
}
VARIANTS = ("baseline/plain", "explicit/s4k2")
THRESHOLD = 0.3

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@dataclass(frozen=True)
class Example:
    """A page, and the data on it."""

    html: Path
    root: Path
    masks: dict[str, np.ndarray]
    cams: dict[str, dict[str, Cam]]
    pseudo: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory, experiment_in) -> Example:
    return compose(experiment_in(tmp_path_factory.mktemp("browser") / "shapes"), masks=True)


def compose(experiment, *, masks: bool) -> Example:
    """Write results with rectangles as objects and blurred rectangles as CAMs, and their page."""
    rng = np.random.default_rng(0)
    photos, truth, pseudo, cams = {}, {}, {}, {variant: {} for variant in VARIANTS}
    for image, ((height, width), classes) in SHAPES.items():
        truth[image] = np.zeros((height, width), np.uint8)
        truth[image][:3] = 255
        for place, label in enumerate(classes):
            left = (2 * place + 1) * width // 5
            truth[image][height // 4 : 3 * height // 4, left : left + width // 4] = label
        pseudo[image] = np.roll(np.where(truth[image] == 255, 0, truth[image]), 3, axis=1)
        for reach, variant in enumerate(VARIANTS, start=1):
            cams[variant][image] = blurred_cam(truth[image], classes, reach)
        photos[image] = rng.integers(0, 256, (height, width, 3), np.uint8)
        for folder in ("pseudo/1of1", "predictions/held_out-1of1/raw"):
            experiment.write(f"{VARIANTS[1]}/{folder}/{image}.png", pseudo[image])
    labels = {image: ";".join(CLASSES[i - 1] for i in ids) for image, (_, ids) in SHAPES.items()}
    experiment.write_data(CLASSES, labels, photos, truth if masks else {}, crf=False)
    root = experiment.root
    for variant in VARIANTS:
        file = experiment.write_cams(variant, cams[variant], CLASSES)
        if masks:
            sweep.main(sweep.Settings(root / "data", "seeds", (file,), root / variant / "sweep.csv", workers=0))
    experiment.write(
        f"{VARIANTS[1]}/segmenter.csv", "epoch,step,rate,loss,seconds\n1,7,0.5,0.65,30\n2,14,0.1,0.54,60\n"
    )
    page = experiment.settings()
    main(page)
    return Example(page.out, root, truth, cams, pseudo)


def blurred_cam(truth: np.ndarray, classes: tuple[int, ...], reach: int) -> Cam:
    """Return a CAM, a plane per class, that is highest in the middle of each object and extends beyond it."""
    height, width = truth.shape
    grid = (-(-height // 4), -(-width // 4))
    planes = []
    for label in classes:
        solid = Image.fromarray(np.where(truth == label, 255, 0).astype(np.uint8))
        soft = solid.resize(grid[::-1], Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(reach))
        plane = np.asarray(soft, np.float32)
        planes.append(plane / plane.max())
    maps = np.stack(planes) if planes else np.zeros((0, *grid), np.float32)
    return Cam(maps.astype(np.float16).astype(np.float32), np.array(classes, np.int64), (height, width))


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, example: Example) -> Iterator[Page]:
    yield from opened(browser, example.html)


def opened(browser, html: Path, **options) -> Iterator[Page]:
    """Open a page; fail on a message in its console, and on any request."""
    context = browser.new_context(**({"viewport": {"width": 1400, "height": 900}} | options))
    page, messages, requests = context.new_page(), [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(html.as_uri())
    page.wait_for_selector("html[data-ready]")
    yield page
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [html.as_uri()]
    context.close()


def gallery(page: Page, name: str = "seed"):
    return page.get_by_role("region", name={"seed": "Seeds and labels", "val": "Predictions"}[name])


def card(page: Page, image: str, name: str = "seed"):
    element = gallery(page, name).locator(f'.card[data-image-id="{image}"]')
    element.scroll_into_view_if_needed()
    return element


def move(page: Page, threshold: float) -> None:
    page.get_by_label("threshold of the seeds").first.fill(f"{threshold:.2f}")


def painted(page: Page, image: str, kind: str, *, drawn: str) -> np.ndarray:
    """Return the pixels (h, w, 3) of a canvas, once the card says that it shows `drawn`."""
    element = card(page, image)
    expect(element).to_have_attribute("data-drawn", drawn)
    uri = element.locator(f".{kind}-figure canvas").first.evaluate("canvas => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as picture:
        return np.asarray(picture.convert("RGB"))


def shown_iou(page: Page, image: str, caption: str) -> float:
    return float(card(page, image).locator(f'[data-iou="{caption}"]').inner_text())


def seed_of(example: Example, image: str, threshold: float = THRESHOLD, variant: str = VARIANTS[1]) -> np.ndarray:
    return seed(example.cams[variant][image], threshold)


def image_iou(truth: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean IoU in percent over the classes of the truth."""
    return 100 * float(np.nanmean(iou(confusion(truth, labels, len(CLASSES)))))


def order(page: Page, name: str = "seed") -> list[str]:
    return [element.get_attribute("data-image-id") for element in gallery(page, name).locator(".card:visible").all()]


def agreement(pixels: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of pixels in the colour of their label.

    The page holds CAMs in 256 levels, so some pixels on the contour of a threshold may differ.
    """
    assert pixels.shape[:2] == labels.shape
    return float((pixels == VOC_COLOURS[labels]).all(axis=2).mean())


@pytest.mark.parametrize("threshold", [0.0, 0.2, THRESHOLD, 0.55, 1.0])
def test_the_slider_recomputes_the_seed_from_the_stored_cam(page, example, threshold):
    move(page, threshold)
    for image in ("a", "b", "c", "nothing"):
        pixels = painted(page, image, "seed", drawn=f"{VARIANTS[1]} {threshold:.2f} seed")
        assert agreement(pixels, seed_of(example, image, threshold)) > 0.99


def test_a_large_photo_has_a_small_seed_of_the_same_shape(page, example):
    pixels = painted(page, "wide", "seed", drawn=f"{VARIANTS[1]} {THRESHOLD:.2f} seed")
    ours = seed_of(example, "wide")
    assert pixels.shape == (100, MAX_SIDE, 3)
    assert (pixels.any(axis=2).mean() - (ours > 0).mean()) == pytest.approx(0, abs=0.01)


def test_the_marker_and_the_numbers_follow_the_threshold(page, example):
    places = []
    for threshold in (0.1, 0.5, 0.9):
        move(page, threshold)
        expect(page.locator(".at").first).to_have_text(f"{threshold:.2f}")
        for variant in VARIANTS:
            row = pd.read_csv(example.root / variant / "sweep.csv").iloc[round(100 * threshold)]
            cells = page.locator(f'tr[data-sweep="{variant}"] td')
            expect(cells).to_have_text([f"{row[name]:.1f}" for name in ("miou", "precision", "recall")])
        places.append([float(dot.get_attribute("cx")) for dot in page.locator("circle.marker").all()])
    left = np.array(places)[:, : len(VARIANTS)]  # mIoU over the threshold: equal steps across
    assert left[1] - left[0] == pytest.approx(left[2] - left[1], abs=0.2)
    assert (left[1] - left[0] > 100).all()
    assert (left[:, 0] == left[:, 1]).all()


def test_the_marker_lies_on_the_curve(page, example):
    """A line of matplotlib's SVG passes through the position of each marker."""
    move(page, 0.37)
    expect(page.locator(".at").first).to_have_text("0.37")
    paths = page.locator("#curves-figure svg path").evaluate_all("all => all.map(path => path.getAttribute('d'))")
    for dot in page.locator("circle.marker").all():
        place = np.array([float(dot.get_attribute("cx")), float(dot.get_attribute("cy"))])
        assert min(distance(place, path) for path in filter(None, paths)) < 0.3


def distance(place: np.ndarray, path: str) -> float:
    """Return the distance from a place to the nearest point of an SVG path of straight lines."""
    vertices = np.array(re.findall(r"[ML] (\S+) (\S+)", path), float)
    if len(vertices) < 2:
        return np.inf
    start, along = vertices[:-1], np.diff(vertices, axis=0)
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    share = np.clip(((place - start) * along).sum(axis=1) / length, 0, 1)
    return float(np.linalg.norm(start + share[:, None] * along - place, axis=1).min())


@pytest.mark.parametrize("threshold", [0.15, 0.6])
def test_captions_show_the_iou_at_full_size(page, example, threshold):
    move(page, threshold)
    expect(page.locator(".at").first).to_have_text(f"{threshold:.2f}")
    for image in ("a", "c", "wide"):
        truth = example.masks[image]
        expected = {"seed": seed_of(example, image, threshold), "pseudo label": example.pseudo[image]}
        for caption, labels in expected.items():
            assert shown_iou(page, image, caption) == pytest.approx(image_iou(truth, labels), abs=0.06)


def test_another_variant_can_be_selected(page, example):
    gallery(page).get_by_label("seeds of").select_option(VARIANTS[0])
    pixels = painted(page, "a", "seed", drawn=f"{VARIANTS[0]} {THRESHOLD:.2f} seed")
    assert agreement(pixels, seed_of(example, "a", variant=VARIANTS[0])) > 0.99
    expected = image_iou(example.masks["a"], seed_of(example, "a", variant=VARIANTS[0]))
    assert shown_iou(page, "a", "seed") == pytest.approx(expected, abs=0.06)


def test_the_filter_shows_the_images_of_a_class(page):
    section = gallery(page)
    section.get_by_label("class", exact=True).select_option(label="dog")
    assert order(page) == ["b", "c"]
    expect(section.locator(".status")).to_have_text("2 of 5 images shown.")
    expect(card(page, "c").locator(".cam-figure b").first).to_have_text("dog")
    assert len(order(page, "val")) == len(SHAPES)  # each gallery has its own
    section.get_by_label("class", exact=True).select_option(label="any")
    assert order(page) == list(SHAPES)


@pytest.mark.parametrize("threshold", [THRESHOLD, 0.9])
def test_worst_first_sorts_by_iou(page, example, threshold):
    gallery(page).get_by_label("order").select_option("worst")
    slider = page.get_by_label("threshold of the seeds").first
    slider.fill(f"{threshold:.2f}")
    slider.dispatch_event("change")
    ious = {i: image_iou(example.masks[i], seed_of(example, i, threshold)) for i in SHAPES}
    assert [ious[image] for image in order(page)] == pytest.approx(sorted(ious.values()), abs=0.02)
    gallery(page).get_by_label("order").select_option("best")
    assert [ious[image] for image in order(page)] == pytest.approx(sorted(ious.values(), reverse=True), abs=0.02)


def test_the_difference_shows_hits_and_misses(page, example):
    gallery(page).get_by_label("IoU and difference of").select_option("pseudo label")
    pixels = painted(page, "a", "difference", drawn=f"{VARIANTS[1]} {THRESHOLD:.2f} pseudo label").astype(int)
    truth, labels = example.masks["a"], example.pseudo["a"]
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    coloured = (truth != 255) & ((truth > 0) | (labels > 0))
    assert (spread[coloured] > 50).all()
    assert (spread[~coloured] == 0).all()
    red, blue = pixels[..., 0], pixels[..., 2]
    assert (blue > red)[(truth == 1) & (labels == 0)].all()  # missed
    assert (red > blue)[(truth == 0) & (labels == 1)].all()  # false


def test_the_keyboard_moves_the_threshold_and_reaches_the_gallery(page):
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#gallery"
    slider = page.get_by_role("slider", name="threshold of the seeds").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".at").first).to_have_text("0.31")
    assert slider.get_attribute("aria-valuetext") == "threshold 0.31"
    page.get_by_role("button", name="fixed").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".at").first).to_have_text("0.30")


def test_controls_and_pictures_have_names_for_screen_readers(page):
    for control in page.locator("select, input, button").all():
        assert control.evaluate("c => (c.labels?.[0] ?? c).textContent.trim()")
    card(page, "c")
    for picture in page.locator(".card img, .card canvas, svg[role=img]").all():
        assert picture.evaluate("p => p.getAttribute('alt') || p.getAttribute('aria-label')")
    expect(page.locator("h1")).to_have_count(1)
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(h => Number(h.tagName[1]))")
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("width", [320, 390, 768, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_any_width_in_both_colour_schemes(browser, example, width, scheme):
    for page in opened(browser, example.html, viewport={"width": width, "height": 800}, color_scheme=scheme):
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        ground, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        bright = [sum(map(int, colour[4:-1].split(","))) for colour in (ground, ink)]
        assert (bright[0] > bright[1]) == (scheme == "light")
        assert abs(bright[0] - bright[1]) > 400


def test_without_masks_the_page_still_shows_seeds(browser, experiment_in, tmp_path):
    unmeasured = compose(experiment_in(tmp_path / "shapes"), masks=False)
    for page in opened(browser, unmeasured.html):
        expect(page.get_by_text("Nothing was measured")).to_be_visible()
        expect(gallery(page).get_by_label("order")).to_have_count(0)
        move(page, 0.55)
        pixels = painted(page, "a", "seed", drawn=f"{VARIANTS[1]} 0.55 ")
        assert agreement(pixels, seed_of(unmeasured, "a", 0.55)) > 0.99
        expect(page.locator(".difference-figure")).to_have_count(0)


def test_without_scripts_the_page_shows_photos_and_labels(browser, example):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(example.html.as_uri())
    expect(page.get_by_text("Without JavaScript")).to_be_visible()
    expect(page.locator(".photo img").first).to_be_visible()
    context.close()
