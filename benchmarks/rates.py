"""Measure images per second of every step at the paper's sizes on one device; calculate the hours for whole datasets.

    python benchmarks/rates.py                  # measures, saves results/rates.csv, prints the hours
    python benchmarks/rates.py --compile always --only train predict     # compiled networks, of some steps
    python benchmarks/rates.py --rates FILE     # prints the hours only, from rates measured elsewhere

Networks have random weights and random inputs of the right shape, on which speed does not depend. Steps of a single CPU
core (decoding, CRFs, writing) are measured on one core and divided by `cores`. The share of the peak is relative to a
large matrix product in bfloat16 on the same device.
"""

import io
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import tyro
from bench import VOC_CLASSES, VOC_SIZE, Setup, cam_of, classifier, classifier_loss, deeplab, smooth
from maps import class_maps
from PIL import Image
from tasks import label_reliably
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from walk import inputs

from ppl.cam import store
from ppl.cam.settings import Maps
from ppl.crf import dense as crf
from ppl.data.crops import Augmentation, cut_photo, draw_window
from ppl.jobs.compiled import UNCOMPILED, Compilation, compile_inference, compile_training
from ppl.jobs.devices import autocast, cast_weights, set_arithmetic
from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic
from ppl.jobs.settings import Compile
from ppl.measure import sweep
from ppl.networks import backbones
from ppl.refine import irnet
from ppl.refine.settings import IRNet
from ppl.refine.walk import propagate_batch
from ppl.segment import deeplab_v2
from ppl.segment.inference import log_probabilities
from ppl.training.optimizers import optimizer as optimizer_of

EXPLICIT = ("explicit", "s2k2-s3k4-s4k6")
CUDA_GRAPH_RUNS = 3
"""Runs before a compiled step is measured: torch warms up, records its CUDA graphs and replays them."""


@dataclass(frozen=True)
class Settings:
    out: Path = Path("results/rates.csv")
    rates: Path | None = None
    """File of measured rates, instead of measuring."""
    only: tuple[str, ...] = ()
    """Select steps whose names contain one of these words, without hours; empty: all."""
    compile: Compile = "never"
    """`always`: networks are compiled as by `hardware.compile`; the first run is shown with its compilation."""
    batch: Literal["auto", "paper", "small"] = "auto"
    """Batches of the paper, or of two images; auto: the paper's on a GPU, else small."""
    repeats: int = 3
    data: Path | None = None
    """Folder of VOC-sized photos; default: photos of the demo, enlarged."""
    devices: int = 1
    """Number of devices, for the hours."""
    cores: int = 16
    """Number of CPU cores, for the hours."""


@dataclass(frozen=True)
class Step:
    """A step that processes `images` images, limited by `on`."""

    name: str
    on: Literal["device", "core"]
    images: int
    run: Callable[[], Any]
    compilation: Compilation = UNCOMPILED


@dataclass(frozen=True)
class Plan:
    """Work on a dataset: numbers of training and predicted images, epochs, and DeepLab's steps of 10 images."""

    name: str
    train: int
    predict: int
    deeplab_steps: int
    epochs: int = 5
    irnet_epochs: int = 3


PLANS = (
    Plan("PASCAL VOC 2012", 10_582, 1_449 + 1_456, 20_000),
    Plan("COCO 2014", 82_081, 40_137, 100_000),
    Plan("1.7 million photos, one epoch each", 1_700_000, 50_000, 170_000, epochs=1, irnet_epochs=1),
    Plan(
        "100 million photos, labelled by the networks of the 1.7 million", 100_000_000, 0, 0, epochs=0, irnet_epochs=0
    ),
)


