"""Draw features of a classifier's backbone: one channel after the stem and after each stage (Figure 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ppl.cam.heat import HEAT
from ppl.classify import build as checkpoint
from ppl.classify.network import PatchClassifier
from ppl.data.dataset import Dataset
from ppl.data.photos import read_photo
from ppl.jobs.command import command
from ppl.jobs.files import atomic
from ppl.jobs.sampling import evenly
from ppl.report.sheet import draw_sheet

IMAGES = 4


@dataclass(frozen=True)
class Settings:
    data: Path
    split: str
    classifier: Path
    out: Path
    seed: int = 0
    """Random seed that selects the channel of each stage, the same for all images."""


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    network, _ = checkpoint.load(settings.classifier)
    draws = np.random.default_rng(settings.seed)
    channels = [int(draws.integers(count)) for count in network.backbone.channels]
    photos = [read_photo(dataset.photo(image_id)) for image_id in evenly(dataset.split(settings.split), IMAGES)]
    rows = [{"photo": photo, **stage_tiles(network, photo, channels)} for photo in photos]
    with atomic(settings.out) as temporary:
        draw_sheet(rows).savefig(temporary, dpi=110, metadata={"Date": None, "Software": None})


@torch.inference_mode()
def stage_tiles(network: PatchClassifier, photo: np.ndarray, channels: Sequence[int]) -> dict[str, np.ndarray]:
    """Return heat maps (h_i, w_i, 3) uint8 of one channel of the stem and of each stage, scaled to its range.

    photo (h, w, 3) uint8; `channels` one index per stage.
    """
    backbone = network.backbone
    outputs = backbone.features(backbone.prepare(photo[None]))
    tiles = {}
    for index, (features, channel) in enumerate(zip(outputs, channels, strict=True)):
        plane = features[0, channel].numpy()
        scaled = (plane - plane.min()) / max(np.ptp(plane), 1e-12)
        name = "stem" if index == 0 else f"stage {index}"
        tiles[f"{name}, channel {channel}"] = (255 * HEAT(scaled)[..., :3]).round().astype(np.uint8)
    return tiles


if __name__ == "__main__":
    command(main, Settings)
