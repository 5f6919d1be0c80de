"""The page of a finished experiment in miniature, and the pictures and numbers on it."""

import base64
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ppl.cam.seeds import seed
from ppl.cam.store import Cam
from ppl.cam.threshold import THRESHOLD, Threshold, write_threshold
from ppl.data.masks import IGNORE, VOC_COLOURS, write_mask
from ppl.jobs.errors import UserError
from ppl.measure.metrics import confusion, iou
from ppl.measure.sweep import THRESHOLDS
from ppl.report.costs import costs
from ppl.report.gallery import map_iou, seed_ious
from ppl.report.page import OF_PHOTOS, main
from ppl.report.pictures import MAX_SIDE, labels_uri, photo_uri, picture_size, planes_uri

PLAIN, MAIN = "baseline/plain", "explicit/s4k2"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collect text, and tags with their attributes; fail on a closing tag without an opening one."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.text, self.script = [], [], "", ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += " ".join([" ", *data.split()])
        if "script" in self.open:
            self.script += data

    @property
    def data(self) -> dict:
        """The JSON that the page's script reads, the first script of the page."""
        return json.JSONDecoder().raw_decode(self.script)[0]

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def decoded(uri: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(uri.split(",")[1])))


def written(settings) -> Page:
    main(settings)
    return Page(settings.out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(unchanged) -> Page:
    return written(unchanged.settings())


def test_the_page_shows_all_measures(page):
    for measured in ("32.2", "42.2", "43.3", "51.6", "53.3", "55.5", "71.4", "28.5", "26.7", "87.6", "23.1"):
        assert f" {measured} " in page.text
    assert "tuned on masks" in page.text


def test_a_class_without_ground_truth_has_a_dash(page):
    row = page.text[page.text.index('<b>&"') :].split()
    assert row[1:5] == ["28.5", "\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH}"]


def test_class_names_are_text_never_markup(page):
    assert [attrs for tag, attrs in page.tags if tag == "b" and attrs] == []
    assert '<b>&"' in page.text
    assert page.data["names"]["1"] == '<b>&"'
    assert "</script" not in page.script


def test_the_page_needs_no_other_file_and_no_network(page):
    addresses = [*page.attributes("src"), *page.attributes("href"), *page.attributes("xlink:href")]
    assert addresses
    assert all(address.startswith(("data:image/webp;base64,", "#")) or address == "data:," for address in addresses)
    assert not {"iframe", "object"} & {tag for tag, _ in page.tags}
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_picture_is_described_and_small(page):
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 4 * 4 + 4 * 4
    for attrs in pictures:
        assert attrs["alt"]
        with decoded(attrs["src"]) as image:
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


def test_without_masks_the_page_says_so_and_omits_the_truth(experiment):
    page = written(experiment.settings(masks=False))
    assert "Nothing was measured: the dataset has no masks" in page.text
    assert "truth" not in [alt.split(":")[0] for alt in page.attributes("alt")]
    assert len(page.attributes("alt")) == 4 * 3 + 4 * 3
    assert "mIoU" not in page.text


def choose_without_masks(experiment) -> None:
    """Replace the fixed thresholds of the miniature by chosen ones."""
    for i, variant in enumerate((PLAIN, MAIN)):
        of_photos = tuple(0.31 - 0.02 * i + offset for offset in (-0.2, 0, 0.1, 0.1))
        threshold = Threshold(threshold=0.31 - 0.02 * i, rule="auto", photos=4, shallow=of_photos[:2], deep=of_photos)
        write_threshold(experiment.root / variant / THRESHOLD, threshold)


def test_a_threshold_chosen_without_masks_is_named_with_its_curve_and_decides_the_seeds(experiment):
    choose_without_masks(experiment)
    page = written(experiment.settings())
    for text in (
        "The threshold of explicit/s4k2, 0.29, was chosen without masks, on 4 photos of split",
        "Thresholds of the photos",
    ):
        assert page.text.count(text) == 1
    assert "fixed threshold" not in page.text
    assert "seeds, threshold chosen without masks" in page.text
    assert " 30.3 " in page.text  # of the baseline at 0.31
    assert "seed at 0.29" in page.text
    (slider, *_) = [attrs for tag, attrs in page.tags if attrs.get("class") == "slider"]
    assert slider["value"] == "0.29"
    assert len([attrs for tag, attrs in page.tags if tag == "svg" and attrs["aria-label"] == OF_PHOTOS]) == 1


def test_without_masks_the_page_shows_the_curve_of_the_choice_alone(experiment):
    choose_without_masks(experiment)
    page = written(experiment.settings(masks=False))
    assert "was chosen without masks" in page.text
    assert "mIoU" not in page.text
    labels = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert [label for label in labels if "threshold" in label or "mIoU" in label] == [OF_PHOTOS]
    assert len(page.attributes("id")) == len(set(page.attributes("id")))


@pytest.mark.parametrize("masks", [True, False])
def test_vanished_classes_are_listed_and_marked_with_and_without_masks(experiment, masks):
    page = written(experiment.settings(masks=masks))
    assert "class 'null' vanishes: in the seeds of 3 of 4 photos, in the pseudo labels of 1 of 4 photos; " in page.text
    assert [attrs.get("class") for tag, attrs in page.tags if tag == "tr"].count("vanished") == 1
    words = page.text[page.text.index("vanishes in") :].split()
    assert " ".join(words[words.index("null") :][:20]).startswith(
        "null 4 3 of 4 7.50 1 of 4 0.25 4 of 4 5.12 pseudo labels"
    )


def test_the_page_says_if_no_class_vanishes_and_does_without_the_table(experiment):
    file = experiment.main / "classes.csv"
    file.write_text(file.read_text().replace("4,3,0.250", "4,1,6.250"))
    assert "No class vanishes." in written(experiment.settings()).text
    file.unlink()
    assert "vanish" not in written(experiment.settings()).text


def test_the_gallery_says_that_it_is_a_sample(experiment):
    page = written(replace(experiment.settings(), samples=2))
    assert page.text.count("2 of 4 images") == 2
    assert [alt for alt in page.attributes("alt") if alt.startswith("photo ")] == ["photo photo_0", "photo photo_3"] * 2


def test_missing_labels_and_benchmarks_are_omitted(experiment):
    page = written(replace(experiment.settings(), reliable=(), benchmarks=experiment.root / "nowhere"))
    assert "reliable label" not in page.attributes("alt")
    assert "pseudo label" in page.attributes("alt")
    assert "There are no benchmark files" in page.text


@pytest.mark.parametrize("folder", ["data/SegmentationClass", "explicit/s4k2/pseudo/1of1"])
def test_a_label_map_of_another_size_is_named(experiment, folder):
    file = experiment.root / folder / "photo_2.png"
    write_mask(file, np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match=f"{file}: size mismatch"):
        main(experiment.settings())
    assert not experiment.settings().out.exists()


def test_shards_of_a_step_count_as_one(page):
    start = page.text.index("explicit/s4k2/cams-seeds")
    assert page.text[start:].split()[1:4] == ["2", "3.0", "100"]


def test_the_memory_of_a_job_too_short_to_measure_is_unknown():
    (cost,) = costs({"check": pd.DataFrame({"s": [0.5], "max_rss": ["-"]})})
    assert (cost.step, np.isnan(cost.memory)) == ("check", True)


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (20, 30), (2000, 7)])
def test_pictures_shrink_and_never_grow(size):
    photo, labels = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    for uri in (photo_uri(photo), labels_uri(labels)):
        with decoded(uri) as image:
            assert image.size == picture_size(*size)
            assert max(image.size) == min(MAX_SIDE, max(size))
            assert image.width == pytest.approx(size[1] * max(image.size) / max(size), abs=0.51) or image.width == 1


