"""Former names of keys: a configuration that has one is refused with the name of today."""

from collections.abc import Iterator, Mapping
from typing import Any

_POLY = "the exponent of the poly schedule"
_STAGES = "one less than `trained_from`: -1 none, 0 the stem, n the stem and stages 1 to n"
_SCALE = "refine.affinitynet.training.scale, factors of a photo's sides; AffinityNet's reference does not rescale"
RENAMED = {
    "data.path": "data.folder.path, data.voc.path or data.coco.path",
    "data.max_side": "data.folder.max_side",
    "data.coco_convention": "data.coco.convention",
    "data.size": "data.demo.size",
    "data.train": "data.demo.train",
    "data.val": "data.demo.val",
    "data.test": "data.demo.test",
    "data.seed": "data.demo.random_seed",
    "seeds": "random_seeds",
    "classify.training.power": f"classify.training.poly_power, {_POLY}",
    "classify.patch_training.power": f"classify.patch_training.poly_power, {_POLY}",
    "cam.maps.power": "cam.maps.cam_exponent",
    "refine.confident.foreground": "refine.reliable.thresholds.foreground, or refine.reliable.alphas.low, an exponent",
    "refine.confident.background": "refine.reliable.thresholds.background, or refine.reliable.alphas.high, an exponent",
    "refine.confident": "refine.reliable",
    "refine.irnet.power": f"refine.irnet.training.poly_power, {_POLY}",
    **{
        f"refine.irnet.{key}": f"refine.irnet.training.{key}"
        for key in (
            *("backbone", "weights", "output_stride", "epochs", "batch_size", "lr", "momentum", "weight_decay"),
            *("scale", "crop", "radius"),
        )
    },
    "refine.affinitynet.power": f"refine.affinitynet.training.poly_power, {_POLY}",
    "refine.affinitynet.trained_from": f"refine.affinitynet.training.frozen_stages, {_STAGES}",
    **{
        f"refine.affinitynet.{key}": f"refine.affinitynet.training.{key}"
        for key in (
            *("backbone", "weights", "epochs", "batch_size", "lr", "new_lr_factor", "momentum", "weight_decay"),
            *("crop", "radius"),
        )
    },
    "refine.affinitynet.long_side": _SCALE,
    "refine.affinitynet.training.long_side": _SCALE,
    "refine.walk.background": "refine.irnet.walk.background, a score, or refine.affinitynet.walk.alpha, an exponent",
    "refine.walk": "refine.irnet.walk, or refine.affinitynet.walk",
    "segment.architecture": "segment.deeplab_v2",
    "segment.training.power": f"segment.training.poly_power, {_POLY}",
    "segment.training.scale": "segment.training.crop_scales, a list of factors, such as [0.75, 1, 1.25, 1.5]",
    "segment.training.trained_from": f"segment.training.frozen_stages, {_STAGES}",
    **{
        f"segment.{key}": f"segment.prediction.{key}"
        for key in ("photo_scales", "batch_size", "crf", "iterations", "pairwise")
    },
}
"""From a former key to its name of today, for people."""


def renamed(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the former keys of nested settings with their names of today, the innermost keys first."""
    for key, value in section.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from renamed(value, f"{name}.")
        if name in RENAMED:
            yield name, RENAMED[name]
