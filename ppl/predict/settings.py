"""What an experiment sets for looking at photos, found beside its results, each value with where it comes from."""

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
SAMPLE = 100  # photos of a training split whose size is looked at
COMMON = 0.95  # share of them that would not be shrunk
GIVEN = "as asked for"
NOWHERE = "the paper's, for want of a settings.yaml two folders above the weights; snakemake writes it"


class Choice(NamedTuple):
    """A value, and where it comes from."""

    value: Any
    source: str


class Experiment(NamedTuple):
    """The resolved settings of an experiment and their file; empty and None where there is none."""

    settings: Mapping[str, Any]
    path: Path | None


def find(weights: Path, settings: Path | str | None = None) -> Experiment:
    """The experiment that `weights`, results/EXPERIMENT/METHOD/GRIDS/NAME.pt, belong to, or that of a file `settings`.

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
        raise _no_settings(path, ValueError("it holds no keys"))
    return Experiment(content, path)


def of_segmentation(
    experiment: Experiment, *, photo_scales: Sequence[float] | None = None, crf: bool | None = None
) -> dict[str, Choice]:
    """`photo_scales` and `crf` (a Crf or None): as asked for, or else those of the experiment, or the paper's."""
    if experiment.path is None:
        own_scales, own, wanted = (1.0,), Crf(10, DEEPLAB), True
    else:
        try:
            section = experiment.settings["segment"]
            own_scales, wanted = tuple(map(float, section["photo_scales"])), bool(section["crf"])
            own = Crf(int(section["iterations"]), Pairwise(**{k: float(v) for k, v in section["pairwise"].items()}))
        except Exception as error:  # whatever a file of another kind holds
            raise _no_settings(experiment.path, error) from error
    source = NOWHERE if experiment.path is None else str(experiment.path)
    scales = Choice(own_scales, source) if photo_scales is None else Choice(tuple(photo_scales), GIVEN)
    if not scales.value or not all(math.isfinite(scale) and scale > 0 for scale in scales.value):
        raise UserError(
            f"photo_scales {list(scales.value)} ({scales.source})", "no factors", "name some above 0, such as 1 1.5"
        )
    if crf is False or (crf is None and not wanted):
        return {"photo_scales": scales, "crf": Choice(None, source if crf is None else GIVEN)}
    return {"photo_scales": scales, "crf": Choice(own, source)}


def of_maps(experiment: Experiment) -> dict[str, Choice]:
    """`scales`, `fusion` and `power` of class activation maps: those of the experiment, or the paper's."""
    if experiment.path is None:
        paper = {"scales": (1.0, 0.5, 1.5, 2.0), "fusion": "mean", "power": 1.0}
        return {name: Choice(value, NOWHERE) for name, value in paper.items()}
    try:
        section = experiment.settings["cam"]["maps"]
        own = {"scales": tuple(map(float, section["scales"])), "fusion": str(section["fusion"])}
        own["power"] = float(section["power"])
    except Exception as error:  # whatever a file of another kind holds
        raise _no_settings(experiment.path, error) from error
    return {name: Choice(value, str(experiment.path)) for name, value in own.items()}


def longest_side(experiment: Experiment, given: int | None, seen: int) -> Choice:
    """From which side on photos are shrunk: `given`, or as large as all but the largest training photos are.

    Where the training photos are not beside the settings any more: `seen`, the largest part of a photo that training
    showed at once.
    """
    if given is not None:
        if given < 1:
            raise UserError(f"max_side {given}", "no longest side", "name at least one pixel, such as 512")
        return Choice(given, GIVEN)
    sides = _training_sides(experiment)
    if sides:
        size = round(float(np.quantile(sides, COMMON)))
        return Choice(size, f"the training photos in {experiment.path.parent / 'data'} are no larger")
    return Choice(seen, "training showed no more of a photo at once")


def _training_sides(experiment: Experiment) -> list[int]:
    """Longest sides of some training photos, as far as they are where they were."""
    if experiment.path is None:
        return []
    sides: list[int] = []
    dataset = Dataset(experiment.path.parent / "data", (), {})
    with suppress(UserError, KeyError, TypeError):
        images = dataset.listed(experiment.settings["data"]["train_split"])
        for image in images[:: max(1, len(images) // SAMPLE)]:
            sides.append(max(photo_size(dataset.photo(image))))
    return sides


def _no_settings(path: Path, error: Exception) -> UserError:
    why = f"no {error}" if isinstance(error, KeyError) else reason(error)
    return UserError(path, f"not the settings of an experiment ({why})", "name those that its report has kept")
