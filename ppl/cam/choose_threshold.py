"""Write the background threshold of a variant's seeds: the configured number, or one chosen without masks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl.cam.settings import AUTO, Cam
from ppl.cam.threshold import Threshold, write_threshold
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Devices


@dataclass(frozen=True)
class Settings:
    out: Path
    """JSON."""
    data: Path | None = None
    """Needed to choose a threshold, as are the split, its CAMs and the classifier that they are of."""
    split: str = ""
    cams: tuple[Path, ...] = ()
    classifier: Path | None = None
    cam: Cam = Cam()
    hardware: Devices = Devices()


def main(settings: Settings) -> None:
    write_threshold(settings.out, threshold_of(settings))


def threshold_of(settings: Settings) -> Threshold:
    """Return the configured threshold or, for `auto`, the one that `ppl.cam.separation` chooses."""
    if settings.cam.threshold != AUTO:
        return Threshold(threshold=settings.cam.threshold, rule="fixed")
    if not (settings.data and settings.split and settings.cams and settings.classifier):
        raise UserError("cam.threshold auto", "--data, --split, --cams or --classifier is missing", "name all four")
    from ppl.cam.measure_separation import choose_threshold  # here: a fixed threshold needs no torch

    threshold = choose_threshold(
        settings.data, settings.split, settings.cams, settings.classifier, hardware=settings.hardware
    )
    stages = {"shallow": threshold.shallow, "deep": threshold.deep}
    means = ", ".join(
        f"{np.mean(part):.2f} by {name} features of {len(part)} photos" for name, part in stages.items() if part
    )
    print(f"{threshold}: the higher mean of {means}")
    return threshold


if __name__ == "__main__":
    command(main, Settings)
