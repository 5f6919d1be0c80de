"""Inference settings of an experiment, read beside its results, each with its origin."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from ppl.crf.dense import DEEPLAB, Pairwise
from ppl.data.dataset import Dataset
from ppl.data.photos import photo_size
from ppl.jobs.errors import UserError, reason
from ppl.segment.postprocess import Crf

SETTINGS = "settings.yaml"
SAMPLE = 100  # photos of the training split whose size is read
UNSHRUNK = 0.95  # share of them that would not be shrunk
REQUESTED = "as requested"
PAPER = "paper defaults: no settings.yaml two directories above the weights; the workflow writes one"

OF_ANOTHER_FORMAT = (KeyError, TypeError, ValueError)
"""Raised if a settings file lacks a key or holds a value of another type."""


class Setting(NamedTuple):
    """A value and its origin, for people."""

    value: Any
    origin: str


class Experiment(NamedTuple):
    """The resolved settings of an experiment and their file; empty and None without a file."""

    settings: Mapping[str, Any]
    path: Path | None


def find(weights: Path, settings: Path | str | None = None) -> Experiment:
    """Return the experiment of a file `settings`, by default of `weights`, results/EXPERIMENT/METHOD/GRIDS/NAME.pt.

    UserError for a file that cannot be read or holds no settings.
    """
    path = Path(settings) if settings else weights.absolute().parent.parent.parent / SETTINGS
    if settings is None:
        with suppress(ValueError):
            path = path.relative_to(Path.cwd())
        if not path.exists():
            return Experiment({}, None)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "name the settings.yaml of an experiment") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _no_settings(path, error) from error
    if not isinstance(content, Mapping):
        raise _no_settings(path, ValueError("no keys"))
    return Experiment(content, path)


def of_segmentation(
    experiment: Experiment, *, photo_scales: Sequence[float] | None = None, crf: bool | None = None
) -> dict[str, Setting]:
    """Return `photo_scales` and `crf` (a Crf or None): as requested, else of the experiment, else the paper's."""
    if experiment.path is None:
        default_scales, default_crf, with_crf = (1.0,), Crf(10, DEEPLAB), True
    else:
        try:
            section = experiment.settings["segment"]
            default_scales, with_crf = tuple(map(float, section["photo_scales"])), bool(section["crf"])
            pairwise = Pairwise(**{name: float(value) for name, value in dict(section["pairwise"]).items()})
            default_crf = Crf(int(section["iterations"]), pairwise)
        except OF_ANOTHER_FORMAT as error:
            raise _no_settings(experiment.path, error) from error
    origin = PAPER if experiment.path is None else str(experiment.path)
    scales = Setting(default_scales, origin) if photo_scales is None else Setting(tuple(photo_scales), REQUESTED)
    if not scales.value or not all(math.isfinite(scale) and scale > 0 for scale in scales.value):
        where = f"photo_scales {list(scales.value)} ({scales.origin})"
        raise UserError(where, "not a list of factors", "name some above 0, such as 1 1.5")
    if crf is False or (crf is None and not with_crf):
        return {"photo_scales": scales, "crf": Setting(None, origin if crf is None else REQUESTED)}
    return {"photo_scales": scales, "crf": Setting(default_crf, origin)}


def of_maps(experiment: Experiment) -> dict[str, Setting]:
    """Return `scales`, `fusion` and `power` of class activation maps: of the experiment, else the paper's."""
    if experiment.path is None:
        paper = {"scales": (1.0, 0.5, 1.5, 2.0), "fusion": "mean", "power": 1.0}
        return {name: Setting(value, PAPER) for name, value in paper.items()}
    try:
        section = experiment.settings["cam"]["maps"]
        values = {"scales": tuple(map(float, section["scales"])), "fusion": str(section["fusion"])}
        values["power"] = float(section["power"])
    except OF_ANOTHER_FORMAT as error:
        raise _no_settings(experiment.path, error) from error
    return {name: Setting(value, str(experiment.path)) for name, value in values.items()}


def longest_side(experiment: Experiment, requested: int | None, in_crop: int) -> Setting:
    """Return the longest side of photos, above which they are shrunk: as requested, else that of training photos.

    The largest training photos are disregarded. Where the training photos are missing beside the settings it is
    `in_crop`, the largest part of a photo in a training crop.
    """
    if requested is not None:
        if requested < 1:
            raise UserError(f"max_side {requested}", "not a longest side", "name at least one pixel, such as 512")
        return Setting(requested, REQUESTED)
    sides = _training_sides(experiment)
    if sides:
        size = round(float(np.quantile(sides, UNSHRUNK)))
        return Setting(size, f"the training photos in {experiment.path.parent / 'data'} are no larger")
    return Setting(in_crop, "the largest part of a photo in a training crop")


def _training_sides(experiment: Experiment) -> list[int]:
    """Return the longest sides of some training photos; none if they are missing."""
    if experiment.path is None:
        return []
    sides: list[int] = []
    dataset = Dataset(experiment.path.parent / "data", (), {})
    with suppress(UserError, KeyError, TypeError):
        image_ids = dataset.listed(experiment.settings["data"]["train_split"])
        for image_id in image_ids[:: max(1, len(image_ids) // SAMPLE)]:
            sides.append(max(photo_size(dataset.photo(image_id))))
    return sides


def _no_settings(path: Path, error: Exception) -> UserError:
    why = f"no {error}" if isinstance(error, KeyError) else reason(error)
    return UserError(path, f"not the settings of an experiment ({why})", "name the settings.yaml of its results")
