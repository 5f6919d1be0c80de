"""Draw a contact sheet of an experiment: photo, CAM, seed, pseudo label, prediction and truth of sampled images.

    python benchmarks/sheet.py --experiment demo --out docs/images/demo.png

The first rows show seeds and pseudo labels of training images, the others predictions of validation images.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import tyro

from ppl.cam.seeds import seed
from ppl.cam.store import open_store
from ppl.cam.threshold import THRESHOLD, read_threshold
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import VOC_COLOURS, read_mask
from ppl.data.photos import read_photo
from ppl.data.resize import upsample
from ppl.experiment import stored
from ppl.jobs.files import atomic
from ppl.jobs.sampling import evenly

matplotlib.use("Agg")
from matplotlib import pyplot as plt


@dataclass(frozen=True)
class Settings:
    experiment: str
    out: Path
    photos: bool = True
    """False omits photos and masks, for data that may not be redistributed."""
    rows: int = 4
    """Images per split."""


def main(settings: Settings) -> None:
    root = Path("results") / settings.experiment
    resolved = stored.read(root / stored.SETTINGS)
    dataset, variant, data = Dataset.open(root / "data"), root / resolved.main, resolved.data
    rows, threshold = {"train": [], "val": []}, read_threshold(variant / THRESHOLD)
    with open_store(sorted((variant / "cams").glob(f"{data.train_split}-*.h5"))) as cams:
        pseudo = sorted((variant / "pseudo").glob("[0-9]*of*"))  # without the records of their origin
        for image_id in evenly(dataset.split(data.seed_split), settings.rows):
            cam = cams.read(image_id)
            label = read_mask(find_maps(pseudo, [image_id])[0])
            tiles = {"CAM": upsample(cam.maps, cam.size).max(axis=0)}
            tiles |= {"seed": colour(seed(cam, threshold)), "pseudo label": colour(label)}
            rows["train"].append(with_source(tiles, dataset, image_id, settings.photos))
    predictions = sorted((variant / "predictions").glob(f"{data.val_split}-*"))
    for image_id in evenly(dataset.split(data.val_split), settings.rows):
        kinds = ["raw", "crf"] if resolved.segment.prediction.crf else ["raw"]
        tiles = {k: colour(read_mask(find_maps([p / k for p in predictions], [image_id])[0])) for k in kinds}
        tiles = {{"raw": "prediction", "crf": "prediction, CRF"}[k]: tile for k, tile in tiles.items()}
        rows["val"].append(with_source(tiles, dataset, image_id, settings.photos))
    with atomic(settings.out) as temporary:
        draw(rows).savefig(temporary, dpi=80)


def with_source(tiles: dict[str, np.ndarray], dataset: Dataset, image_id: str, photos: bool) -> dict[str, np.ndarray]:
    """Return the tiles, with photo and truth around them if `photos`."""
    if not photos:
        return tiles
    tiles = {"photo": read_photo(dataset.photo(image_id)), **tiles}
    return {**tiles, "truth": colour(read_mask(dataset.mask(image_id)))} if dataset.has_masks else tiles


def colour(labels: np.ndarray) -> np.ndarray:
    """Return a label map in VOC's colours."""
    return VOC_COLOURS[labels]


def draw(blocks: dict[str, list[dict[str, np.ndarray]]]) -> plt.Figure:
    """Draw one row per image and one column per tile; two-dimensional tiles are heat maps."""
    columns = max(len(row) for rows in blocks.values() for row in rows)
    total = sum(len(rows) for rows in blocks.values())
    figure, axes = plt.subplots(total, columns, figsize=(1.7 * columns, 1.85 * total), squeeze=False)
    named = [(block, row) for block, rows in blocks.items() for row in rows]
    for line, (block, row) in zip(axes, named, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, (name, tile) in zip(line, row.items(), strict=False):
            axis.imshow(tile, cmap="inferno" if tile.ndim == 2 else None, vmin=0, vmax=1)
            axis.set_title(f"{block}: {name}", fontsize=8)
    figure.tight_layout(pad=0.3)
    return figure


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
