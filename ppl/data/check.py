"""Check a whole dataset before any training: list every fault at once, and warn of causes of poor results.

python -m ppl.data.check --data mine.yaml    (experiments of a settings file with data.source folder)
python -m ppl.data.check --data mine         (a dataset folder whose splits are called train, val and test)
"""

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import yaml

from ppl.data.checks import labels, masks, photos, splits
from ppl.data.checks.files import check_files
from ppl.data.checks.reading import broken_of, depths, orientations
from ppl.data.checks.summary import summary, summary_table
from ppl.data.dataset import Dataset
from ppl.data.findings import Finding, paragraphs, write_list
from ppl.data.orientation import KEY
from ppl.data.settings import Bits, Data, Orientation
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.fields import read
from ppl.jobs.files import not_there, write_json


@dataclass(frozen=True)
class Settings:
    data: Path
    """Dataset folder, or a settings file (.yaml) whose experiments name splits and the settings of data.folder."""
    train_split: str = "train"
    """Training split, with image-level labels."""
    seed_split: str = "train"
    """Part of the training split on which seeds and pseudo labels are measured, if there are masks."""
    val_split: str = "val"
    test_split: str = "test"
    out: Path | None = None
    """JSON file for the summary; by default the summary is printed. A long list of findings is written beside it, or
    beside the dataset folder."""
    workers: int = 2
    max_side: int | None = None
    """data.folder.max_side of the experiment: larger photos are shrunk to it before use."""
    orientation: Orientation = "auto"
    """data.folder.orientation of the experiment: how photos with an EXIF orientation are read."""
    bits: Bits = "auto"
    """data.folder.bits of the experiment: how many bits of photos of 16 bits count."""
    skip_broken: bool = False
    """data.folder.skip_broken of the experiment: photos that cannot be read are left out, and listed as warnings."""
    prepared: bool = False
    """Whether the folder was written by ppl.data.prepare, so that its photos are read upright by all steps."""


def main(settings: Settings) -> None:
    if settings.data.suffix not in (".yaml", ".yml") or settings.data.is_dir():
        check(settings)
        return
    for experiment in experiments(settings):
        check(experiment, option=KEY)
    print(f"no faults in the data of {settings.data}")  # its other settings are read by the workflow


class Report(NamedTuple):
    """What the check of a dataset says: faults, warnings, and lines about photos of 16 bits."""

    faults: Sequence[Finding]
    warnings: Sequence[Finding]
    notes: Sequence[str]


def check(settings: Settings, *, option: str = "--orientation") -> None:
    """Check one dataset; UserError that lists its faults, else write or print the summary.

    `option` is what the user can set to decide how photos are read: a flag of this command, or a key of the experiment.
    """
    if not os.path.exists(settings.data):
        raise not_there(settings.data, "name a dataset folder or a settings file")
    dataset, in_lines = Dataset.inspect(settings.data)
    listed = image_ids_of(settings, dataset)
    broken, skipped = broken_of(
        dataset, chain.from_iterable(listed.values()), skip_broken=settings.skip_broken, prepared=settings.prepared,
        workers=settings.workers,
    )  # fmt: skip
    listed = {name: [i for i in image_ids if i not in broken] for name, image_ids in listed.items()}
    report = findings_of(settings, dataset, listed, [labels.line_finding(fault) for fault in in_lines], skipped, option)
    written = write_list(list_file(settings), report.faults or report.warnings, complete=bool(skipped))
    if report.faults:
        raise error_of(settings.data, report.faults, written)
    counts = summary(dataset, listed)
    if settings.out is None:
        print(summary_table(settings.data, counts, listed))
    for line in report.notes:
        print(line)
    for line in paragraphs(report.warnings):
        print(f"warning: {line}")
    if written:
        print(f"all warnings are listed in {written}")
    if settings.out is not None:
        write_json(settings.out, counts)


def image_ids_of(settings: Settings, dataset: Dataset) -> dict[str, list[str]]:
    """Return the lines of the list of each split; none for a list that does not exist."""
    names = dict.fromkeys([settings.train_split, settings.seed_split, settings.val_split, settings.test_split])
    return {name: dataset.listed(name) if os.path.exists(dataset.list_of(name)) else [] for name in names}


