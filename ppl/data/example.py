"""Write a folder of photos and a table of labels as an example of one's own data, composed like the demo.

python -m ppl.data.example    (writes my_photos, with labels.csv, and my_masks, with classes.txt)
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ppl.data.lists import write_labels, write_lines
from ppl.data.masks import write_mask
from ppl.data.sources.demo import compose, generator, open_photos
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic

CLASSES = ("bird", "flower", "hoofed", "vehicle")
UNLABELLED = 6  # every sixth photo has no row in the table
SHAPES = ((4, 3), (3, 4), (1, 1), (16, 9))  # of the photos, width to height


@dataclass(frozen=True)
class Settings:
    out: Path = Path("my_photos")
    """Folder to write: photos and labels.csv."""
    masks: Path = Path("my_masks")
    """Folder to write: a mask for each photo, and classes.txt."""
    photos: int = 120
    size: int = 240
    """Longer side, pixels."""


def main(settings: Settings) -> None:
    for folder in (settings.out, settings.masks):
        if folder.exists():
            raise UserError(folder, "exists", "name other folders with --out and --masks")
    names, sources = open_photos()
    numbers = [names.index(name) for name in CLASSES]
    train = sources["train"]
    train = replace(
        train, cutouts=tuple(train.cutouts[i] for i in numbers), unseen=tuple(train.unseen[i] for i in numbers)
    )
    with atomic(settings.out) as photos, atomic(settings.masks) as masks:
        photos.mkdir()
        masks.mkdir()
        labels = {}
        for index in range(settings.photos):
            scene = compose(train, size=settings.size, rng=generator(0, "train", index))
            name, (width, height) = f"IMG_{index + 1:04d}", SHAPES[index % len(SHAPES)]
            size = (settings.size * width // max(width, height), settings.size * height // max(width, height))
            scene.image.resize(size, Image.Resampling.LANCZOS).save(photos / f"{name}.jpg", quality=92)
            mask = Image.fromarray(scene.mask).resize(size, Image.Resampling.NEAREST)
            write_mask(masks / f"{name}.png", np.asarray(mask))
            if (index + 1) % UNLABELLED:
                labels[f"{name}.jpg"] = [CLASSES[label - 1] for label in scene.labels]
        write_labels(photos / "labels.csv", labels)
        write_lines(masks / "classes.txt", CLASSES)
    print(f"{settings.out}: {settings.photos} photos of {len(CLASSES)} classes, labels.csv for {len(labels)} of them")
    print(f"{settings.masks}: their masks and classes.txt, for measuring")


if __name__ == "__main__":
    command(main, Settings)
