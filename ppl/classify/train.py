"""Train the classifier of one variant from photos and image-level labels, without masks."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ppl.classify.average_precision import mean_average_precision
from ppl.classify.build import KIND, build, init_from_checkpoint
from ppl.classify.network import PatchClassifier
from ppl.classify.settings import Classify, Training
from ppl.data.crops import Augmentation, ResizedImages, TrainingCrops, label_vectors
from ppl.data.dataset import Dataset
from ppl.jobs.command import command
from ppl.jobs.fields import plain
from ppl.jobs.files import digest_of
from ppl.jobs.lifetime import ignore_group_signals
from ppl.jobs.progress import progress
from ppl.jobs.settings import NetworkDevices
from ppl.jobs.threads import side_by_side, threads_for
from ppl.training.launch import launch
from ppl.training.loop import Measure, train_to_checkpoint
from ppl.training.optimizers import Group, optimizer, parameter_groups, with_bias_groups
from ppl.training.schedule import Schedule
from ppl.training.settings import weight_files


@dataclass(frozen=True)
class Settings:
    """Inputs, outputs and settings of one training."""

    data: Path
    train_split: str
    val_split: str
    method: str
    grids: str
    out: Path
    log: Path
    code: str
    """Code version, stored in the checkpoint."""
    random_seed: int
    classify: Classify = Classify()
    """Its `training` is that of the method; `patch_training` is not read."""
    hardware: NetworkDevices = NetworkDevices()
    start: Path | None = None
    """Classifier of an earlier step, whose backbone this training starts from."""

    @property
    def training(self) -> Training:
        """The training of the method."""
        return self.classify.training_of(self.method)


def main(settings: Settings) -> None:
    dataset = Dataset.open(settings.data)
    architecture, training = settings.classify.architecture, settings.training
    fabric = launch(settings.hardware, settings.random_seed)
    network = build(
        settings.method, settings.grids, len(dataset.classes), architecture,
        weights="none" if settings.start else training.weights,
    )  # fmt: skip
    if settings.start:
        init_from_checkpoint(
            network, settings.start, architecture.backbone,
            classifier=settings.method in training.keep_classifier, classes=dataset.classes,
        )  # fmt: skip
    network.to(memory_format=torch.channels_last)
    crops, validation = _training_crops(dataset, settings, network), _validation(dataset, settings, network)
    stored = {
        "kind": KIND,
        "settings": {
            "architecture": plain(architecture),
            "training": plain(training),
            "random_seed": settings.random_seed,
            "method": settings.method,
            "grids": settings.grids,
        },
        "code": settings.code,
        "classes": list(dataset.classes),
    }
    train_to_checkpoint(
        fabric,
        network,
        _optimizer(network, training),
        crops,
        lambda network, images, targets: classification_loss(network(images), targets, training.branch_loss),
        Schedule.of(training, len(crops), settings.random_seed, epochs=training.epochs),
        name="classifier",
        out=settings.out,
        stored=stored,
        digest=_digest(settings, dataset),
        log=settings.log,
        workers=settings.hardware.workers,
        compile=settings.hardware.compile,
        measure=validation,
    )


def classification_loss(branch_logits: Tensor, targets: Tensor, branch_loss: float) -> Tensor:
    """Return the multi-label soft margin loss (Equation 1) of the summed logits.

    `branch_loss` times the mean loss of the single branches is added to it, if there are several. `branch_logits`
    (B, branches, C), `targets` (B, C) of zeros and ones.
    """
    loss = F.multilabel_soft_margin_loss(branch_logits.float().sum(dim=1), targets)
    if branch_loss and branch_logits.shape[1] > 1:
        each = targets[:, None].expand_as(branch_logits)
        single = F.multilabel_soft_margin_loss(branch_logits.float().flatten(0, 1), each.flatten(0, 1))
        loss = loss + branch_loss * single
    return loss


def classifier_groups(network: PatchClassifier, training: Training) -> list[Group]:
    """Return optimiser groups: the backbone at `lr`, phi1 and phi2, and the classifier, each at its multiple.

    If biases have a rate or a decay of their own, each group is followed by one of its biases. AffinityNet trains
    biases at twice the rate and without decay.
    """
    rates = [
        (1.0, network.backbone.parameters()),
        (training.phi_lr_factor, network.phi_parameters()),
        (training.new_lr_factor, network.classifier.parameters()),
    ]
    groups = parameter_groups(rates, lr=training.lr, weight_decay=training.weight_decay)
    return with_bias_groups(groups, network, lr_factor=training.bias_lr_factor, decay=training.decay_biases)


def _optimizer(network: PatchClassifier, training: Training) -> torch.optim.Optimizer:
    return optimizer(training.optimizer, classifier_groups(network, training), momentum=training.momentum)


def _training_crops(dataset: Dataset, settings: Settings, network: PatchClassifier) -> TrainingCrops:
    image_ids, training = dataset.split(settings.train_split), settings.training
    return TrainingCrops(
        dataset.photos(image_ids),
        label_vectors([dataset.labels_of(image_id) for image_id in image_ids], len(dataset.classes)),
        Augmentation(training.crop, long_side=training.long_side, jitter=training.jitter),
        mean=network.backbone.mean,
        std=network.backbone.std,
    )


def _validation(dataset: Dataset, settings: Settings, network: PatchClassifier) -> Measure:
    """Return a function that measures mAP on the validation photos, by their image-level labels."""
    image_ids, training = dataset.split(settings.val_split), settings.training
    targets = label_vectors([dataset.labels_of(image_id) for image_id in image_ids], len(dataset.classes)).long()
    photos = ResizedImages(
        dataset.photos(image_ids), training.crop, mean=network.backbone.mean, std=network.backbone.std
    )

    def measure(trained: nn.Module, by_threads: bool) -> dict[str, float]:
        device = next(trained.parameters()).device
        threads = threads_for(trained, training.batch_size) if by_threads else 1
        loader = DataLoader(
            photos,
            batch_size=training.batch_size // threads,
            num_workers=settings.hardware.workers,
            worker_init_fn=ignore_group_signals,
        )

        @torch.inference_mode()  # a thread does not have the mode of its caller
        def scores_of(batch: Tensor) -> Tensor:
            logits = trained(batch.to(device, memory_format=torch.channels_last))  # (B, branches, C)
            return logits.float().sum(dim=1).sigmoid().cpu()

        scores = torch.empty(0, len(dataset.classes))
        with progress(name=f"validation, {settings.val_split}", unit="image", total=len(image_ids), part=True) as bar:
            for batch, of_batch in side_by_side(scores_of, loader, threads):
                scores = torch.cat([scores, of_batch])
                bar.update(len(batch))
        return {"mAP": mean_average_precision(scores, targets)}

    return measure


def _digest(settings: Settings, dataset: Dataset) -> str:
    files = [dataset.root / "classes.txt", dataset.root / "labels.csv", dataset.list_of(settings.train_split)]
    files += [settings.start] if settings.start else weight_files(settings.training)
    used = (settings.classify.architecture, settings.training, settings.random_seed, settings.hardware.precision)
    return digest_of((*used, settings.method, settings.grids, settings.code), *files)


if __name__ == "__main__":
    command(main, Settings)