def test_a_picture_of_a_label_map_preserves_every_id():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with decoded(labels_uri(labels)) as image:
        assert (np.asarray(image) == VOC_COLOURS[labels]).all()


def test_planes_of_a_cam_lie_below_each_other():
    maps = np.random.default_rng(0).random((3, 5, 7)).astype(np.float32)
    with decoded(planes_uri(maps)) as image:
        levels = np.asarray(image)[..., 0].reshape(3, 5, 7)
    assert np.abs(levels / 255 - maps).max() <= 0.5 / 255 + 1e-6


label_maps = arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, 3, IGNORE]))


@given(label_maps, label_maps)
def test_iou_of_an_image_is_that_of_its_confusion_matrix(truth, labels):
    decided = np.where(labels == IGNORE, 4, labels)  # what is ignored belongs to no class
    expected = 100 * iou(confusion(truth, decided, 4))[:4]
    assert map_iou(truth, labels) == pytest.approx({i: v for i, v in enumerate(expected) if not np.isnan(v)}, abs=0.006)


@given(label_maps, st.integers(0, 2), st.randoms(use_true_random=False))
def test_iou_of_a_seed_at_each_threshold_is_that_of_the_seed(truth, classes, random):
    maps = np.array([[[random.random() for _ in range(3)] for _ in range(3)] for _ in range(classes)], np.float32)
    cam = Cam(maps.reshape(classes, 3, 3), np.array([3, 1][:classes], int), (9, 11))
    ious = seed_ious(truth, cam)
    for place in (0, 30, 77, 100):
        expected = map_iou(truth, seed(cam, THRESHOLDS[place]))
        assert {label: row[place] for label, row in ious.items()} == pytest.approx(expected, abs=0.011)


