"""Inference settings of an experiment, read beside its results, each with its origin."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ppl.data.bits import recorded_bits
from ppl.data.dataset import Dataset
from ppl.data.photos import photo_size
from ppl.experiment import stored
from ppl.experiment.settings import Experiment
from ppl.jobs import fields
from ppl.jobs.errors import UserError
from ppl.segment.postprocess import Crf
from ppl.segment.settings import Prediction

SAMPLE = 100  # photos of the training split whose size is read
UNSHRUNK = 0.95  # share of them that would not be shrunk
REQUESTED = "as requested"
OF_MAPS = ("scales", "mirror", "fusion", "cam_exponent", "rim")
"""Settings of `cam.maps` that decide the maps."""
PAPER = "paper defaults: no settings.yaml two directories above the weights; the workflow writes one"


class Setting(NamedTuple):
    """A value and its origin, for people."""

    value: Any
    origin: str


class Stored(NamedTuple):
    """The settings of an experiment and their file; the paper's defaults and None without a file."""

    experiment: Experiment
    path: Path | None

    @property
    def origin(self) -> str:
        """The origin of these settings, for people."""
        return PAPER if self.path is None else str(self.path)


def find(weights: Path, settings: Path | str | None = None) -> Stored:
    """Return the experiment of a file `settings`, by default of `weights`, results/EXPERIMENT/METHOD/GRIDS/NAME.pt.

    UserError for a file that cannot be read or holds no settings.
    """
    path = Path(settings) if settings else weights.absolute().parent.parent.parent / stored.SETTINGS
    if settings is None:
        with suppress(ValueError):
            path = path.relative_to(Path.cwd())
        if not path.exists():
            return Stored(Experiment(), None)
    return Stored(stored.read(path), path)


def of_segmentation(
    settings: Stored,
    *,
    photo_scales: Sequence[float] | None = None,
    mirror: bool | None = None,
    crf: bool | None = None,
) -> dict[str, Setting]:
    """Return `photo_scales`, `mirror` and `crf` (a Crf or None): as requested, else of the experiment."""
    own, origin = settings.experiment.segment.prediction, settings.origin
    scales = Setting(own.photo_scales, origin)
    if photo_scales is not None:
        requested = {"photo_scales": [*photo_scales]}
        checked = fields.read(Prediction, requested, "requested settings", "name some factors, such as 1 1.5")
        scales = Setting(checked.photo_scales, REQUESTED)
    mirrored = Setting(own.mirror, origin) if mirror is None else Setting(mirror, REQUESTED)
    if crf is False or (crf is None and not own.crf):
        refining = Setting(None, origin if crf is None else REQUESTED)
    else:
        refining = Setting(Crf(own.iterations, own.pairwise), origin)
    return {"photo_scales": scales, "mirror": mirrored, "crf": refining}


def of_maps(settings: Stored) -> dict[str, Setting]:
    """Return the settings of class activation maps, those of the experiment: `method`, those of `maps`, `rounds`."""
    cam = settings.experiment.cam
    values = {name: getattr(cam.maps, name) for name in OF_MAPS}
    values = {"method": cam.method, **values, "rounds": cam.prototypes.rounds}
    return {name: Setting(value, settings.origin) for name, value in values.items()}


def longest_side(settings: Stored, requested: int | None, in_crop: int) -> Setting:
    """Return the longest side of photos, above which they are shrunk: as requested, else that of training photos.

    The largest training photos are disregarded. Where the training photos are missing beside the settings it is
    `in_crop`, the largest part of a photo in a training crop.
    """
    if requested is not None:
        if requested < 1:
            raise UserError(f"max_side {requested}", "not a longest side", "name at least one pixel, such as 512")
        return Setting(requested, REQUESTED)
    sides = _training_sides(settings)
    if sides:
        size = round(float(np.quantile(sides, UNSHRUNK)))
        return Setting(size, f"the training photos in {settings.path.parent / 'data'} are no larger")
    return Setting(in_crop, "the largest part of a photo in a training crop")


def photo_bits(settings: Stored) -> int | None:
    """Return how many bits of 16-bit photos count, as in the training photos; None if each photo decides for itself."""
    own = settings.experiment.data.folder.bits
    if settings.path is None or own == "each":
        return None
    return recorded_bits(settings.path.parent / "data") if own == "auto" else own


def _training_sides(settings: Stored) -> list[int]:
    """Return the longest sides of some training photos; none if they are missing."""
    if settings.path is None:
        return []
    sides: list[int] = []
    dataset = Dataset(settings.path.parent / "data", (), {})
    with suppress(UserError):
        image_ids = dataset.listed(settings.experiment.data.train_split)
        for image_id in image_ids[:: max(1, len(image_ids) // SAMPLE)]:
            sides.append(max(photo_size(dataset.photo(image_id))))
    return sides
