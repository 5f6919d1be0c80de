"""Run the main job on real photos: six classes of PASCAL VOC 2012, reduced to a size for two CPU cores.

    python benchmarks/animals.py --data FOLDER

FOLDER is a VOC folder with classes.txt, labels.csv and the splits train, trainaug and val. Photos and masks are resized
to a longest side of 256 px; `trainaug` is reduced to all of `train` and a part of the rest.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro
from PIL import Image

from ppl.data.dataset import Dataset
from ppl.data.masks import read_mask, write_mask
from ppl.data.photos import read_photo
from ppl.jobs.files import atomic
from ppl.jobs.progress import progress

RESULTS = ("report.html", "summary.csv", "curves.png")


@dataclass(frozen=True)
class Settings:
    data: Path
    """Full dataset."""
    side: int = 256
    """Longest side, pixels."""
    images: int = 1200
    """Number of images in the split trainaug."""
    cores: int = 2
    reduced: Path = Path("results/animals-256")
    photos_only: bool = False
    """Write only the folder of reduced photos."""


def main(settings: Settings) -> None:
    if not settings.reduced.exists():
        with atomic(settings.reduced) as folder:
            reduce(Dataset.open(settings.data), folder, settings.side, settings.images)
    if settings.photos_only:
        return
    targets = ["results/animals_test_preds", *(f"results/animals/{name}" for name in RESULTS)]
    configs = [Path("config/small.yaml"), Path(__file__).with_suffix(".yaml")]
    command = ["snakemake", "--cores", str(settings.cores), "--configfile", *map(str, configs), "--", *targets]
    sys.exit(subprocess.run(command, check=False).returncode)


def reduce(dataset: Dataset, folder: Path, side: int, images: int) -> None:
    """Write a smaller copy of a dataset with all splits, `trainaug` reduced to `images` photos."""
    train, val, trainaug = (dataset.split(name) for name in ("train", "val", "trainaug"))
    rest = [image_id for image_id in trainaug if image_id not in set(train)]
    step = max(1, len(rest) // max(1, images - len(train)))
    splits = {"train": train, "val": val, "trainaug": sorted([*train, *rest[::step][: images - len(train)]])}
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for name, ids in splits.items():
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(ids) + "\n")
    for name in ("classes.txt", "labels.csv"):
        (folder / name).write_bytes((dataset.root / name).read_bytes())
    image_ids = sorted({*splits["trainaug"], *val})
    write = partial(_write, dataset, folder, side, {*train, *val})
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow releases the interpreter's lock
        for _ in progress(threads.map(write, image_ids), total=len(image_ids), name="photos reduced", unit="image"):
            pass


def _write(dataset: Dataset, folder: Path, side: int, measured: set[str], image_id: str) -> None:
    """Write a photo whose longest side is `side`, and its mask if it is measured with."""
    photo = Image.fromarray(read_photo(dataset.photo(image_id)))
    size = tuple(max(1, round(length * side / max(photo.size))) for length in photo.size)
    photo.resize(size, Image.Resampling.BICUBIC).save(folder / "JPEGImages" / f"{image_id}.jpg", quality=95)
    if image_id in measured:
        mask = Image.fromarray(read_mask(dataset.mask(image_id)))
        write_mask(folder / "SegmentationClass" / f"{image_id}.png", mask.resize(size, Image.Resampling.NEAREST))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
