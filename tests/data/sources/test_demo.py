"""The demo dataset: reproducible, labelled as its masks are, held-out photos held out, sources accounted for."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ppl.data.sources.demo as demo
from ppl.data import prepare
from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask
from ppl.data.photos import read_photo
from ppl.data.settings import Data, Demo
from ppl.jobs.errors import UserError
from ppl.jobs.fields import read
from ppl.jobs.settings import Hardware

PHOTOS = Path(demo.__file__).with_name("demo_photos")
SIZE = 64


@pytest.fixture(scope="module")
def photos() -> tuple[tuple[str, ...], dict[str, demo.Sources]]:
    return demo.open_photos()


@pytest.fixture(scope="module")
def compositions(photos) -> dict[str, list[demo.Composition]]:
    def compose(split: str, index: int) -> demo.Composition:
        return demo.compose(photos[1][split], size=SIZE, rng=demo.generator(0, split, index))

    return {split: [compose(split, index) for index in range(60)] for split in demo.SPLITS}


def write(folder: Path, *, random_seed: int = 0, train: int = 4, workers: int = 0) -> dict[str, bytes]:
    settings = Demo(random_seed=random_seed, size=SIZE, train=train, val=2, test=1)
    prepare.main(prepare.Settings(folder, Data(source="demo", demo=settings), Hardware(workers=workers)))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_gives_the_same_bytes_and_another_seed_other_images(tmp_path):
    first = write(tmp_path / "a")
    assert write(tmp_path / "b", workers=2) == first
    other = write(tmp_path / "c", random_seed=1)
    assert other.keys() == first.keys()
    assert not any(other[name] == first[name] for name in first if name.endswith(".jpg"))


def test_an_image_does_not_depend_on_how_many_are_composed(tmp_path):
    few, many = write(tmp_path / "few", train=2), write(tmp_path / "many", train=5)
    added = [f"{name}/train_{i:04d}" for i in (3, 4, 5) for name in ("JPEGImages", "SegmentationClass")]
    assert sorted(name.partition(".")[0] for name in many if name not in few) == sorted(added)
    assert all(many[name] == few[name] for name in few if name.endswith((".jpg", ".png")))


def test_the_folder_is_a_dataset_whose_labels_are_the_classes_in_the_masks(tmp_path):
    write(tmp_path / "demo")
    dataset = Dataset.open(tmp_path / "demo")
    splits = [dataset.split(split) for split in demo.SPLITS]
    assert [len(split) for split in splits] == [4, 2, 1]
    assert list(dataset.labels) == [image for split in splits for image in split]
    for image, labels in dataset.labels.items():
        assert read_photo(dataset.photo(image)).shape == (SIZE, SIZE, 3)
        mask = read_mask(dataset.mask(image))
        assert mask.shape == (SIZE, SIZE)
        assert set(labels) == set(np.unique(mask)) - {0}


def test_labels_are_the_classes_pasted_and_visible_and_every_split_has_all_of_them(compositions, photos):
    classes, _ = photos
    for composed in compositions.values():
        assert {label for one in composed for label in one.labels} == set(range(1, len(classes) + 1))
        for one in composed:
            areas = np.bincount(one.mask.ravel(), minlength=len(classes) + 1)
            assert len(areas) == len(classes) + 1, "an id beyond the classes"
            assert 1 <= len(one.labels) <= 3
            assert all(areas[label] >= demo.MIN_AREA * one.mask.size for label in one.labels)
            folders = {name.split("/")[0] for name in one.names} - {"backgrounds", "distractors"}
            assert folders == {classes[label - 1] for label in one.labels}


def test_held_out_photos_are_absent_from_train_and_about_half_of_the_objects_later(compositions, photos):
    _, sources = photos
    held_out = {source.name for pool in sources["val"].unseen for source in pool}
    assert all(pool for pool in sources["val"].unseen), "each class holds a cut-out out"
    names = {split: [name for made in compositions[split] for name in made.names] for split in demo.SPLITS}
    assert not held_out & set(names["train"])
    for split in ("val", "test"):
        objects = [name for name in names[split] if not name.startswith(("backgrounds/", "distractors/"))]
        assert 0.3 < np.mean([name in held_out for name in objects]) < 0.7
        backgrounds = {made.names[0] for made in compositions[split]}
        assert not backgrounds & {made.names[0] for made in compositions["train"]}


def test_the_mask_is_where_the_front_object_is_more_opaque_than_half():
    half = np.zeros((40, 40, 4), dtype=np.uint8)
    half[:, :20] = (255, 0, 0, 255)
    half[:, 20:] = (255, 0, 0, 100)  # blended, not labelled
    thing = demo.Source("thing/half.png", Image.fromarray(half))
    sources = demo.Sources(((thing,),), ((thing,),), (thing,), (demo.Source("grey", Image.new("RGB", (80, 80))),))
    made = [demo.compose(sources, size=SIZE, rng=np.random.default_rng(seed)) for seed in range(20)]
    alone = [one for one in made if len(one.names) == 2]
    assert alone
    for one in alone:
        red = np.asarray(one.image)[..., 0]
        opaque, blended = one.mask == 1, (one.mask == 0) & (red > 40)
        assert red[opaque].mean() > 1.5 * red[blended].mean()
        assert 0.5 < opaque.sum() / blended.sum() < 2


def test_an_object_in_front_hides_the_one_behind_and_a_distractor_is_background():
    owner = np.zeros((10, 10), dtype=np.int8)
    owner[:, 4:] = 1
    assert demo._all_visible(owner, [(3, 66), (5, 60)]), "40 of 66 pixels show: more than 60 %"
    assert not demo._all_visible(owner, [(3, 67), (5, 60)]), "40 of 67 do not suffice"
    assert demo._all_visible(owner, [(0, 1000), (5, 60)]), "a distractor may vanish"


def test_provenance_accounts_for_every_photo():
    with open(PHOTOS / "provenance.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    folders = ("cutouts", "distractors", "backgrounds")
    shipped = {str(path.relative_to(PHOTOS)) for name in folders for path in (PHOTOS / name).rglob("*.*")}
    assert sorted(row["file"] for row in rows) == sorted(shipped)
    for row in rows:
        assert hashlib.sha256((PHOTOS / row["file"]).read_bytes()).hexdigest() == row["sha256"], row["file"]
        assert len(row["original_sha256"]) == 64
        assert all(row[column] for column in ("package", "version", "original", "author"))
        assert row["licence"].startswith(("GPL-2.0-or-later", "public domain"))


def test_the_photos_are_small_and_the_folder_at_most_4_mb():
    assert sum(path.stat().st_size for path in PHOTOS.rglob("*") if path.is_file()) <= 4_000_000
    for path in (PHOTOS / "cutouts").rglob("*.webp"):
        with Image.open(path) as image:
            assert image.mode == "RGBA"
            assert max(image.size) <= 176
            assert image.getchannel("A").point(lambda value: 255 * (value > 127)).getbbox()


@pytest.mark.parametrize("wrong", [{"random_seed": -1}, {"size": 16}, {"val": -1}])
def test_invalid_settings_are_user_errors(wrong):
    with pytest.raises(UserError, match=f"data.demo: {next(iter(wrong))}"):
        read(Demo, wrong, "data.demo", "correct it")
