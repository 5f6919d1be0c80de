"""The ladder of labels: networks trained alike on pseudo labels of several kinds, the rungs of benchmarks/ladder.yaml.

Every rung has the classifiers and CAMs of the same variants and random seeds. A job whose output exists is skipped, so
that a run resumes where it stopped. Below the folder `out`:

    classifiers/METHOD/GRIDS/SEED/{classifier.pt,cams.h5,threshold.json}
    RUNG/METHOD/GRIDS/SEED/{pseudo/,segmenter.pt,predictions/,figures.json,settings.yaml}
    ladder.csv: a line per network

Choices are made on every second photo of `val`; `final` measures on the other half.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml

from ppl.cam.settings import AUTO
from ppl.cam.threshold import THRESHOLD
from ppl.classify import variants
from ppl.data.dataset import Dataset
from ppl.data.label_maps import find_maps
from ppl.data.masks import IGNORE, read_mask, read_truth
from ppl.experiment.settings import Experiment
from ppl.experiment.stored import result_settings
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic, write_text
from ppl.jobs.shards import shard_of
from ppl.measure.metrics import confusion, mean_iou
from ppl.workflow import config, parameters

RUNGS = Path(__file__).with_suffix(".yaml")
SMALL = Path(__file__).parents[1] / "config" / "small.yaml"
SIDE = 256
"""Longest side of a photo, in pixels, to which the crops of small.yaml belong."""
STRIDE = 32
MASKS, NEXT_SEED = "masks", "next seed"
TRAIN, SEEDS, VAL = "trainaug", "train", "val"
HALVES = {"choice": "1/2", "final": "2/2"}
"""Every second photo of the validation split, and the others."""
KINDS = ("raw", "crf")
CAMS = "cams.h5"
CAM_KEYS = ("cam.method", "cam.{method}", "cam.maps", "cam.prototypes", "hardware.precision")
REFINER = ("refine.network", "refine.{network}")
NETWORK = ("segment.network", "segment.{network}")
# As the workflow sets them for its jobs (workflow/rules/common.smk).
MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
    "GOMP_SPINCOUNT": "1000",
}


@dataclass(frozen=True)
class Settings:
    """The ladder of labels."""

    data: Path = Path("results/animals-256")
    """VOC folder with the splits trainaug, train (with masks) and val (with masks), from benchmarks/animals.py."""
    side: int = SIDE
    """Longest side of its photos, in pixels; crops grow with it."""
    rungs: tuple[str, ...] = ()
    """Rungs of ladder.yaml, by default all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Random seeds."""
    device: Literal["cpu", "gpu"] = "cpu"
    cores: int = 2
    final: bool = False
    """Measure also on the half of `val` that no choice was made on."""
    dry_run: bool = False
    """Print the commands that would run."""
    out: Path = Path("results/recipes")


class Rung(NamedTuple):
    """An entry of ladder.yaml."""

    name: str
    variants: tuple[str, ...]
    settings: Mapping[str, Any]
    labels: str
    """The rung whose labels it takes, or `masks`; itself if it makes its own."""
    partner: str
    """With what its labels must agree; empty if with nothing."""


class Run(NamedTuple):
    """A network of a rung."""

    rung: str
    variant: str
    seed: int


@dataclass(frozen=True)
class Job:
    """A command of the package that writes `out`, skipped if that exists."""

    out: Path
    module: str
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...]

    @property
    def words(self) -> list[str]:
        """The command without Python."""
        return ["-m", self.module, *self.arguments]


@dataclass(frozen=True)
class Ladder:
    """Jobs and files of the networks of a ladder."""

    settings: Settings
    rungs: Mapping[str, Rung] = field(default_factory=lambda: read_rungs(RUNGS))

    def runs(self) -> list[Run]:
        """Return the networks to train; UserError for an unknown rung, or for too few random seeds for a control."""
        names = self.settings.rungs or tuple(self.rungs)
        if unknown := [name for name in names if name not in self.rungs]:
            raise UserError("--rungs", f"unknown rung {unknown[0]!r}", f"choose of {', '.join(self.rungs)}")
        runs = []
        for rung in (self.rungs[name] for name in names):
            if rung.partner == NEXT_SEED and len(self.settings.seeds) < 2:
                raise UserError(f"rung {rung.name}", "needs two random seeds", "name more --seeds, or other --rungs")
            if rung.labels == MASKS and not self.has_all_masks:
                print(f"rung {rung.name} left out: {self.settings.data} lacks masks of {TRAIN}", file=sys.stderr)
                continue
            runs += [Run(rung.name, variant, seed) for variant in rung.variants for seed in self.settings.seeds]
        return runs

    @cached_property
    def dataset(self) -> Dataset:
        """The photos."""
        return Dataset.open(self.settings.data)

    @cached_property
    def has_all_masks(self) -> bool:
        """Whether there is a mask of every training photo."""
        return all(self.dataset.mask(image_id).exists() for image_id in self.dataset.split(TRAIN))

    def folder(self, run: Run) -> Path:
        """Return the folder of a network."""
        return self.settings.out / run.rung / run.variant / str(run.seed)

    def classifier(self, run: Run) -> Path:
        """Return the classifier of a network's variant and random seed, which all rungs share."""
        return self.settings.out / "classifiers" / run.variant / str(run.seed) / "classifier.pt"

    def experiment(self, rung: str) -> Experiment:
        """Return the settings of a rung: small.yaml, then those of photos and device, then the rung's own."""
        source = self.rungs[self._source(rung)]
        overrides = config.overlay(of_photos_and_device(self.settings), source.settings)
        defaults = yaml.safe_load(SMALL.read_text(encoding="utf-8"))["defaults"]
        return config.resolve({"defaults": defaults, "experiments": {"ladder": overrides}})["ladder"].settings

    def _source(self, rung: str) -> str:
        """Return the rung that makes the labels of a rung."""
        labels = self.rungs[rung].labels
        return rung if labels == MASKS else labels

    def jobs(self, runs: Sequence[Run]) -> list[Job]:
        """Return all jobs that lead to networks and predictions, each once, after those whose outputs it reads."""
        jobs = [job for run in runs for job in (*self._labels(run), *self._network(run))]
        return list({job.out: job for job in jobs}.values())

    def labels(self, run: Run) -> Path:
        """Return the folder of the labels from which a network learns."""
        rung = self.rungs[run.rung]
        if rung.labels == MASKS:
            return self.settings.data / "SegmentationClass"
        return self.folder(run) / "agreed" if rung.partner else self.folder(run._replace(rung=rung.labels)) / "pseudo"

    def _labels(self, run: Run) -> Iterator[Job]:
        """Yield the jobs that lead to the labels of a network."""
        sources = self.sources(run)
        for source in sources:
            yield from self._pseudo(source)
        if self.rungs[run.rung].partner:
            folders = [self.folder(source) / "pseudo" for source in sources]
            words = f"--split {TRAIN} --workers {self.settings.cores}"
            yield self._job(self.labels(run), "ppl.refine.agree", words, labels=folders)

    def sources(self, run: Run) -> list[Run]:
        """Return whose pseudo labels a network learns from: one, or two that must agree; none if it has the masks."""
        rung = self.rungs[run.rung]
        if rung.labels == MASKS:
            return []
        own = run._replace(rung=rung.labels)
        return [own, self._partner(own, rung.partner)] if rung.partner else [own]

    def _partner(self, run: Run, partner: str) -> Run:
        """Return the labels with which those of a network must agree."""
        seeds = self.settings.seeds
        if partner == NEXT_SEED:
            return run._replace(seed=seeds[(seeds.index(run.seed) + 1) % len(seeds)])
        return run._replace(variant=partner)

    def _classifier(self, run: Run) -> Iterator[Job]:
        """Yield the jobs of a variant's classifier and its CAMs; those of the variant that it starts from first."""
        settings, (method, grids), out = self.experiment(run.rung), run.variant.split("/"), self.classifier(run)
        inputs = {}
        if earlier := variants.start(method, grids):
            start = run._replace(variant="/".join(earlier))
            yield from self._classifier(start)
            inputs["start"] = [self.classifier(start)]
        words = (
            f"--train_split {TRAIN} --val_split {VAL} --method {method} --grids {grids}"
            f" {parameters.flags(settings, 'classify.architecture', 'hardware.precision')}"
            f" {parameters.training_flags(settings.classify, method, grids)}"
            f" {self._training(run, 'ppl.classify.train', 'classify.architecture')} {self._devices}"
        )
        log = out.with_name("classify.csv")
        yield self._job(out, "ppl.classify.train", words, **inputs, log=log)
        words = f"--split {TRAIN} {parameters.flags(settings, *CAM_KEYS)} {self._devices}"
        yield self._job(out.with_name(CAMS), "ppl.cam.export", words, classifier=[out])

    def _pseudo(self, run: Run) -> Iterator[Job]:
        """Yield the jobs that lead to pseudo labels."""
        yield from self._classifier(run)
        settings, folder, classifier = self.experiment(run.rung), self.folder(run), self.classifier(run)
        cams = [classifier.with_name(CAMS)]
        # A threshold that is chosen depends on nothing but the CAMs, so all rungs share it.
        threshold = (classifier.parent if settings.cam.threshold == AUTO else folder) / THRESHOLD

        def job(out: Path, module: str, *keys: str, **inputs: Sequence[Path]) -> Job:
            words = f"--split {TRAIN} {parameters.flags(settings, *keys)} {self._devices}"
            return self._job(out, f"ppl.{module}", words, cams=cams, **inputs)

        yield job(threshold, "cam.choose_threshold", "cam.threshold", classifier=[classifier])
        crf, labels = ("refine.pairwise", "hardware.crf"), ("refine.labels.margins", "refine.keep_classes")
        if settings.refine.network == "none":
            keys = ("refine.reliable.confidence", "refine.reliable.iterations", *labels, *crf)
            yield job(folder / "pseudo", "refine.crf_seeds", *keys, threshold=[threshold])
            return
        keys = ("refine.reliable", "refine.keep_classes", *crf)
        yield job(folder / "reliable", "refine.reliable", *keys, threshold=[threshold])
        words = (
            f"--train_split {TRAIN} {parameters.flags(settings, *REFINER, 'hardware.precision', without='walk')}"
            f" {self._training(run, 'ppl.refine.train_refiner', *REFINER)} {self._devices}"
        )
        refiner, log = folder / "refiner.pt", folder / "refiner.csv"
        yield self._job(refiner, "ppl.refine.train_refiner", words, labels=[folder / "reliable"], log=log)
        keys = (*REFINER, *labels, "hardware.precision", *crf)
        yield job(folder / "pseudo", "refine.walk_split", *keys, threshold=[threshold], network=[refiner])

    def _network(self, run: Run) -> Iterator[Job]:
        """Yield the training of a network and its predictions."""
        settings, folder = self.experiment(run.rung), self.folder(run)
        words = (
            f"--train_split {TRAIN}"
            f" {parameters.flags(settings, *NETWORK, 'segment.training', 'hardware.precision')}"
            f" {self._training(run, 'ppl.segment.train', *NETWORK)} {self._devices}"
        )
        segmenter, log = folder / "segmenter.pt", folder / "segmenter.csv"
        yield self._job(segmenter, "ppl.segment.train", words, labels=[self.labels(run)], log=log)
        flags = parameters.flags(settings, "segment.prediction", "hardware.precision", "hardware.crf")
        for half in self.halves:
            words = f"--split {VAL} --shard {HALVES[half]} {flags} {self._devices}"
            yield self._job(self.predictions(run, half), "ppl.segment.predict_split", words, checkpoint=[segmenter])

    @property
    def halves(self) -> tuple[str, ...]:
        """The halves of the validation split to measure on."""
        return tuple(HALVES) if self.settings.final else ("choice",)

    def predictions(self, run: Run, half: str) -> Path:
        """Return the folder of a network's predictions."""
        return self.folder(run) / "predictions" / half

    def _training(self, run: Run, module: str, *keys: str) -> str:
        """Return the flags of random seed and code that all trainings have."""
        return f"--random_seed {run.seed} --code {parameters.code(self.experiment(run.rung), module, *keys)}"

    @property
    def _devices(self) -> str:
        gpu = int(self.settings.device == "gpu")
        return f"--hardware.gpu {gpu} --hardware.workers {self.settings.cores}"

    def _job(self, out: Path, module: str, words: str, log: Path | None = None, **inputs: Sequence[Path]) -> Job:
        """Return a job from the shell words of its settings and the files of each flag."""
        files = {"data": [self.settings.data], **inputs, **({"log": [log]} if log else {}), "out": [out]}
        flags = [word for name, paths in files.items() for word in (f"--{name}", *map(str, paths))]
        needed = tuple(path for paths in inputs.values() for path in paths)
        return Job(out, module, (*flags, *shlex.split(words)), needed)


