"""Settings of step `data`."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from ppl.jobs.fields import Count, File, NumberOr, RandomSeed, Section, Source, SplitName
from ppl.jobs.slots import Slot

SOURCES = {
    "demo": "ppl.data.sources.demo",
    "voc": "ppl.data.sources.voc",
    "coco": "ppl.data.sources.coco",
    "folder": "ppl.data.sources.folder",
}
"""Sources of data by name; `ppl.data.prepare` tells what each module contains."""

Convention = Literal["A", "B"]
Orientation = Literal["auto", "upright", "stored"]
Bits = int | Literal["auto", "each"]


@dataclass(frozen=True, kw_only=True)
class Demo(Section):
    """Source `demo`: images composed from the package's photographs, with exact masks."""

    size: Annotated[int, Ge(32), Le(512), Source("ours")] = 128
    """Side of the square images, in pixels."""
    train: Annotated[Count, Source("ours")] = 900
    """Images of the split train."""
    val: Annotated[Count, Source("ours")] = 300
    """Images of the split val."""
    test: Annotated[Count, Source("ours")] = 100
    """Images of the split test."""
    random_seed: Annotated[RandomSeed, Source("ours")] = 0
    """Random seed of the composition."""


@dataclass(frozen=True, kw_only=True)
class Voc(Section):
    """Source `voc`: PASCAL VOC 2012 and SBD."""

    path: File | None = None
    """Folder with the unpacked archives, which are downloaded if it is not set (docs/voc.md)."""


@dataclass(frozen=True, kw_only=True)
class Coco(Section):
    """Source `coco`: COCO 2014."""

    path: File | None = None
    """Folder with the unpacked archives, which are downloaded if it is not set (docs/coco.md)."""
    convention: Annotated[Convention, Source("ours: matches the paper's number of steps")] = "A"
    """One of two public versions of COCO's masks. `A`: later instances cover earlier ones, crowds are background,
    photos without labels are included. `B`: smaller instances cover larger ones, crowds are drawn, photos without
    labels are excluded."""


@dataclass(frozen=True, kw_only=True)
class Folder(Section):
    """Source `folder`: a dataset folder of the user (docs/own-data.md)."""

    path: File | None = None
    """The dataset folder; needed."""
    max_side: Annotated[int, Ge(64), Le(2048)] | None = None
    """Pixels: photos with a longer side are resized to it, masks with them; test predictions are resized back. Without
    it photos above 2048 x 2048 are rejected."""
    orientation: Annotated[Orientation, Source("ours")] = "auto"
    """How a photo with an EXIF orientation is read if its mask does not fit only one way: turned `upright`, as it is
    `stored`, or `auto`: as those photos whose masks fit only one way; upright without such photos or without a mask."""
    bits: Annotated[
        Annotated[int, Ge(8), Le(16)] | Literal["auto", "each"], NumberOr("auto", "each"), Source("ours")
    ] = "auto"
    """How many bits count in photos of 16 bits that do not state it: a number; `each`: 8, 10, 12, 14 or 16, the fewest
    that hold the largest value of a photo; `auto`: the same for all photos, except for those that would be nearly
    black, with at most 15 of 255, which are taken for those of another camera."""
    skip_broken: Annotated[bool, Source("ours")] = False
    """Whether photos that cannot be read are left out of all splits, and listed in `check.txt` beside the results or
    `FOLDER.check.txt` beside the dataset folder; otherwise they stop the run before any training."""


@dataclass(frozen=True, kw_only=True)
class Data(Section):
    """Photos, image-level labels and splits."""

    source: Annotated[str, Slot(SOURCES, needs=("prepare",)), Source("ours")] = "folder"
    """Where the data come from."""
    demo: Demo = Demo()
    voc: Voc = Voc()
    coco: Coco = Coco()
    folder: Folder = Folder()
    own: dict[str, Any] = field(default_factory=dict)
    """Settings of a source `own/MODULE` (docs/extending.md)."""
    train_split: Annotated[SplitName, Source("paper IV-A")] = "trainaug"
    """Split for training, with image-level labels."""
    seed_split: Annotated[SplitName, Source("paper IV-A")] = "train"
    """Subset of it on which seeds and pseudo labels are measured."""
    val_split: Annotated[SplitName, Source("paper IV-A")] = "val"
    """Split held out for the network."""
    test_split: Annotated[SplitName, Source("paper IV-A")] = "test"
    """Split that is predicted for the server."""

    @property
    def splits(self) -> dict[str, str]:
        """The names of the splits by their keys."""
        return {key: getattr(self, key) for key in ("train_split", "seed_split", "val_split", "test_split")}