def main(settings: Settings) -> None:
    if settings.rates is None:
        rates = pd.DataFrame()
        for row in measured(settings):
            rates = pd.concat([rates, pd.DataFrame([row])], ignore_index=True)
            settings.out.parent.mkdir(parents=True, exist_ok=True)
            with atomic(settings.out) as temporary:  # after every step, so that a time limit loses none
                rates.to_csv(temporary, index=False)
        if rates.empty:
            raise UserError(f"--only {' '.join(settings.only)}", "matches no step", "omit it to measure all")
    else:
        rates = read_rates(settings.rates)
    if settings.only:
        return
    per_second = dict(zip(rates.step, rates.images_per_second, strict=True))
    for plan in PLANS:
        print(f"\n{plan.name}: {settings.devices} device(s), {settings.cores} cores")
        print(hours(plan, per_second, devices=settings.devices, cores=settings.cores).to_string(index=False))


def read_rates(path: Path) -> pd.DataFrame:
    """Return the rates that `main` has written; UserError if the file is no such table."""
    try:
        rates = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(path, reason(error), "name a CSV written by a run without --rates") from error
    if not {"step", "images_per_second"} <= set(rates.columns):
        raise UserError(path, "not a table of rates", "name a CSV written by a run without --rates")
    return rates


def measured(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the rates of each step: step, on, images_per_second, tflops (of the device), share_of_peak.

    Also `first_seconds` of its first run, with compilation if there is one, and whether it is `compiled`.
    """
    set_arithmetic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    paper = settings.batch == "paper" or (settings.batch == "auto" and device.type == "cuda")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    peak = _peak(device)
    print(f"{name}, torch {torch.__version__}: a matrix product in bfloat16 reaches {peak:.2f} TFLOP/s", flush=True)
    for step in steps(device, paper, Setup(device, paper, 1, settings.data), settings.compile):
        if settings.only and not any(word in step.name for word in settings.only):
            continue
        first = _seconds(step.run, device)
        with FlopCounterMode(display=False) as counter, step.compilation.paused():
            step.run()
        for _ in range(CUDA_GRAPH_RUNS if step.compilation.parts else 0):
            step.run()
        seconds = statistics.median(_seconds(step.run, device) for _ in range(settings.repeats))
        tflops = counter.get_total_flops() / seconds / 1e12 if step.on == "device" else float("nan")
        share = f"{tflops:8.2f} TFLOP/s  {100 * tflops / peak:5.1f} % of that" if step.on == "device" else "a core"
        compiled = f"  compiled, first run {first:.0f} s" if step.compilation.parts else ""
        print(f"{step.name:42} {step.images / seconds:10.2f} images/s  {share}{compiled}", flush=True)
        yield {
            "step": step.name,
            "on": step.on,
            "images_per_second": step.images / seconds,
            "tflops": tflops,
            "share_of_peak": tflops / peak,
            "first_seconds": first,
            "compiled": bool(step.compilation.parts),
        }
        step.compilation.stop()


def hours(plan: Plan, per_second: dict[str, float], *, devices: int, cores: int) -> pd.DataFrame:
    """Return images, hours and GB of each step of a plan in workflow order, with a last row of sums.

    Assumes that devices and cores are fully used, and that decoding and CRFs overlap with the computation on the
    device: the slower of the two counts.
    """
    train, passes = plan.train, plan.epochs * plan.train
    cams = _bytes_of_cams() * train
    masks = 4e3  # bytes of a label map of a VOC photo
    rows: list[tuple[str, float, list[tuple[str, str]], float]] = [
        ("classifier, baseline", passes, [("train baseline/plain", "device"), ("decode and crop", "core")], 0),
        ("classifier, explicit", passes, [("train explicit/s2k2-s3k4-s4k6", "device"), ("decode and crop", "core")], 0),
        ("classifier, implicit s2", passes, [("train implicit/s2k2", "device"), ("decode and crop", "core")], 0),
        ("classifier, implicit s3", passes, [("train implicit/s3k4", "device"), ("decode and crop", "core")], 0),
        ("classifier, implicit s4", passes, [("train implicit/s4k6", "device"), ("decode and crop", "core")], 0),
        ("CAMs of the main variant", train, [("CAMs explicit", "device"), ("write CAM", "core")], cams),
        ("reliable labels", train, [("reliable labels", "core")], masks * train),
        ("IRNet", plan.irnet_epochs * train, [("train IRNet", "device"), ("decode and crop", "core")], 0),
        ("walk and pseudo labels", train, [("boundaries and walk", "device")], masks * train),
        ("DeepLab", 10 * plan.deeplab_steps, [("train DeepLab", "device"), ("decode and crop", "core")], 0),
        ("predictions with CRF", plan.predict, [("predict", "device"), ("CRF 21 labels", "core")],
         2 * masks * plan.predict),
    ]  # fmt: skip
    missing = {step for _, _, limits, _ in rows for step, _ in limits} - set(per_second)
    if missing:
        raise UserError("rates", f"missing steps: {', '.join(sorted(missing))}", "measure them again")
    table = []
    for name, images, limits, size in rows:
        seconds = [images / (per_second[step] * (devices if on == "device" else cores)) for step, on in limits]
        table.append((name, int(images), max(seconds) / 3600, limits[int(np.argmax(seconds))][1], size / 1e9))
    table = pd.DataFrame(table, columns=["step", "images", "hours", "limited by", "GB written"])
    table.loc[len(table)] = ("together", int(table.images.sum()), table.hours.sum(), "", table["GB written"].sum())
    return table.round({"hours": 2, "GB written": 2})


def steps(device: torch.device, paper: bool, setup: Setup, compile: Compile = "never") -> Iterator[Step]:
    """Yield every step at the paper's sizes, its network compiled as by `hardware.compile`."""
    for_training = partial(compile_training, device=device, setting=compile, steps=1)
    for_inference = partial(compile_inference, device=device, setting=compile, photos=1)
    batch = 16 if paper else 2
    targets = torch.ones(batch, VOC_CLASSES, device=device)
    crops = torch.randn(batch, 3, 512, 512, device=device).to(memory_format=torch.channels_last)
    for variant in (("baseline", "plain"), EXPLICIT, ("implicit", "s2k2"), ("implicit", "s3k4"), ("implicit", "s4k6")):
        network = classifier(*variant, device).to(memory_format=torch.channels_last)
        loss = partial(classifier_loss, network, crops, targets)
        compilation = for_training(network)
        yield Step(
            f"train {'/'.join(variant)}", "device", batch, _training(network, loss, device, compilation), compilation
        )
    network = classifier(*EXPLICIT, device).eval()
    backbones.fold_batchnorm(network)
    cast_weights(network.backbone, "bf16-mixed")
    network.to(memory_format=torch.channels_last)
    photos = np.stack(setup.photos(8 if paper else 1))
    maps = partial(class_maps, network, photos, Maps().scales)
    compilation = for_inference(network.backbone)
    yield Step("CAMs explicit", "device", len(photos), _computing(device, maps, compilation), compilation)

    batch = 32 if paper else 2
    crops = torch.randn(batch, 3, 512, 512, device=device).to(memory_format=torch.channels_last)
    labels = smooth(3, (512, 512), 0).argmax(0).to(torch.uint8).expand(batch, -1, -1).to(device)
    network = irnet.build(IRNet(), "none").to(device, memory_format=torch.channels_last)
    loss = partial(irnet.loss, network, crops, labels, IRNet())
    compilation = for_training(network)
    yield Step("train IRNet", "device", batch, _training(network, loss, device, compilation), compilation)
    compilation.stop()
    cast_weights(network.eval().backbone, "bf16-mixed")
    x = crops[:4, :, : VOC_SIZE[0], : VOC_SIZE[1]].contiguous(memory_format=torch.channels_last)
    scores, _ = inputs(2, math.ceil(VOC_SIZE[0] / 4), math.ceil(VOC_SIZE[1] / 4))
    yield Step(
        "boundaries and walk", "device", len(x), _computing(device, partial(_walk, network, x, scores.to(device)))
    )

    batch = 10 if paper else 2
    crops = torch.randn(batch, 3, 321, 321, device=device).to(memory_format=torch.channels_last)
    labels = torch.zeros(batch, 321, 321, dtype=torch.long, device=device)
    network = deeplab("resnet101").to(device, memory_format=torch.channels_last)
    loss = partial(deeplab_v2.loss, network, crops, labels)
    compilation = for_training(network)
    yield Step("train DeepLab", "device", batch, _training(network, loss, device, compilation), compilation)
    compilation.stop()
    network.eval()
    backbones.fold_batchnorm(network)
    cast_weights(network, "bf16-mixed")
    photos = np.stack(setup.photos(4 if paper else 1))
    predict = partial(log_probabilities, network, photos, (1,))
    compilation = for_inference(network.backbone)
    yield Step("predict", "device", len(photos), _computing(device, predict, compilation), compilation)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield from _of_a_core(setup)
    torch.set_num_threads(threads)


def _of_a_core(setup: Setup) -> Iterator[Step]:
    photos = setup.photos(8)
    encoded = []
    for photo in photos:
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "JPEG", quality=95)
        encoded.append(buffer.getvalue())
    augmentation, rng = Augmentation(512, long_side=(320, 640)), np.random.default_rng(0)

    def crop() -> None:
        for data in encoded:
            photo = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
            window = draw_window(photo.shape[:2], augmentation, rng)
            cut_photo(photo, window, 512)

    yield Step("decode and crop", "core", len(encoded), crop)
    cams = [cam_of(i, (1, 2)[: 1 + i % 2]) for i in range(16)]

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            named = ((str(i), cam) for i, cam in enumerate(cams))
            store.write(Path(folder) / "cams.h5", named, classes=["a", "b"], settings="", checkpoint="")

    yield Step("write CAM", "core", len(cams), write)
    tasks = list(zip(photos[:2], cams, strict=False))
    yield Step("reliable labels", "core", len(tasks), lambda: [label_reliably(task) for task in tasks])
    probabilities = (2 * smooth(VOC_CLASSES + 1, VOC_SIZE, 2)).softmax(0).numpy()
    probabilities[4:] *= 0.01
    yield Step("CRF 21 labels", "core", 1, lambda: crf.from_probabilities(photos[0], probabilities))
    truth = smooth(4, VOC_SIZE, 3).argmax(0).numpy().astype(np.uint8)
    yield Step("sweep", "core", len(cams), lambda: [sweep.histogram(truth, cam, VOC_CLASSES) for cam in cams])


