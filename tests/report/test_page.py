import base64
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppl.cam.store import Cam
from ppl.report.gallery import MAX_SIDE, cam_tile, evenly, photo_tile
from ppl.report.page import costs, main

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects text, and tags with their attributes; fails on a tag that is closed where it is not open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += " ".join([" ", *data.split()])

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def written(settings) -> Page:
    main(settings)
    return Page(settings.out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(unchanged) -> Page:
    return written(unchanged.settings())


def test_shows_what_was_measured(page):
    for measured in ("32.2", "42.2", "43.3", "51.6", "53.3", "55.5", "71.4", "28.5", "26.7", "87.6", "23.1"):
        assert f" {measured} " in page.text
    assert "tuned on masks" in page.text


def test_a_class_without_ground_truth_has_a_dash(page):
    row = page.text[page.text.index('<b>&"') :].split()
    assert row[1:5] == ["28.5", "\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH}"]


def test_class_names_are_text_never_markup(page):
    assert "b" not in {tag for tag, _ in page.tags}
    assert '<b>&"' in page.text
    assert any('<b>&"' in alt for alt in page.attributes("alt"))


def test_needs_no_other_file_and_no_network(page):
    addresses = [*page.attributes("src"), *page.attributes("href"), *page.attributes("xlink:href")]
    assert addresses
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in addresses)
    assert not {"link", "script", "iframe", "object"} & {tag for tag, _ in page.tags}


def test_every_picture_is_described_and_small(page):
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 4 * 6 + 4 * 4
    for attrs in pictures:
        assert attrs["alt"]
        with Image.open(BytesIO(base64.b64decode(attrs["src"].split(",")[1]))) as image:
            assert image.size == (40, 32)
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {reference[1:] for reference in page.attributes("xlink:href")} <= set(ids)
    assert set(page.attributes("aria-labelledby")) <= set(ids)


def test_same_inputs_give_the_same_page(page, unchanged):
    settings = unchanged.settings()
    again = replace(settings, out=unchanged.root / "again.html")
    main(again)
    assert settings.out.read_bytes() == again.out.read_bytes()


def test_without_masks_it_says_so_and_leaves_out_the_truth(experiment):
    page = written(experiment.settings(masks=False))
    assert "Nothing was measured because there are no masks" in page.text
    assert "truth" not in [alt.split(":")[0] for alt in page.attributes("alt")]
    assert len(page.attributes("alt")) == 4 * 5 + 4 * 3
    assert "mIoU" not in page.text


def test_the_gallery_says_that_it_is_a_sample(experiment):
    page = written(replace(experiment.settings(), samples=2))
    assert page.text.count("2 of 4 images") == 2
    assert [alt for alt in page.attributes("alt") if alt.startswith("photo ")] == ["photo photo_0", "photo photo_3"] * 2


def test_labels_that_no_network_learned_from_are_not_shown(experiment):
    page = written(replace(experiment.settings(), confident=()))
    captions = [alt.split(" ")[0] for alt in page.attributes("alt")]
    assert "confident" not in captions
    assert "pseudo" in captions


def test_without_benchmarks_the_page_is_still_made(experiment):
    page = written(replace(experiment.settings(), benchmarks=experiment.root / "nowhere"))
    assert "No benchmark files were found" in page.text


def test_shards_of_a_step_count_as_one(page):
    start = page.text.index("explicit/s4k2/cams-seeds")
    assert page.text[start:].split()[1:4] == ["2", "3.0", "100"]


def test_costs_of_a_job_too_short_to_be_looked_at():
    rows = pd.DataFrame({"s": [0.5], "max_rss": ["-"]})
    (cost,) = costs({"check": rows})
    assert cost.step == "check"
    assert np.isnan(cost.memory)


@given(st.integers(1, 300), st.integers(2, 20))
def test_a_sample_is_spread_evenly(length, count):
    items = list(range(length))
    chosen = evenly(items, count)
    assert len(chosen) == min(length, count)
    assert chosen[0] == 0
    assert chosen[-1] == length - 1 or length == 1
    gaps = np.diff(chosen)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (20, 30)])
def test_thumbnails_shrink_and_never_grow(size):
    tile = photo_tile(np.zeros((*size, 3), np.uint8), "a")
    with Image.open(BytesIO(base64.b64decode(tile.uri.split(",")[1]))) as image:
        assert max(image.size) == min(MAX_SIDE, max(size))
        assert image.width / image.height == pytest.approx(size[1] / size[0], rel=0.02)


def test_the_cam_of_the_most_extended_class_is_shown():
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, 0, 0], maps[1, :4] = 1, 1
    cam = Cam(maps, np.array([3, 5]), (32, 32))
    assert "class e" in cam_tile(np.zeros((32, 32, 3), np.uint8), cam, "abcde").alt


def test_a_photo_without_a_class_has_a_tile_too():
    cam = Cam(np.zeros((0, 8, 8), np.float32), np.array([], int), (32, 32))
    assert "no class" in cam_tile(np.zeros((32, 32, 3), np.uint8), cam, "abcde").alt


def test_the_report_does_without_torch():
    code = "import sys, ppl.report.page, ppl.report.summary, ppl.report.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
