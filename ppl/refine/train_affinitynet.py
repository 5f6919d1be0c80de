"""Trains AffinityNet on confident labels; opens no mask."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ppl.data.crops import Augmentation, Views
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.jobs.command import command
from ppl.jobs.devices import Hardware
from ppl.jobs.files import digest_of
from ppl.refine import build as checkpoint
from ppl.refine.affinitynet import STRIDE, AffinityNet, affinity_loss
from ppl.training import loop as engine
from ppl.training.loop import Schedule


@dataclass(frozen=True)
class Training:
    """How AffinityNet is trained (its public reference)."""

    backbone: str
    weights: str
    """Of the backbone: imagenet, none, or the path of a state dict."""
    trained_from: int
    """First stage of the backbone that is trained, 0 the stem."""
    epochs: int
    batch_size: int
    lr: float
    """Of the backbone."""
    new_lr_factor: float
    """Learning rate of all other layers, as a multiple of `lr`."""
    momentum: float
    weight_decay: float
    power: float
    long_side: tuple[int, int]
    """Range of the random rescaling by the longest side, pixels."""
    crop: int
    radius: int
    """Largest distance of a pair of pixels, at stride 8."""
    seed: int


@dataclass(frozen=True)
class Settings:
    data: Path
    train_split: str
    labels: tuple[Path, ...]
    """Folders of confident labels."""
    out: Path
    log: Path
    code: str
    training: Training
    hardware: Hardware


def main(settings: Settings) -> None:
    dataset, training = Dataset.open(settings.data), settings.training
    images = dataset.split(settings.train_split)
    labels = find_maps(settings.labels, images)
    fabric = engine.launch(settings.hardware, training.seed)
    network = checkpoint.build_affinitynet(training.backbone, training.trained_from, weights=training.weights)
    network.to(memory_format=torch.channels_last)
    views = Views(
        dataset.photos(images),
        labels,
        Augmentation(training.crop, long_side=training.long_side),
        mean=network.backbone.mean,
        std=network.backbone.std,
    )
    stored = {
        "kind": checkpoint.AFFINITYNET,
        "settings": asdict(training),
        "code": settings.code,
        "classes": list(dataset.classes),
    }
    engine.train_to_checkpoint(
        fabric,
        network,
        _optimizer(network, training),
        views,
        lambda net, photos, confident: labelled_loss(net, photos, confident, training.radius),
        Schedule.of_epochs(
            len(views),
            epochs=training.epochs,
            batch_size=training.batch_size,
            power=training.power,
            seed=training.seed,
        ),
        name="AffinityNet",
        out=settings.out,
        stored=stored,
        digest=digest_of((training, settings.code), *labels),
        log=settings.log,
        workers=settings.hardware.workers,
    )


def labelled_loss(network: nn.Module, photos: Tensor, labels: Tensor, radius: int) -> Tensor:
    """Loss of photos (B, 3, H, W) with confident labels (B, H, W), which are taken at stride 8, nearest neighbour."""
    features = network(photos).float()
    with torch.autocast(features.device.type, enabled=False):
        return affinity_loss(features, labels[:, ::STRIDE, ::STRIDE], radius)


def _optimizer(network: AffinityNet, training: Training) -> torch.optim.Optimizer:
    rates = [(1.0, network.backbone.parameters()), (training.new_lr_factor, network.new_parameters())]
    groups = engine.parameter_groups(rates, lr=training.lr, weight_decay=training.weight_decay)
    return engine.sgd(groups, momentum=training.momentum)


if __name__ == "__main__":
    command(main, Settings)
