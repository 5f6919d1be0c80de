"""Compare every step with what public code does, on the same input in one process: `make bench`.

Prints a table and saves it as CSV and Markdown. Both sides run alternately, `repeats` times; seconds are medians,
memory is the peak above the level before (of the GPU if there is one). `~` marks a reference that would take too long:
its time is extrapolated from a smaller size by the number of operations. Run nothing else on the machine meanwhile.
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import references
import torch
import tyro
from maps import class_maps
from measuring import Row, measured
from PIL import Image
from tasks import label_reliably
from torch import Tensor, nn
from torch.utils.data import default_collate
from walk import dense_power, inputs, plain_steps

from ppl.cam import store
from ppl.cam.maps import fuse
from ppl.cam.store import Cam
from ppl.classify import variants as grids
from ppl.classify.network import PatchClassifier
from ppl.classify.train import classification_loss
from ppl.crf import dense as crf
from ppl.crf.interface import Problem, Solver
from ppl.crf.settings import DEEPLAB, Pairwise
from ppl.crf.solvers import PHOTOS_AT_ONCE
from ppl.crf.tensors import on_device
from ppl.data.crops import Augmentation, cut_photo, draw_window, normalise_crops
from ppl.data.resize import upsample
from ppl.data.sources.demo import open_photos
from ppl.jobs.compiled import compile_inference, compile_training
from ppl.jobs.devices import autocast, set_arithmetic
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.parallel import run_all
from ppl.jobs.threads import side_by_side, threads_for
from ppl.measure import sweep
from ppl.networks import backbones
from ppl.refine import losses
from ppl.refine.walk import propagate
from ppl.segment import deeplab_v2
from ppl.segment.settings import DeepLabV2
from ppl.training.loop import Loss
from ppl.training.shares import in_shares

VOC_SIZE, VOC_CLASSES = (375, 500), 20


@dataclass(frozen=True)
class Settings:
    only: tuple[str, ...] = ()
    """Select rows whose names contain one of these words; empty: all."""
    data: Path | None = None
    """Folder of photos for rows that need some (JPEGImages of a dataset); default: photos of the demo, enlarged."""
    out: Path = Path("results/bench")
    repeats: int = 3
    workers: int = 2
    """Worker processes of the reliable labels."""
    large: Literal["auto", "yes", "no"] = "auto"
    """Networks at the paper's sizes: 512 px, batches of 16; auto: on a GPU."""


def main(settings: Settings) -> None:
    set_arithmetic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    large = settings.large == "yes" or (settings.large == "auto" and device.type == "cuda")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    setup, rows = Setup(device, large, settings.workers, settings.data), []
    for make in ROWS:
        for row in make(setup):
            if settings.only and not any(word in row.name for word in settings.only):
                continue
            rows.append(measured(row, device, settings.repeats))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            write_tables(pd.DataFrame(rows), settings.out)  # after every row, so that a time limit loses none
    if not rows:
        raise UserError(f"--only {' '.join(settings.only)}", "matches no row", "omit it to run all")


def write_tables(table: pd.DataFrame, out: Path) -> None:
    """Write a table as CSV and Markdown, beside each other under the name `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False)
    with atomic(out.with_suffix(".md")) as temporary:
        head = ["| " + " | ".join(table.columns) + " |", "| " + " | ".join("---" for _ in table.columns) + " |"]
        body = ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
        temporary.write_text("\n".join([*head, *body]) + "\n")


# Inputs


class Setup(NamedTuple):
    """Machine and inputs of the rows."""

    device: torch.device
    large: bool
    workers: int
    data: Path | None = None

    def photos(self, count: int, size: tuple[int, int] = VOC_SIZE) -> list[np.ndarray]:
        """Return photos (h, w, 3) uint8, resized to the size of a VOC photo."""
        if self.data is None:
            images = (source.image for source in open_photos()[1]["train"].backgrounds)
        else:
            images = (Image.open(path) for path in sorted(self.data.glob("*.jpg"))[:count])
        named = [np.array(image.convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC)) for image in images]
        if not named:
            raise UserError(self.data, "no *.jpg in this folder", "name a folder of photos")
        return [named[i % len(named)] for i in range(count)]


def smooth(channels: int, size: tuple[int, int], seed: int, cells: int = 12) -> Tensor:
    """Return random smooth maps (channels, h, w), similar to the output of a network."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, size[0] // cells + 2, size[1] // cells + 2, generator=generator)
    return nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=False)[0]