def test_repetitions_give_mean_and_spread(experiment):
    other = experiment.root.parent / "mini-seed1"
    for name, value in {"pseudo": 55.57, "val-raw": 53.33, "val-crf": 57.55}.items():
        text = (experiment.main / f"{name}.csv").read_text().splitlines()
        (other / "explicit/s4k2").mkdir(parents=True, exist_ok=True)
        (other / "explicit/s4k2" / f"{name}.csv").write_text("\n".join([*text[:-1], f"mean,{value},150"]))
    again = tuple(sorted((other / "explicit/s4k2").iterdir()))
    page = written(replace(experiment.settings(), repeated=again))
    text = " ".join(page.text.split())
    assert "53.6 ± 2.8" in text  # pseudo labels: 51.57 and 55.57
    assert "56.5 ± 1.4" in text  # CRF: 55.55 and 57.55
    assert "2 random seeds" in text


def test_partial_pseudo_labels_show_their_labelled_share_and_no_figure_of_complete_ones(experiment):
    main = "explicit/s2k2-s3k4-s4k6"
    resolved = yaml.safe_load((experiment.root / "settings.yaml").read_text())
    resolved |= {"main": main, "data": resolved["data"] | {"source": "voc"}}
    experiment.main.rename(experiment.root / main)
    (experiment.root / "settings.yaml").write_text(yaml.safe_dump(resolved))

    def text(share: float) -> str:
        experiment.write_labelled(share, main)
        return " ".join(written(replace(experiment.settings(), trainings=(), checkpoints=())).text.split())

    complete, partial = text(100), text(78.26)
    assert "labelled" not in complete.split("Gallery")[0]
    for part in ("51.6 of 78 % labelled", "of 78 % labelled pixels", "their IoU is that of the 78 % labelled ones"):
        assert part in partial
    assert "paper 68.5 (table I)" in complete
    assert "paper 68.5" not in partial
    assert "paper 67.8 (table II)" in partial  # its network


def test_the_paper_stands_beside_ours_where_the_data_are_the_same(experiment):
    resolved = yaml.safe_load((experiment.root / "settings.yaml").read_text())
    resolved |= {"main": "explicit/s2k2-s3k4-s4k6", "data": resolved["data"] | {"source": "voc"}}
    experiment.main.rename(experiment.root / resolved["main"])
    (experiment.root / "settings.yaml").write_text(yaml.safe_dump(resolved))
    settings = replace(experiment.settings(), trainings=(), checkpoints=())
    page = written(settings)
    assert "paper 68.5 (table I)" in page.text  # pseudo labels of the explicit method
    assert "paper 67.8 (table II)" in page.text  # its network on val
    assert f"{51.57 - 68.5:+.1f}" in page.text
    # The paper has no such rows for VGG16, but its baseline's.
    page = written(replace(settings, experiment="voc-vgg16"))
    assert [figure for figure in ("68.5", "67.8", "48.9") if figure in page.text] == ["48.9"]


def test_the_report_does_without_torch():
    code = "import sys, ppl.report.page, ppl.report.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
