"""Train the network of `refine.network` on reliable labels, without masks.

A module of such a network, `own/MODULE` too, contains for its training:

- `NAME`, the network's name in messages.
- `Settings`, a `ppl.jobs.fields.Section` whose fields all have defaults: `training`, a subclass of
  `ppl.training.settings.Training` with the field `epochs: int` and whatever the functions below read, and `walk`
  (`ppl.refine.walk_split`). All fields but `walk` are stored in the checkpoint.
- `build(settings: Settings, weights: str) -> nn.Module`: a new network, in which `weights` of the backbone are
  `imagenet`, `none` (a checkpoint is loaded into it), or the file of a state dict. Its attribute `backbone` has `mean`
  and `std`, three numbers each, by which images are normalised; a `ppl.networks.backbones.Backbone` has them.
- `parameter_groups(network, settings) -> list[Group]`: dicts of `params`, `lr` and `weight_decay`, which together
  hold each trained parameter once; `ppl.training.optimizers.parameter_groups` returns them.
- `augmentation(settings) -> ppl.data.crops.Augmentation`: the random changes of the crops.
- `loss(network, images, labels, settings) -> Tensor`: a scalar, from normalised crops (B, 3, crop, crop) float32 and
  their labels (B, crop, crop) uint8, in which 0 is background and 255 is ignored. In a training on several GPUs its
  gradients are averaged; a mean over labelled pixels divides by `ppl.training.batch_means.mean_count` of their number.
"""

from dataclasses import dataclass
from functools import partial

from ppl.jobs.command import command
from ppl.refine.build import KIND, entry_of, stored
from ppl.refine.settings import Refine
from ppl.training.labelled import LabelledRun, train_on_labels


@dataclass(frozen=True)
class Settings(LabelledRun):
    refine: Refine


def main(settings: Settings) -> None:
    entry, section = entry_of(settings.refine)
    train_on_labels(
        settings,
        section.training,
        name=entry.NAME,
        kind=KIND,
        settings=stored(settings.refine),
        build=lambda _: entry.build(section, section.training.weights),
        groups=partial(entry.parameter_groups, settings=section),
        loss=partial(entry.loss, settings=section),
        augmentation=entry.augmentation(section),
        epochs=section.training.epochs,
    )


if __name__ == "__main__":
    command(main, Settings)
