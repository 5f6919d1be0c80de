"""Trains IRNet's boundary and displacement branches on confident labels; opens no mask."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ppl.data.batches import photo_batches
from ppl.data.crops import Augmentation, Views, normalise
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.jobs.command import command
from ppl.jobs.devices import Hardware
from ppl.jobs.files import digest_of
from ppl.refine import build as checkpoint
from ppl.refine.irnet import IRNet
from ppl.refine.losses import pair_losses, total
from ppl.training import loop as engine
from ppl.training.loop import Schedule

MEAN_SHIFT_IMAGES = 512  # enough for a mean of two numbers; they serve instance masks only


@dataclass(frozen=True)
class Training:
    """How IRNet is trained (Section IV-B and its public reference)."""

    backbone: str
    weights: str
    """Of the frozen backbone: imagenet, none, or the path of a state dict."""
    output_stride: int
    epochs: int
    batch_size: int
    lr: float
    """Of the boundary branch."""
    displacement_lr_factor: float
    """Learning rate of the displacement branch, as a multiple of `lr`."""
    momentum: float
    weight_decay: float
    power: float
    scale: tuple[float, float]
    """Range of the random rescaling factor."""
    crop: int
    radius: int
    """Largest distance of a pair of pixels, at stride 4."""
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
    network = checkpoint.build(training.backbone, training.output_stride, weights=training.weights)
    network.to(memory_format=torch.channels_last)
    views = Views(
        dataset.photos(images),
        labels,
        Augmentation(training.crop, scale=training.scale),
        mean=network.backbone.mean,
        std=network.backbone.std,
    )

    def shift() -> None:
        sample, workers = images[:: max(1, math.ceil(len(images) / MEAN_SHIFT_IMAGES))], settings.hardware.workers
        network.mean_shift.copy_(mean_displacement(network, dataset, sample, training.batch_size, workers=workers))

    stored = {
        "kind": checkpoint.KIND,
        "settings": asdict(training),
        "code": settings.code,
        "classes": list(dataset.classes),
    }
    engine.train_to_checkpoint(
        fabric,
        network,
        _optimizer(network, training),
        views,
        lambda net, photos, confident: irnet_loss(net, photos, confident, training.radius),
        Schedule.of_epochs(
            len(views),
            epochs=training.epochs,
            batch_size=training.batch_size,
            power=training.power,
            seed=training.seed,
        ),
        name="IRNet",
        out=settings.out,
        stored=stored,
        finish=shift,
        digest=digest_of((training, settings.code), *labels),
        log=settings.log,
        workers=settings.hardware.workers,
    )


def irnet_loss(network: nn.Module, photos: Tensor, labels: Tensor, radius: int) -> Tensor:
    """Loss of photos (B, 3, H, W) with confident labels (B, H, W), which are taken at stride 4, nearest neighbour."""
    boundary, displacement = network(photos)
    h, w = boundary.shape[-2:]
    small = labels[:, ::4, ::4][:, :h, :w]  # (B, h, w)
    return total(pair_losses(boundary.float().sigmoid(), displacement.float(), small, radius))


@torch.inference_mode()
def mean_displacement(
    network: IRNet, dataset: Dataset, images: Sequence[str], batch_size: int, *, workers: int
) -> Tensor:
    """Mean of the displacement field over photos, each of equal weight, (2,): what the mean shift takes away."""
    network.eval()
    network.mean_shift.zero_()
    device, total_shift = network.mean_shift.device, torch.zeros(2, device=network.mean_shift.device)
    _, batches = photo_batches(dataset, images, batch_size=batch_size, workers=workers)
    for batch in batches:
        photos = normalise(batch.photos, network.backbone.mean, network.backbone.std).permute(0, 3, 1, 2).to(device)
        total_shift += network(photos)[1].float().mean(dim=(2, 3)).sum(dim=0)
    return total_shift / len(images)


def _optimizer(network: IRNet, training: Training) -> torch.optim.Optimizer:
    rates = [(1.0, network.boundary_parameters()), (training.displacement_lr_factor, network.displacement_parameters())]
    groups = engine.parameter_groups(rates, lr=training.lr, weight_decay=training.weight_decay)
    return engine.sgd(groups, momentum=training.momentum)


if __name__ == "__main__":
    command(main, Settings)
