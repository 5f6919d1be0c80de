"""Numbers of photos by split and class, as a record and as a table for the terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from ppl.data.dataset import Dataset


def summary(dataset: Dataset, splits: Mapping[str, Sequence[str]]) -> dict:
    """Return the numbers of images per split and class, and whether there are masks."""
    counts = {
        name: Counter(dataset.classes[i - 1] for image_id in image_ids for i in dataset.labels.get(image_id, ()))
        for name, image_ids in splits.items()
    }
    return {
        "classes": list(dataset.classes),
        "images": {name: len(image_ids) for name, image_ids in splits.items()},
        "images_per_class": {name: dict(sorted(count.items())) for name, count in counts.items()},
        "masks": dataset.has_masks,
    }


def summary_table(data: Path, counts: dict, splits: Mapping[str, Sequence[str]]) -> str:
    """Return a summary as a table of photos by class and split."""
    names = list(counts["images"])
    rows = [("photos", [counts["images"][name] for name in names])]
    rows += [(c, [counts["images_per_class"][name].get(c, 0) for name in names]) for c in counts["classes"]]
    width = max(len(title) for title, _ in rows)
    lines = ["  " + " " * width + "".join(f"{name:>12}" for name in names)]
    lines += [f"  {title:<{width}}" + "".join(f"{count:>12,}" for count in numbers) for title, numbers in rows]
    masks = "with masks" if counts["masks"] else "without masks, so nothing is measured"
    total = len(set(chain.from_iterable(splits.values())))
    many = f"{len(counts['classes'])} classes" if len(counts["classes"]) > 1 else "1 class"
    return "\n".join([f"{data}: {total:,} photos, {many}, {masks}", *lines])