def _training(
    network: nn.Module, loss: Callable[[], torch.Tensor], device: torch.device, compilation: Compilation
) -> Callable[[], None]:
    """Return a training step: forward, backward, SGD."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = optimizer_of("sgd", [{"params": parameters, "lr": 1e-6, "weight_decay": 1e-4}], momentum=0.9)

    def gradients() -> None:
        with autocast(device, "bf16-mixed"):
            value = loss()
        value.backward()

    def step() -> None:
        compilation.run(gradients)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _computing(
    device: torch.device, function: Callable[[], Any], compilation: Compilation = UNCOMPILED
) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode(), autocast(device, "bf16-mixed"):
            compilation.run(function)

    return run


def _walk(network: irnet.IRNet, photos: torch.Tensor, scores: torch.Tensor) -> None:
    boundaries = irnet.boundary_map(network, photos, IRNet().training.crop).float()
    propagate_batch([scores] * len(photos), boundaries)


def _bytes_of_cams() -> float:
    """Return the bytes in the store of a VOC-sized photo with 1.5 classes: float16 at stride 4, uncompressed."""
    h, w = VOC_SIZE
    return 1.5 * 2 * math.ceil(h / 4) * math.ceil(w / 4)


def _peak(device: torch.device) -> float:
    """Return the TFLOP/s of a matrix product in bfloat16."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    torch.mm(a, b)
    return 2 * side**3 / min(_seconds(lambda: torch.mm(a, b), device) for _ in range(5)) / 1e12


def _seconds(function: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    try:
        main(tyro.cli(Settings, description=__doc__))
    except UserError as problem:
        sys.exit(f"error: {problem}")