def findings_of(
    settings: Settings,
    dataset: Dataset,
    listed: Mapping[str, Sequence[str]],
    of_lines: Sequence[Finding],
    skipped: Sequence[Finding],
    option: str,
) -> Report:
    """Return the faults and warnings of all parts of a dataset in the order of the report.

    `listed` are the image ids by split, `of_lines` the faults of lines of labels.csv, `skipped` photos left out.
    """
    train, seed, val = settings.train_split, settings.seed_split, settings.val_split
    image_ids = sorted(set(chain.from_iterable(listed.values())))
    several = photos.ids_with_several_photos(dataset, image_ids)
    single = [image_id for image_id in image_ids if image_id not in several]
    measured = {*listed[seed], *listed[val]} - several.keys() if dataset.has_masks else set()
    how = {"prepared": settings.prepared, "workers": settings.workers}
    decision = orientations(dataset, single, settings.orientation, settings.data, option=option, **how)
    of_depths = depths(dataset, single, settings.bits, **how)
    of_files = check_files(
        dataset,
        image_ids,
        measured,
        decision.as_stored,
        {} if of_depths.faults else of_depths.bits,  # a wrong number of bits is one fault, not one of each photo too
        max_side=settings.max_side,
        copied=settings.prepared and not (dataset.root / "JPEGImages").is_symlink(),
        workers=settings.workers,
    )
    faults = chain(
        of_lines,
        splits.split_faults(listed, train, seed, [val]),
        labels.label_faults(dataset, listed, train, val),
        masks.folder_faults(dataset),
        photos.id_faults(several),
        _of_all_photos(decision.fault),
        of_depths.faults,
        of_files.faults,
        masks.class_faults(dataset, of_files.mask_ids),
    )
    warnings = chain(
        skipped,
        splits.split_warnings(listed, train, [settings.test_split]),
        labels.label_warnings(dataset, listed[train]),
        splits.held_out_copies(dataset, listed[train], listed[val], train, val),
        _of_all_photos(decision.warning),
        of_depths.warnings,
        of_files.warnings,
        masks.class_warnings(dataset, of_files.mask_ids, listed, [seed, val]),
    )
    return Report(list(faults), list(warnings), of_depths.notes)


def error_of(data: Path, faults: Sequence[Finding], written: Path | None) -> UserError:
    """Return the error that names the kinds of faults; `written` is the list of all, if they are too many."""
    what = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    remedy = f"correct them first, all are listed in {written}:" if written else "correct them first:"
    return UserError(data, what, remedy, list(paragraphs(faults)))


def _of_all_photos(error: UserError | None) -> list[Finding]:
    return [Finding.of(error, "JPEGImages", "")] if error else []


def list_file(settings: Settings) -> Path:
    """Return the file for a list of all findings."""
    data = settings.data
    return data.with_name(f"{data.name}.check.txt") if settings.out is None else settings.out.with_suffix(".txt")


def experiments(settings: Settings) -> Iterator[Settings]:
    """Yield the settings of the check of each experiment in a settings file whose data.source is `folder`."""
    file, remedy = settings.data, "docs/own-data.md shows one"
    if not os.path.lexists(file):
        raise not_there(file, "name a settings file or a dataset folder")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        sections = [experiment["data"] for experiment in content["experiments"].values()]
    except OSError as error:
        raise UserError(file, f"{error.strerror}", "name a settings file or a dataset folder") from error
    except (ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(file, f"not a settings file ({reason(error)})", remedy) from error
    typed = [read(Data, section, f"{file}, data", remedy) for section in sections]
    of_folders = [data for data in typed if data.source == "folder"]
    if not of_folders:
        raise UserError(file, "no experiment with data.source folder", "name the dataset folder instead")
    for data in of_folders:
        if data.folder.path is None:
            raise UserError(f"{file}, data", "source folder needs folder.path", remedy)
        of_folder = {name: getattr(data.folder, name) for name in ("max_side", "orientation", "bits", "skip_broken")}
        yield replace(settings, data=Path(data.folder.path), **of_folder, **data.splits)


if __name__ == "__main__":
    command(main, Settings)
