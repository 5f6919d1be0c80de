"""Writes a folder of photos and a table of labels to try one's own data with, composed as the demo is.

python -m ppl.data.example    (writes my_photos, with labels.csv, and my_masks, with classes.txt)
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ppl.data.masks import write_mask
from ppl.data.sources.demo import compose, generator, open_photos
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic

CLASSES = ("bird", "flower", "hoofed", "vehicle")
UNLABELLED = 6  # every so many photos have no row in the table, as with people's own
SHAPES = ((4, 3), (3, 4), (1, 1), (16, 9))  # of the photos, width to height


@dataclass(frozen=True)
class Settings:
    out: Path = Path("my_photos")
    """Folder to write: the photos, and labels.csv."""
    masks: Path = Path("my_masks")
    """Folder to write: a mask for each photo, and classes.txt."""
    photos: int = 120
    size: int = 240
    """Longer side, pixels."""


def main(settings: Settings) -> None:
    for folder in (settings.out, settings.masks):
        if folder.exists():
            raise UserError(folder, "is there already", "name other folders by --out and --masks")
    names, sources = open_photos()
    numbers = [names.index(name) for name in CLASSES]
    seen = sources["train"]
    chosen = replace(
        seen, cutouts=tuple(seen.cutouts[i] for i in numbers), unseen=tuple(seen.unseen[i] for i in numbers)
    )
    with atomic(settings.out) as photos, atomic(settings.masks) as masks:
        photos.mkdir()
        masks.mkdir()
        rows = []
        for index in range(settings.photos):
            made = compose(chosen, size=settings.size, rng=generator(0, "train", index))
            name, (width, height) = f"IMG_{index + 1:04d}", SHAPES[index % len(SHAPES)]
            size = (settings.size * width // max(width, height), settings.size * height // max(width, height))
            made.image.resize(size, Image.Resampling.LANCZOS).save(photos / f"{name}.jpg", quality=92)
            mask = Image.fromarray(made.mask).resize(size, Image.Resampling.NEAREST)
            write_mask(masks / f"{name}.png", np.asarray(mask))
            if (index + 1) % UNLABELLED:
                rows.append(f"{name}.jpg,{';'.join(CLASSES[label - 1] for label in made.labels)}\n")
        (photos / "labels.csv").write_text("image,classes\n" + "".join(rows), encoding="utf-8")
        (masks / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), encoding="utf-8")
    print(f"{settings.out}: {settings.photos} photos of {len(CLASSES)} classes, and labels.csv for {len(rows)} of them")
    print(f"{settings.masks}: their masks, and classes.txt, to measure with")


if __name__ == "__main__":
    command(main, Settings)
