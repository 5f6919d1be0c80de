"""Train the plain classifier with several momenta of SGD at the same learning rate: which ones train, and how well.

    python benchmarks/momentum.py --data FOLDER

The paper writes 0.9, the public code of its references has 1e-4 (docs/departures.md). FOLDER is a VOC folder with
labels.csv and the splits trainaug and val. Prints the mean loss and the mAP on val of every epoch.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
import tyro
from torch import nn
from torch.utils.data import default_collate
from torchvision import models

from ppl.classify import train
from ppl.classify.settings import Architecture, Classify, Training
from ppl.data.crops import Augmentation, TrainingCrops, label_vectors
from ppl.data.dataset import Dataset
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Devices
from ppl.networks.backbones import IMAGENET_MEAN, IMAGENET_STD

CALIBRATED = "random"
BATCH, BATCHES = 32, 10  # photos of the statistics of random weights


@dataclass(frozen=True)
class Settings:
    data: Path
    weights: str = CALIBRATED
    """`imagenet`, a file of weights, or `random`: a ResNet-50 whose BatchNorm statistics are those of the photos."""
    momenta: tuple[float, ...] = (0.9, 1e-4)
    lr: float = Training().lr
    epochs: int = Training().epochs
    crop: int = Training().crop
    long_side: tuple[int, int] = Training().long_side
    hardware: Devices = Devices()
    out: Path = Path("results/momentum")


def main(settings: Settings) -> None:
    settings.out.mkdir(parents=True, exist_ok=True)
    weights = settings.weights
    if weights == CALIBRATED:
        weights = str(settings.out / "random.pt")
        torch.save(calibrated(settings).state_dict(), weights)
    rows = []
    for momentum in settings.momenta:
        training = Training(
            weights=weights, momentum=momentum, lr=settings.lr, epochs=settings.epochs, crop=settings.crop,
            long_side=settings.long_side,
        )  # fmt: skip
        log = settings.out / f"{momentum:g}.csv"
        run = train.Settings(
            data=settings.data, train_split="trainaug", val_split="val", method="baseline", grids="plain",
            out=log.with_suffix(".pt"), log=log, code="momentum", random_seed=0,
            classify=replace(Classify(), architecture=Architecture(), training=training), hardware=settings.hardware,
        )  # fmt: skip
        try:
            train.main(run)
        except UserError as error:  # it diverges
            rows.append({"momentum": momentum, "epoch": "-", "outcome": str(error)})
            continue
        epochs = pd.read_csv(log)[["epoch", "loss", "mAP"]]
        rows += [{"momentum": momentum, **row, "outcome": "trained"} for row in epochs.to_dict("records")]
    print(pd.DataFrame(rows).to_string(index=False))


def calibrated(settings: Settings) -> nn.Module:
    """Return a ResNet-50 of random weights with the BatchNorm statistics of the first training photos."""
    torch.manual_seed(0)
    network = models.resnet50()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    dataset = Dataset.open(settings.data)
    photos = dataset.photos(dataset.split("trainaug")[: BATCH * BATCHES])
    crops = TrainingCrops(
        photos, label_vectors([()] * len(photos), 1), Augmentation(settings.crop, long_side=settings.long_side),
        mean=IMAGENET_MEAN, std=IMAGENET_STD,
    )  # fmt: skip
    network.train()
    with torch.no_grad():
        for start in range(0, len(photos), BATCH):
            indices = range(start, min(start + BATCH, len(photos)))
            batch = default_collate([crops[(index, index)][0] for index in indices])
            network(crops.normalise(batch, torch.device("cpu")))
    return network


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
