import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from ppl.predict.coco import Annotation, content, encoded, polygon_annotations, rle_annotations

LABELS = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 0, 1, 1, 7]))


def drawn(annotations: list[Annotation], size: tuple[int, int]) -> np.ndarray:
    """Return the label map that pycocotools draws from annotations."""
    labels = np.zeros(size, np.uint8)
    for annotation in annotations:
        shape = annotation["segmentation"]
        if isinstance(shape, list):
            shape = run_lengths.merge(run_lengths.frPyObjects(shape, *size))
        labels[run_lengths.decode(shape).astype(bool)] = annotation["category_id"]
    return labels


@given(LABELS)
def test_run_lengths_are_exact(labels: np.ndarray) -> None:
    annotations = rle_annotations(labels)
    assert np.array_equal(drawn(annotations, labels.shape), labels)
    assert {a["category_id"]: a["area"] for a in annotations} == {
        int(i): int((labels == i).sum()) for i in np.unique(labels) if i
    }


@given(LABELS)
def test_polygons_are_exact_also_around_holes(labels: np.ndarray) -> None:
    annotations = polygon_annotations(labels)
    assert np.array_equal(drawn(annotations, labels.shape), labels)
    for annotation in annotations:
        corners = [np.array(polygon).reshape(-1, 2) for polygon in annotation["segmentation"]]
        areas = [abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(c, np.roll(c, -1, 0), strict=True))) / 2
                 for c in corners]  # fmt: skip
        assert sum(areas) == annotation["area"]
        x, y, w, h = annotation["bbox"]
        assert np.concatenate(corners).min(axis=0).tolist() == [x, y]
        assert np.concatenate(corners).max(axis=0).tolist() == [x + w, y + h]
        assert min(map(len, corners)) >= 4  # as pycocotools requires of a polygon: at least three corners


def test_a_rectangle_has_four_corners() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[2:5, 3:8] = 4
    (annotation,) = polygon_annotations(labels)
    assert annotation["segmentation"] == [[3, 2, 8, 2, 8, 5, 3, 5]]
    assert annotation["bbox"] == [3, 2, 5, 3]
    assert annotation["category_id"] == 4


def test_regions_of_a_class_are_annotations_of_their_own() -> None:
    labels = np.array([[1, 1, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]], np.uint8)
    assert sorted(a["area"] for a in polygon_annotations(labels)) == [1, 2, 2]


def test_pycocotools_reads_the_file(tmp_path: Path) -> None:
    labels = np.zeros((6, 5), np.uint8)
    labels[1:4, 1:3] = 2
    photos = [
        (tmp_path / "b" / "frame10.jpg", (6, 5), rle_annotations(labels)),
        (tmp_path / "frame2.jpg", (6, 5), polygon_annotations(labels)),
        (tmp_path / "b" / "empty.jpg", (3, 4), []),
    ]
    path = tmp_path / "coco.json"
    path.write_text(encoded(content(photos, ("ball", "cube"))))
    coco = COCO(str(path))
    assert [coco.imgs[i]["file_name"] for i in (1, 2, 3)] == ["b/frame10.jpg", "frame2.jpg", "b/empty.jpg"]
    assert {c["id"]: c["name"] for c in coco.cats.values()} == {1: "ball", 2: "cube"}
    for image_id in (1, 2):
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        assert np.array_equal(coco.annToMask(annotation) * 2, labels)
    assert coco.getAnnIds(imgIds=3) == []
    assert len({a["id"] for a in coco.anns.values()}) == 2


@pytest.mark.parametrize("count", [0, 1])
def test_one_folder_is_not_part_of_names(tmp_path: Path, count: int) -> None:
    photos = [(tmp_path / "a.jpg", (2, 2), [])] * count
    assert [image["file_name"] for image in json.loads(encoded(content(photos, ("a",))))["images"]] == ["a.jpg"] * count
