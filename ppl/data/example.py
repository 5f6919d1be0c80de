"""Writes a folder of photos and a table of labels to try one's own data with, composed as the demo is.

python -m ppl.data.example --out my_photos
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ppl.command import command
from ppl.data.demo import compose, generator, open_photos
from ppl.files import UserError, atomic

CLASSES = ("bird", "flower", "hoofed", "vehicle")
UNLABELLED = 6  # every so many photos have no row in the table, as with people's own
SHAPES = ((4, 3), (3, 4), (1, 1), (16, 9))  # of the photos, width to height


@dataclass(frozen=True)
class Settings:
    out: Path = Path("my_photos")
    """Folder to write: the photos, and labels.csv."""
    photos: int = 120
    size: int = 240
    """Longer side, pixels."""


def main(settings: Settings) -> None:
    if settings.out.exists():
        raise UserError(f"{settings.out}: is there already; choose another --out")
    names, sources = open_photos()
    numbers = [names.index(name) for name in CLASSES]
    seen = sources["train"]
    chosen = replace(
        seen, cutouts=tuple(seen.cutouts[i] for i in numbers), unseen=tuple(seen.unseen[i] for i in numbers)
    )
    with atomic(settings.out) as folder:
        folder.mkdir()
        rows = []
        for index in range(settings.photos):
            made = compose(chosen, size=settings.size, rng=generator(0, "train", index))
            name = f"IMG_{index + 1:04d}.jpg"
            _shaped(made.image, SHAPES[index % len(SHAPES)]).save(folder / name, quality=92)
            if (index + 1) % UNLABELLED:
                rows.append(f"{name},{';'.join(CLASSES[label - 1] for label in made.labels)}\n")
        (folder / "labels.csv").write_text("image,classes\n" + "".join(rows), encoding="utf-8")
    print(f"{settings.out}: {settings.photos} photos of {len(CLASSES)} classes, and labels.csv for {len(rows)} of them")


def _shaped(image: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """A square image at another ratio of width to height, its longer side kept."""
    size = np.array(shape) * image.width // max(shape)
    return image.resize((int(size[0]), int(size[1])), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    command(main, Settings)