def read_rungs(path: Path) -> dict[str, Rung]:
    """Read the rungs of a file such as ladder.yaml, by name."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        name: Rung(
            name,
            tuple(entry.get("variants", content["variants"])),
            entry.get("settings", {}),
            entry.get("labels", name),
            entry.get("partner", ""),
        )
        for name, entry in content["rungs"].items()
    }


def of_photos_and_device(settings: Settings) -> dict[str, Any]:
    """Return the settings of photos of a longest side: small.yaml's crops, grown with it; and those of the device."""
    scale = settings.side / SIDE
    crop = STRIDE * int(np.ceil(224 * scale / STRIDE))
    on_gpu = settings.device == "gpu"
    return {
        "data": {"source": "folder", "folder": {"path": str(settings.data)}, "train_split": TRAIN, "test_split": VAL},
        "hardware": {"precision": "bf16-mixed", "crf": "gpu"} if on_gpu else {"precision": "32-true", "crf": "cpu"},
        "classify": {"training": {"long_side": [round(192 * scale), round(352 * scale)], "crop": crop}},
        "refine": {"irnet": {"training": {"crop": crop}}},
        "segment": {"training": {"crop": crop}},
    }


def main(settings: Settings) -> None:
    """Train and measure all networks, then write ladder.csv and print means over the random seeds."""
    ladder = Ladder(settings)
    runs = ladder.runs()
    jobs = ladder.jobs(runs)
    if settings.dry_run:
        for job in jobs:
            print(shlex.join(["python", *job.words]))
        return
    for run in runs:
        for needed in (run, *ladder.sources(run)):
            check_settings(ladder, needed)
    waiting = [job for job in jobs if not job.out.exists()]
    for i, job in enumerate(waiting, start=1):
        seconds = execute(job)
        print(f"{i}/{len(waiting)} {job.out}: {seconds:.0f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame([{**run._asdict(), **figures(ladder, run)} for run in runs])
    with atomic(settings.out / "ladder.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.2f")
    print(summary(table))


def summary(table: pd.DataFrame) -> str:
    """Return mean and standard deviation over the random seeds, a line per rung and variant."""
    values = table.drop(columns="seed").groupby(["rung", "variant"], sort=False)
    mean, spread = values.mean(), values.std()
    cells = {
        name: [f"{m:.1f} ± {s:.1f}" if s == s else f"{m:.1f}" for m, s in zip(mean[name], spread[name], strict=True)]
        for name in mean.columns
    }
    return pd.DataFrame(cells, index=mean.index).to_string()


def check_settings(ladder: Ladder, run: Run) -> None:
    """Write the settings of a network and of its classifier beside them; UserError if results there have others."""
    values = result_settings(ladder.experiment(run.rung))
    shared = {key: values[key] for key in ("data", "classify", "hardware")} | {
        "cam": {key: value for key, value in values["cam"].items() if key != "threshold"}
    }
    rung = ladder.rungs[run.rung]
    own = {"settings": values, "labels": rung.labels, "partner": rung.partner}
    for folder, needed in ((ladder.classifier(run).parent, shared), (ladder.folder(run), own)):
        file, text = folder / "settings.yaml", yaml.safe_dump(needed, sort_keys=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not set(folder.iterdir()) - {file}:
            write_text(file, text)
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            raise UserError(file, "the results here have other settings", "delete its folder, or name another --out")


def execute(job: Job) -> float:
    """Run a job and return its seconds; UserError that ends in the last line of its log if it fails."""
    job.out.parent.mkdir(parents=True, exist_ok=True)
    log, start = job.out.with_name(f"{job.out.name}.log"), time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, *job.words]
        environment = os.environ | MEMORY
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    if code:
        last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        raise UserError(job.out, f"{job.module} failed: {last}", f"see {log}")
    return time.monotonic() - start


def figures(ladder: Ladder, run: Run) -> dict[str, float]:
    """Return the figures of a network and its labels in percent; figures.json keeps them until a file is newer."""
    file, dataset = ladder.folder(run) / "figures.json", ladder.dataset
    halves: dict[str, Callable[[], dict[str, float]]] = {
        half: lambda half=half: of_predictions(dataset, half, ladder.predictions(run, half)) for half in ladder.halves
    }
    parts = {"labels": lambda: of_labels(dataset, ladder.labels(run)), **halves}
    newest = max(ladder.predictions(run, half).stat().st_mtime for half in ladder.halves)
    known = json.loads(file.read_text()) if file.exists() and file.stat().st_mtime >= newest else {}
    values = {name: known.get(name) or measure() for name, measure in parts.items()}
    if values.keys() - known.keys():
        write_text(file, json.dumps(known | values))
    return {name: value for part in values.values() for name, value in part.items()}


def of_labels(dataset: Dataset, folder: Path) -> dict[str, float]:
    """Return share, precision (also of foreground and background) and mIoU of the labelled pixels of `train`."""
    image_ids, size = dataset.split(SEEDS), len(dataset.classes)
    matrix, pixels = np.zeros((size + 1, size + 1), np.int64), 0
    for image_id, path in zip(image_ids, find_maps([folder], image_ids), strict=True):
        truth, labels = read_truth(dataset.mask(image_id), size), read_mask(path)
        pixels += int((truth != IGNORE).sum())
        matrix += confusion(np.where(labels == IGNORE, IGNORE, truth), labels, size)
    hits, predicted = np.diagonal(matrix), matrix.sum(axis=0)
    values = {
        "labelled": matrix.sum() / pixels,
        "right": hits.sum() / max(1, matrix.sum()),
        "foreground": hits[1:].sum() / max(1, predicted[1:].sum()),
        "background": hits[0] / max(1, predicted[0]),
        "labels": mean_iou(matrix),
    }
    return {name: 100 * float(value) for name, value in values.items()}


def of_predictions(dataset: Dataset, half: str, folder: Path) -> dict[str, float]:
    """Return the mIoU of a network on a half of the validation split, without and with CRF."""
    image_ids, size = shard_of(dataset.split(VAL), HALVES[half]), len(dataset.classes)
    values = {}
    for kind in KINDS:
        if not (folder / kind).is_dir():
            continue
        matrix = np.zeros((size + 1, size + 1), np.int64)
        for image_id, path in zip(image_ids, find_maps([folder / kind], image_ids), strict=True):
            matrix += confusion(read_truth(dataset.mask(image_id), size), read_mask(path), size)
        values[f"{half} {kind}"] = 100 * float(mean_iou(matrix))
    return values