def cam_of(seed: int, classes: Sequence[int], size: tuple[int, int] = VOC_SIZE) -> Cam:
    """Return a smooth CAM of some classes at stride 4, zero in about half of the photo."""
    maps = smooth(len(classes), (-(-size[0] // 4), -(-size[1] // 4)), seed).relu()
    return Cam((maps / maps.amax((1, 2), keepdim=True)).numpy(), np.array(classes), size)


# Rows


def walks(setup: Setup) -> Iterator[Row]:
    on_cpu = setup.device.type == "cpu"
    sizes = [(63, 63, 300), (94, 125, 2000)] if on_cpu else [(63, 63, 20), (94, 125, 20), (120, 160, 20)]
    for h, w, least in sizes:
        scores, boundary = (x.to(setup.device) for x in inputs(3, h, w))
        ours, exact = partial(propagate, scores, boundary), partial(plain_steps, scores, boundary, torch.float64)
        small = on_cpu and h * w > 4000
        few = [x.to(setup.device) for x in inputs(3, 63, 63)]
        reference = partial(dense_power, *few) if small else partial(dense_power, scores, boundary)
        growth = (h * w / 63**2) ** 3 if small else 1
        yield Row(f"walk {h}x{w}", "dense matrix, 8 squarings", least, ours, reference, relative, exact, None, growth)
        plain = partial(plain_steps, scores, boundary)
        yield Row(f"walk {h}x{w}", "256 sparse steps", 2.5, ours, plain, relative, exact)


def reliable(setup: Setup) -> Iterator[Row]:
    ids = [(1,), (3, 8), (15,), (2, 15)]
    tasks = [(p, cam_of(i, ids[i % 4])) for i, p in enumerate(setup.photos(24))]

    def ours() -> list[np.ndarray]:
        return list(run_all(label_reliably, tasks, workers=setup.workers, total=len(tasks), name="reliable labels"))

    def reference() -> list[np.ndarray]:
        label = partial(references.reliable_labels, labels=VOC_CLASSES + 1)
        return [label(photo, upsample(cam.maps, cam.size), cam.classes) for photo, cam in tasks]

    def error(a: list[np.ndarray], b: list[np.ndarray]) -> str:
        maps = {x.tobytes() for x in a}  # workers finish in any order
        return f"{sum(x.tobytes() in maps for x in b)} of {len(b)} maps equal"

    name = f"reliable labels, {len(tasks)} photos, {setup.workers} cores"
    yield Row(name, "one core, all 21 labels", 6, ours, reference, error)


def crfs(setup: Setup) -> Iterator[Row]:
    (photo,) = setup.photos(1)
    logits = 3 * smooth(81, VOC_SIZE, 1)
    logits[4:] -= 20  # improbable, as for classes that are absent: background and three classes remain
    eighty = logits.softmax(0).numpy()
    yield Row("CRF, 81 labels", "all labels", 7, partial(crf.from_probabilities, photo, eighty),
              partial(crf.from_probabilities, photo, eighty, keep=None), equal)  # fmt: skip
    if setup.device.type == "cuda":
        for labels, least in ((2, 20), (21, 50)):
            probabilities = (2 * smooth(labels, VOC_SIZE, 2)).softmax(0).numpy()
            run = partial(crf.from_probabilities, photo, probabilities, keep=None)
            yield Row(f"CRF on the GPU, {labels} labels", "pydensecrf", least,
                      partial(run, solver=on_device(setup.device)), run, equal)  # fmt: skip
        solver, photos = on_device(setup.device), setup.photos(PHOTOS_AT_ONCE)
        three = [(2 * smooth(3, VOC_SIZE, i)).softmax(0).numpy() for i in range(len(photos))]
        problems = [crf.problem_of_probabilities(p, [x]) for p, x in zip(photos, three, strict=True)]
        solve = partial(solved, pairwise=DEEPLAB, solver=solver)
        yield Row(f"CRF on the GPU, 3 labels, {len(photos)} photos", "photo by photo", 4, partial(solve, problems),
                  lambda: np.concatenate([solve([problem]) for problem in problems]), equal)  # fmt: skip


def solved(problems: Sequence[Problem], *, pairwise: Pairwise, solver: Solver) -> np.ndarray:
    """Return the label maps (N, h, w) of problems of one size with one CRF each."""
    return np.concatenate(crf.solve(problems, pairwise=pairwise, solver=solver))


def sweeps(setup: Setup) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    cams = [cam_of(i, (1 + i % 20, 1 + (i + 7) % 20)) for i in range(6)]
    truths = [np.kron(rng.integers(0, 21, (8, 10)), np.ones((47, 50), int))[:375, :500].astype(np.uint8) for _ in cams]

    def ours() -> np.ndarray:
        counts = sum(sweep.histogram(t, c, VOC_CLASSES) for t, c in zip(truths, cams, strict=True))
        return sweep.table(counts, [str(i) for i in range(1, 21)]).miou.to_numpy() / 100

    reference = partial(references.sweep, truths, cams, VOC_CLASSES, sweep.THRESHOLDS)
    yield Row("threshold sweep, 101 thresholds, 6 photos", "one evaluation per threshold", 50, ours, reference, largest)


def stores(setup: Setup) -> Iterator[Row]:
    cams = [cam_of(i, (1, 2)[: 1 + i % 2]) for i in range(64)]
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    file, dictionaries = folder / "cams.h5", folder / "npy"
    store.write(file, ((str(i), c) for i, c in enumerate(cams)), classes=["a", "b"], settings="", checkpoint="")
    full = [upsample(c.maps, c.size) for c in cams]
    references.write_dictionaries(dictionaries, full, [c.classes for c in cams])
    smaller = sum(f.stat().st_size for f in dictionaries.iterdir()) / file.stat().st_size

    def ours() -> list[np.ndarray]:
        with store.open_store([file]) as opened:
            return [opened.read(str(i)).maps for i in range(len(cams))]

    def forget() -> None:
        for path in [file, *dictionaries.iterdir()]:
            with path.open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    reference = partial(references.read_dictionaries, dictionaries, len(cams))
    for name, before in (("from disk", forget), ("from memory", None)):
        yield Row(f"CAM store, reading 64 {name}", "npy, float32, full size", 1, ours, reference,
                  lambda a, b: f"{smaller:.0f} times smaller", None, before)  # fmt: skip
    shutil.rmtree(folder)


def exports(setup: Setup) -> Iterator[Row]:
    batch = np.stack(setup.photos(8 if setup.large else 2))
    scales = (1, 0.5, 1.5, 2) if setup.large else (1, 0.5)
    for variant in (("baseline", "plain"), ("explicit", "s2k2-s3k4-s4k6" if setup.large else "s4k2")):
        ours, other = (classifier(*variant, setup.device) for _ in range(2))
        for network in (ours, other):  # large logits, as of a trained classifier: no cancellation in their sums
            network.classifier.weight.data.abs_()
        backbones.fold_batchnorm(ours)
        ours.to(memory_format=torch.channels_last).eval()
        _unjoin(other).eval()
        yield Row(f"CAM export, {'/'.join(variant)}, {len(batch)} photos, {len(scales)} scales",
                  "photo by photo, scale by scale, float32", 2 if setup.device.type == "cpu" else 5,
                  partial(_maps, ours, batch, scales), partial(references.cams, other, batch, scales),
                  fused)  # fmt: skip


def _maps(network: PatchClassifier, batch: np.ndarray, scales: Sequence[float]) -> Tensor:
    with autocast(next(network.parameters()).device, "bf16-mixed"):
        return class_maps(network, batch, scales)


def branches(setup: Setup) -> Iterator[Row]:
    device, large = setup.device, setup.large
    network = classifier("explicit", "s4k6", device)
    size = 32 if large else 14
    x = torch.randn(16 if large else 4, network.backbone.channels[3], size, size, device=device)

    def ours() -> Tensor:
        with autocast(device, "bf16-mixed" if large else "32-true"):
            out = network._patched(x, network.grids[0], network.phi1[0], network.phi2[0])
        out.float().mean().backward()
        return out.detach().float()

    def reference() -> Tensor:
        with autocast(device, "bf16-mixed" if large else "32-true"):
            out = references.patch_branch(network.backbone.stages[4:], x, 6, network.phi1[0], network.phi2[0])
        out.float().mean().backward()
        return out.detach().float()[:, :, :size, :size]

    yield Row("patch branch, 6x6, forward and back", "a loop over patches", 2 if device.type == "cpu" else 5, ours,
              reference, relative)  # fmt: skip


def trainings(setup: Setup) -> Iterator[Row]:
    device, large = setup.device, setup.large
    least = 1.8 if device.type == "cpu" else 3
    crop, batch = (512, 16) if large else (256, 8)
    images, targets = torch.randn(batch, 3, crop, crop, device=device), torch.ones(batch, VOC_CLASSES, device=device)
    quick = partial(autocast, device, "bf16-mixed")
    for variant in (("baseline", "plain"), ("explicit", "s2k2-s3k4-s4k6" if large else "s4k2")):
        network, other = classifier(*variant, device), _unjoin(classifier(*variant, device))
        network.to(memory_format=torch.channels_last)
        with quick():
            ours = in_shares(network, images)
        yield Row(f"classifier step, {'/'.join(variant)}, {batch} x {crop} px", "float32, NCHW", least,
                  partial(_step, classifier_loss, ours, images.to(memory_format=torch.channels_last), targets, quick),
                  partial(_step, classifier_loss, other, images, targets, nullcontext))  # fmt: skip
    crop, batch = (321, 10) if large else (257, 4)
    labels = torch.zeros(batch, crop, crop, dtype=torch.long, device=device)
    x = torch.randn(batch, 3, crop, crop, device=device)
    name = "resnet101" if large else "resnet50"
    ours, other = deeplab(name).to(device, memory_format=torch.channels_last), _unjoin(deeplab(name)).to(device)
    with quick():
        ours = in_shares(ours, x)
    yield Row(f"DeepLab step, {name}, {batch} x {crop} px", "float32, NCHW", least,
              partial(_step, deeplab_v2.loss, ours, x.to(memory_format=torch.channels_last), labels, quick),
              partial(_step, deeplab_v2.loss, other, x, labels, nullcontext))  # fmt: skip


def compilations(setup: Setup) -> Iterator[Row]:
    """Yield compiled networks against the same as they are, by threads on a CPU; `rates.py` has those of a GPU."""
    if setup.device.type != "cpu":
        return
    always = {"device": setup.device, "setting": "always"}
    against = "as it is, by threads"
    for backbone, batch, side in (("efficientnet_lite0", 16, 128), ("resnet50", 4, 256)):
        images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
        targets = torch.ones(batch, VOC_CLASSES)
        for variant in (("baseline", "plain"), ("explicit", "s4k2")):
            name = f"{'/'.join(variant)}, {backbone}, {batch} x {side} px"
            ours, other, ours_of_maps, other_of_maps = (
                classifier(*variant, setup.device, backbone).to(memory_format=torch.channels_last) for _ in range(4)
            )
            compile_training(ours, steps=1, **always)
            step = partial(_step, classifier_loss, ours, images, targets, nullcontext)
            plain = partial(_step, classifier_loss, in_shares(other, images), images, targets, nullcontext)
            yield Row(f"compiled step, {name}", against, 1, step, plain, before=cache(step))
            for network in (ours_of_maps, other_of_maps):
                backbones.fold_batchnorm(network.eval())
            compile_inference(ours_of_maps.backbone, photos=1, **always)
            maps = partial(_maps_of_all, ours_of_maps, images)
            yield Row(f"compiled maps, {name}", against, 1, maps, partial(_by_threads, other_of_maps, images), relative,
                      before=cache(maps))  # fmt: skip
    images, labels = torch.randn(8, 3, 192, 192), torch.zeros(8, 192, 192, dtype=torch.long)
    images = images.to(memory_format=torch.channels_last)
    ours, other = (deeplab("efficientnet_lite0", scales=(1,)).to(memory_format=torch.channels_last) for _ in range(2))
    compile_training(ours, steps=1, **always)
    step = partial(_step, deeplab_v2.loss, ours, images, labels, nullcontext)
    plain = partial(_step, deeplab_v2.loss, in_shares(other, images), images, labels, nullcontext)
    yield Row("compiled step, DeepLab, efficientnet_lite0, 8 x 192 px", against, 1, step, plain, before=cache(step))


def _step(loss: Loss, network: nn.Module, images: Tensor, targets: Tensor, context: Callable[[], Any]) -> float:
    """Return the loss after a forward and a backward pass."""
    with context():
        value = loss(network, images, targets)
    value.backward()
    network.zero_grad(set_to_none=True)
    return value.item()


def classifier_loss(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of the summed logits."""
    return classification_loss(network(images), targets, 0)


@torch.inference_mode()
def _maps_of_all(network: PatchClassifier, images: Tensor) -> Tensor:
    return network.maps(images)


def _by_threads(network: PatchClassifier, images: Tensor) -> Tensor:
    count = threads_for(network, len(images))
    return torch.cat([maps for _, maps in side_by_side(partial(_maps_of_all, network), images.chunk(count), count)])


def pairs(setup: Setup) -> Iterator[Row]:
    side, batch = 128, 32 if setup.large else 4
    boundary = torch.stack([smooth(1, (side, side), i)[0].sigmoid() for i in range(batch)])
    # Any of several equal maxima may get the gradient: noise makes equal maxima rare.
    boundary = (boundary + 0.01 * torch.rand(boundary.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 0.99)
    boundary = boundary.to(setup.device)
    labels = torch.stack([smooth(4, (side, side), i).argmax(0) for i in range(batch)]).to(setup.device)
    labels[labels == 3] = 255

    def step(loss: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
        b = boundary.to(dtype, copy=True).requires_grad_()
        loss(b).backward()
        return b.grad

    ours = partial(step, lambda b: losses.total(losses.pair_losses(b, labels.to(torch.uint8), 10)))
    reference = partial(step, lambda b: references.pair_losses(b, labels, 10))
    yield Row(f"IRNet pair loss, {batch} x {side}x{side}, radius 10", "index_select over all paths", 5, ours, reference,
              relative, partial(reference, torch.float64))  # fmt: skip


def inputs_of_training(setup: Setup) -> Iterator[Row]:
    augmentation = Augmentation(512, long_side=(320, 640))
    encoded = []
    for photo in setup.photos(16):
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "JPEG", quality=95)
        encoded.append(buffer.getvalue())
    mean, std = backbones.IMAGENET_MEAN, backbones.IMAGENET_STD

    def ours() -> None:
        crops = []
        for i, data in enumerate(encoded):
            photo, rng = np.array(Image.open(io.BytesIO(data)).convert("RGB")), np.random.default_rng(i)
            crops.append(cut_photo(photo, draw_window(photo.shape[:2], augmentation, rng), 512))
        normalise_crops(default_collate(crops), mean, std, torch.device("cpu"))

    def reference() -> None:
        for i, data in enumerate(encoded):
            references.training_view(data, augmentation, mean, std, np.random.default_rng(i))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker of a DataLoader
    yield Row("input pipeline, 16 photos to crops of 512", "decode, resize, normalise, crop", 2, ours, reference)
    torch.set_num_threads(threads)


ROWS = (walks, reliable, crfs, sweeps, stores, exports, branches, trainings, compilations, pairs, inputs_of_training)


# Helpers


def relative(a: Tensor, b: Tensor) -> str:
    """Return the largest difference relative to the maximum of the reference."""
    return f"{((a - b).abs().max() / b.abs().max()).item():.0e}"


def largest(a: np.ndarray, b: np.ndarray) -> str:
    """Return the largest difference."""
    return f"{np.abs(a - b).max():.0e}"


def fused(a: Tensor, b: Tensor) -> str:
    """Return the largest difference of the fused maps (0..1) of branches (B, branches, classes, h, w)."""
    return f"{max((fuse(x, 'mean') - fuse(y, 'mean')).abs().max().item() for x, y in zip(a, b, strict=True)):.0e}"


def equal(a: np.ndarray, b: np.ndarray) -> str:
    """Return the share of equal labels."""
    return f"{100 * (a == b).mean():.3f} % equal"


def classifier(method: str, variant: str, device: torch.device, backbone: str = "resnet50") -> PatchClassifier:
    """Return a classifier of the 20 classes of VOC with random weights."""
    torch.manual_seed(0)
    patched, global_branch = grids.branches(method, variant)
    network = PatchClassifier(
        backbones.build(backbone), VOC_CLASSES, grids=patched, global_branch=global_branch, stop_at_patches=True
    )
    return network.to(device)


def deeplab(backbone: str, **options: Any) -> nn.Module:
    """Return a DeepLab for the 20 classes of VOC with random weights."""
    settings = DeepLabV2(backbone=backbone, **options)
    return deeplab_v2.build("deeplab_v2", settings, VOC_CLASSES, weights="none", frozen_stages=-1)


def _unjoin(network: nn.Module) -> nn.Module:
    """Return the network with separate BatchNorm layers instead of BatchNorm folded into convolutions."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, backbones.FrozenNormConv2d):
                setattr(parent, name, references.UnjoinedNorm(child))
    return network


if __name__ == "__main__":
    try:
        main(tyro.cli(Settings, description=__doc__))
    except UserError as problem:
        sys.exit(f"error: {problem}")
