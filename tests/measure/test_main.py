"""Measuring any two folders of masks."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data.masks import write_mask
from ppl.jobs.errors import UserError
from ppl.measure import __main__ as measure
from ppl.measure.__main__ import Settings
from ppl.measure.metrics import confusion, iou, mean_iou

CLASSES = ("ball", "cube", "cone")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    rng = np.random.default_rng(0)
    for folder in ("predicted", "true"):
        (tmp_path / folder).mkdir()
    for i in range(6):
        truth = rng.integers(0, 3, (20 + i, 30), dtype=np.uint8)  # no cone
        prediction = np.where(rng.random(truth.shape) < i / 6, truth, rng.integers(0, 4, truth.shape)).astype(np.uint8)
        truth[:2] = 255
        write_mask(tmp_path / "true" / f"p{i}.png", truth)
        Image.fromarray(prediction).save(tmp_path / "predicted" / f"p{i}.png")
    return Settings(tmp_path / "predicted", tmp_path / "true", CLASSES, out=tmp_path / "out", workers=0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pairs(settings: Settings) -> list[tuple[np.ndarray, np.ndarray]]:
    names = sorted(path.name for path in settings.truth.iterdir())
    return [tuple(np.array(Image.open(f / name)) for f in (settings.truth, settings.predictions)) for name in names]


def test_the_tables_hold_the_iou_of_the_confusion_matrix(settings: Settings) -> None:
    measure.main(settings)
    matrix = sum(confusion(truth, prediction, 3) for truth, prediction in pairs(settings))
    classes = rows(settings.out / "classes.csv")
    found = {row["class"]: row["iou"] for row in classes}
    assert found["mean"] == f"{100 * mean_iou(matrix):.2f}"
    for name, value in zip(("background", *CLASSES), iou(matrix), strict=True):
        assert found[name] == ("" if np.isnan(value) else f"{100 * value:.2f}")
    assert classes[-1]["class"] == "mean"
    measured = [float(row["iou"]) for row in classes[:-1] if row["iou"]]
    assert measured == sorted(measured)  # the worst first
    assert classes[-2]["class"] == "cone"  # without true pixels


def test_the_worst_photo_is_first_and_a_class_predicted_by_mistake_counts(settings: Settings) -> None:
    measure.main(settings)
    photos = rows(settings.out / "photos.csv")
    means = [float(row["miou"]) for row in photos]
    assert means == sorted(means)
    assert {row["image"] for row in photos} == {f"p{i}" for i in range(6)}
    assert photos[-1]["image"] == "p5"
    assert photos[0]["iou_cone"] == "0.00"
    ious = [float(photos[0][f"iou_{name}"]) for name in ("background", *CLASSES)]
    assert means[0] == pytest.approx(np.mean(ious), abs=0.01)


def test_worker_processes_and_chunks_change_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    measure.main(settings)
    other = replace(settings, out=settings.out.with_name("other"), workers=2)
    monkeypatch.setattr(measure, "FEW", 0)
    measure.main(other)
    monkeypatch.setattr(measure, "CHUNK", 64)
    measure.main(replace(settings, out=settings.out.with_name("chunks")))
    for name in ("classes.csv", "photos.csv"):
        for out in ("other", "chunks"):
            assert (settings.out / name).read_bytes() == (settings.out.with_name(out) / name).read_bytes()


@pytest.mark.parametrize(
    "content", ["ball\ncube\ncone\n", "\ufeffball\r\n cube \r\n\r\ncone", "background\nball\ncube\ncone\n",
                "id,class,colour\n0,background,#000000\n1,ball,#800000\n2,cube,#008000\n3,cone,#808000\n"],
)  # fmt: skip
def test_classes_are_read_from_a_list_or_a_legend(tmp_path: Path, content: str) -> None:
    path = tmp_path / ("legend.csv" if "," in content else "classes.txt")
    path.write_text(content, encoding="utf-8", newline="")
    assert measure.class_names([str(path)]) == measure.class_names(CLASSES) == CLASSES


@pytest.mark.parametrize("given", [(), ("absent.txt",), ("ball", "ball"), ("cube", "background"), ("background",)])
def test_a_wrong_list_of_classes_is_one_line(given: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        measure.class_names(given)
    assert "\n" not in str(error.value)


def test_missing_masks_are_counted_and_others_left_out(settings: Settings, capsys) -> None:
    for folder in (settings.predictions, settings.truth):  # as ppl.predict writes them
        (folder / "legend.png").write_bytes(b"a picture")
        (folder / "legend.csv").touch()
    Image.new("L", (3, 3)).save(settings.predictions / "extra.png")
    measure.main(settings)
    assert "left out: 1 of the masks in" in capsys.readouterr().out
    (settings.predictions / "p1.png").unlink()
    (settings.predictions / "p4.png").unlink()
    with pytest.raises(UserError, match=r"lacks 2 of the 6 masks in .*: p1\.png, p4\.png; .*--common"):
        measure.main(settings)
    measure.main(replace(settings, common=True))
    assert {row["image"] for row in rows(settings.out / "photos.csv")} == {"p0", "p2", "p3", "p5"}
    assert "left out: 2 of the masks in" in capsys.readouterr().out


def test_names_that_never_match_are_shown(settings: Settings) -> None:
    for path in list(settings.truth.iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    with pytest.raises(
        UserError, match=r"lacks 6 of the 6 .*p0_mask\.png.*it holds p0\.png; give masks of one photo one name"
    ):
        measure.main(settings)


def _enlarged(path: Path) -> None:
    Image.open(path).resize((60, 40), Image.Resampling.NEAREST).save(path)


@pytest.mark.parametrize(
    ("folder", "damage", "says"),
    [
        ("predicted", _enlarged, "shape mismatch: expected 30x22, as .*true/p2.png, got 60x40"),
        ("predicted", lambda path: Image.new("L", (30, 22), 255).save(path), "holds id 255"),
        ("true", lambda path: Image.new("L", (30, 22), 4).save(path), "holds id 4; --classes names 1 to 3"),
        ("true", lambda path: Image.new("RGB", (30, 22)).save(path), r"colours in place of class ids \(RGB\)"),
        ("true", lambda path: path.write_text("no photo"), "not a readable mask"),
        ("predicted", lambda path: path.write_bytes(path.read_bytes()[:60]), "not a readable mask"),
    ],
)
def test_a_faulty_mask_is_named(settings: Settings, folder: str, damage, says: str) -> None:
    damage(settings.truth.with_name(folder) / "p2.png")
    with pytest.raises(UserError, match="1 of 6 masks cannot be measured") as error:
        measure.main(settings)
    (line,) = error.value.details
    assert f"{folder}/p2.png: " in line
    assert re.search(says, line)
    assert not settings.out.exists()


def test_many_faults_of_one_kind_are_one_line(settings: Settings) -> None:
    for path in settings.predictions.iterdir():
        Image.new("L", (5, 5)).save(path)
    with pytest.raises(UserError, match="6 of 6") as error:
        measure.main(settings)
    assert len(error.value.details) == 1
    assert error.value.details[0].startswith("6 masks have another size")


@pytest.mark.parametrize(("value", "says"), [(0, "background alone"), (255, "0 and 255 alone")])
def test_true_masks_without_a_class_have_no_measure(settings: Settings, value: int, says: str) -> None:
    for path in settings.truth.iterdir():
        truth = np.array(Image.open(path))
        Image.fromarray(np.where(truth == 1, value, 0).astype(np.uint8)).save(path)
    with pytest.raises(UserError, match=f"{says}.*; write 'ball' as 1"):
        measure.main(settings)


@pytest.mark.parametrize("folder", ["absent", "file.txt", "empty"])
def test_a_folder_without_masks_is_named(settings: Settings, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=folder):
        measure.main(replace(settings, truth=tmp_path / folder))
