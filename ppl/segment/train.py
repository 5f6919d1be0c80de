"""Train a segmentation network from photos and pseudo labels, without the dataset's masks (Section III-F)."""

from dataclasses import dataclass
from functools import partial

from ppl.data.crops import Augmentation
from ppl.jobs.command import command
from ppl.segment.build import KIND, build, entry, stored
from ppl.segment.settings import Segment
from ppl.training.labelled import LabelledRun, train_on_labels


@dataclass(frozen=True)
class Settings(LabelledRun):
    """Inputs, outputs and settings of one training."""

    segment: Segment = Segment()


def main(settings: Settings) -> None:
    segment, training = settings.segment, settings.segment.training
    network = entry(segment)
    train_on_labels(
        settings,
        training,
        name=segment.network,
        kind=KIND,
        settings=stored(segment),
        build=partial(build, segment),
        groups=lambda built: network.parameter_groups(built, training),
        loss=network.loss,
        augmentation=Augmentation(training.crop, scale=training.scale),
        steps=training.steps,
    )


if __name__ == "__main__":
    command(main, Settings)
