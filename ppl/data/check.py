"""Check a whole dataset before any training: list every fault at once, and warn of causes of poor results.

python -m ppl.data.check --data mine.yaml    (experiments of a settings file with data.source folder)
python -m ppl.data.check --data mine         (a dataset folder whose splits are called train, val and test)
"""

import os.path
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import yaml

import ppl.data.heif  # noqa: F401 - HEIC is a format of photos
from ppl.data import bits
from ppl.data.brightness import brightness_fault
from ppl.data.broken import broken_photos, recorded
from ppl.data.dataset import LISTS, Dataset, id_fault
from ppl.data.findings import Finding, listed, paragraphs, write_list
from ppl.data.links import missing_target
from ppl.data.mask_formats import SAVE_IDS, mask_error
from ppl.data.masks import IGNORE, read_mask
from ppl.data.orientation import KEY, decide
from ppl.data.own.photos import copies
from ppl.data.photos import MAX_PIXELS, MAX_STORED, photo_size, read_photo
from ppl.data.settings import Bits, Data, Orientation
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.fields import read
from ppl.jobs.files import not_there, write_json
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

IMAGES_PER_TASK = 32
FEW = 20  # training photos of a class, below which little can be learned
IMBALANCE = 20  # times as many photos as the rarest class has
TINY = 64  # pixels, shorter side


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


@dataclass(frozen=True)
class Findings:
    """Faults and warnings of some photos and their masks."""

    faults: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    mask_ids: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Ids in the readable masks, by image id."""


def main(settings: Settings) -> None:
    if settings.data.suffix not in (".yaml", ".yml") or settings.data.is_dir():
        check(settings)
        return
    for experiment in experiments(settings):
        check(experiment, option=KEY)
    print(f"no faults: {settings.data} can be run")


def check(settings: Settings, *, option: str = "--orientation") -> None:
    """Check one dataset; UserError that lists its faults, else write or print the summary.

    `option` is what the user can set to decide how photos are read: a flag of this command, or a key of the experiment.
    """
    if not os.path.exists(settings.data):
        raise not_there(settings.data, "name a dataset folder or a settings file")
    dataset, in_lines = Dataset.inspect(settings.data)
    names = dict.fromkeys([settings.train_split, settings.seed_split, settings.val_split, settings.test_split])
    absent = [name for name in names if not os.path.exists(dataset.list_of(name))]
    splits = {name: [] if name in absent else dataset.listed(name) for name in names}
    skipped = skipped_photos(settings, dataset, splits)
    train, val = settings.train_split, settings.val_split
    image_ids = sorted(set(chain.from_iterable(splits.values())))
    several = ids_with_several_photos(dataset, image_ids)
    measured = {*splits[settings.seed_split], *splits[val]} - several.keys() if dataset.has_masks else set()
    single = [image_id for image_id in image_ids if image_id not in several]
    as_stored, of_orientations = orientations(settings, dataset, single, option)
    copied = settings.prepared and not (dataset.root / "JPEGImages").is_symlink()
    depths = depths_of_photos(settings, dataset, single)
    options = {"max_side": settings.max_side, "copied": copied, "workers": settings.workers}
    bits_of = {} if depths.faults else depths.bits  # a wrong number of bits is one fault, not one of each photo too
    of_files = check_files(dataset, image_ids, measured, as_stored, bits_of, **options)
    faults = list(chain(
        (_line_finding(fault) for fault in in_lines),
        split_faults(splits, train, settings.seed_split, [val]),
        label_faults(dataset, splits, train, val),
        folder_faults(dataset, several),
        of_orientations.faults,
        depths.faults,
        of_files.faults,
        class_faults(dataset, of_files.mask_ids),
    ))  # fmt: skip
    warnings = list(chain(
        skipped,
        split_warnings(splits, train, [settings.test_split]),
        label_warnings(dataset, splits[train]),
        held_out_copies(dataset, splits[train], splits[val], train, val),
        of_orientations.warnings,
        depths.warnings,
        of_files.warnings,
        class_warnings(dataset, of_files.mask_ids, splits, [settings.seed_split, val]),
    ))  # fmt: skip
    written = write_list(list_file(settings), faults or warnings, complete=bool(skipped))
    if faults:
        kinds = list(paragraphs(faults))
        what = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        remedy = f"correct them first, all are listed in {written}:" if written else "correct them first:"
        raise UserError(settings.data, what, remedy, kinds)
    counts = summary(dataset, splits)
    if settings.out is None:
        print(summary_table(settings.data, counts, splits))
    for line in depths.notes:
        print(line)
    for line in paragraphs(warnings):
        print(f"warning: {line}")
    if written:
        print(f"all warnings are listed in {written}")
    if settings.out is not None:
        write_json(settings.out, counts)


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


def skipped_photos(settings: Settings, dataset: Dataset, splits: dict[str, list[str]]) -> list[Finding]:
    """Take photos that cannot be read out of the splits, if requested; return their findings.

    Those that the preparation of a dataset folder has left out are in no split any more.
    """
    if settings.prepared or not settings.skip_broken:
        return recorded(dataset.root) if settings.prepared else []
    paths = replace(dataset)  # a copy: a cached property would be sent to the worker processes
    broken = broken_photos(paths, chain.from_iterable(splits.values()), workers=settings.workers)
    for name, image_ids in splits.items():
        splits[name] = [image_id for image_id in image_ids if image_id not in broken]
    return [*broken.values()]


def split_faults(splits: dict[str, list[str]], train: str, seed: str, held_out: Sequence[str]) -> Iterator[Finding]:
    """Yield faults of the lists: empty lists, repeated or invalid ids, images in both training and held-out splits."""
    for name, image_ids in splits.items():
        file = f"{LISTS}/{name}.txt"
        if not image_ids:
            yield Finding(file, "empty or missing", "list one image id per line", "lists are empty or missing")
        for image_id, count in Counter(image_ids).items():
            if count > 1:
                yield Finding(file, f"{image_id!r} is listed {count} times", "keep one", f"ids are repeated in {file}")
            if fault := id_fault(image_id):
                yield Finding(file, *fault, "lines of lists are not valid ids")
    for name in dict.fromkeys(held_out):
        shared = sorted(set(splits[train]) & set(splits[name]))
        if shared:
            what = f"share {len(shared)} images, such as {shared[0]!r}"
            yield Finding(
                f"splits {train} and {name}", what, "keep each in one of them", "pairs of splits share images"
            )
    outside = sorted(set(splits[seed]) - set(splits[train]))
    if outside:
        what = f"has {len(outside)} images outside {train}, such as {outside[0]!r}"
        yield Finding(f"split {seed}", what, "it must be a part of it", "splits are not part of another")


def split_warnings(splits: dict[str, list[str]], train: str, predicted: Sequence[str]) -> Iterator[Finding]:
    """Yield splits that share some photos with the training split; sharing all is intended, for masks of all photos."""
    for name in dict.fromkeys(predicted):
        shared = set(splits[train]) & set(splits[name])
        if 0 < len(shared) < len(set(splits[train])):
            yield Finding(
                f"split {name}", f"{len(shared):,} of its {len(set(splits[name])):,} photos are also in split {train}",
                "keep them in one split, or scores are too high", "splits share photos with the training split",
            )  # fmt: skip


def label_faults(dataset: Dataset, splits: dict[str, list[str]], train: str, val: str) -> Iterator[Finding]:
    """Yield images without a line in labels.csv, and classes without a training image."""
    for name in dict.fromkeys([train, val]):
        for image_id in dict.fromkeys(splits[name]):
            if image_id not in dataset.labels:
                yield Finding(
                    f"photo {image_id!r} of split {name}", "has no line in labels.csv",
                    "add one, with empty classes if it has none", f"photos of split {name} have no line in labels.csv",
                )  # fmt: skip
    if "background" in dataset.classes:
        yield Finding("classes.txt", "lists background, which always has id 0", "remove it", "")
    if "mean" in dataset.classes:
        what = "lists mean, which names the last row of every table of IoU"
        yield Finding("classes.txt", what, "rename the class", "")
    present = set(chain.from_iterable(dataset.labels.get(image_id, ()) for image_id in splits[train]))
    for number, name in enumerate(dataset.classes, start=1):
        if number not in present:
            yield Finding(
                f"class {name!r}", f"is on no image of split {train}", "remove it from classes.txt, or label some",
                f"classes are on no image of split {train}",
            )  # fmt: skip


def label_warnings(dataset: Dataset, image_ids: Sequence[str]) -> Iterator[Finding]:
    """Yield classes that are hard to learn: rare, far rarer than others, on every photo, or written in two ways."""
    counts = Counter(chain.from_iterable(dataset.labels.get(image_id, ()) for image_id in dict.fromkeys(image_ids)))
    photos_of = {name: counts[number] for number, name in enumerate(dataset.classes, start=1) if counts[number]}
    total = len(set(image_ids))
    for name, count in photos_of.items():
        if count < FEW:
            what = f"is on {count} training photo{'s' * (count > 1)}"
            many = f"classes have fewer than {FEW} training photos"
            yield Finding(f"class {name!r}", what, "label more photos, or expect poor masks", many)
        if count == total:
            what = "is on every training photo, so that it cannot be distinguished from its surroundings"
            yield Finding(
                f"class {name!r}", what, "add photos without it, with empty classes", "classes are on every photo"
            )
    if photos_of and max(photos_of.values()) > IMBALANCE * min(photos_of.values()):
        often, rare = (extreme(photos_of, key=lambda name: photos_of[name]) for extreme in (max, min))
        what = f"is on {photos_of[often]:,} training photos, {rare!r} on {photos_of[rare]:,}"
        yield Finding(f"class {often!r}", what, "label more of the rare classes", "classes are frequent")
    spellings: dict[str, list[str]] = {}
    for name in dataset.classes:
        spellings.setdefault("".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(name)
    for names in spellings.values():
        if len(names) > 1:
            what = f"{listed(map(repr, names))} look like one class"
            yield Finding("classes.txt", what, "write it the same way everywhere", "classes have several spellings")


def held_out_copies(dataset: Dataset, train: Sequence[str], val: Sequence[str], *names: str) -> Iterator[Finding]:
    """Yield photos of the held-out split whose file is a byte-for-byte copy of a training photo."""
    held_out = set(val) - set(train)
    paths = {image_id: dataset.photo(image_id) for image_id in sorted({*train, *held_out}) if not id_fault(image_id)}
    for group in copies({image_id: path for image_id, path in paths.items() if path.is_file()}):
        trained = [image_id for image_id in group if image_id not in held_out]
        for image_id in group:
            if trained and image_id in held_out:
                what = f"is the same file as {trained[0]!r} of split {names[0]}"
                many = f"photos of split {names[1]} are copies of training photos"
                yield Finding(f"photo {image_id!r}", what, "keep both in one split, or scores are too high", many)


def ids_with_several_photos(dataset: Dataset, image_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the files of each id that has several photos."""
    photos = replace(dataset).photos_by_id  # of a copy: a cached property would be sent to the worker processes
    return {i: [path.name for path in photos[i]] for i in image_ids if len(photos.get(i, ())) > 1}


def folder_faults(dataset: Dataset, several: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Yield faults of the folders: SegmentationClass is a file, several photos have one id."""
    if dataset.mask("").parent.exists() and not dataset.has_masks:
        yield Finding("SegmentationClass", "not a folder", "put the masks into a folder, or remove it", "")
    for files in several.values():
        yield Finding("JPEGImages", f"{', '.join(files)} have the same id", "keep one", "ids have several photos")


def orientations(
    settings: Settings, dataset: Dataset, image_ids: Sequence[str], option: str
) -> tuple[Collection[str], Findings]:
    """Return the ids of the photos that will be read as stored, and what is wrong or in doubt about orientations."""
    if settings.prepared:
        return (), Findings()
    paths = replace(dataset)  # a copy: a cached property would be sent to the worker processes
    files = {i: (paths.photo(i), paths.mask(i)) for i in image_ids if not id_fault(i)}
    decision = decide(files, settings.orientation, settings.data, workers=settings.workers, option=option)
    return decision.as_stored, Findings(_of_photos(decision.fault), _of_photos(decision.warning))


def depths_of_photos(settings: Settings, dataset: Dataset, image_ids: Sequence[str]) -> bits.Depths:
    """Return how many bits count in photos of 16; a source of the user's own leaves that to each photo."""
    paths = replace(dataset)  # a copy: a cached property would be sent to the worker processes
    photos = {i: paths.photo(i) for i in image_ids if not id_fault(i)}
    highest = bits.highest_values(photos, workers=settings.workers)
    return bits.decide(highest, "each" if settings.prepared else settings.bits)


def list_file(settings: Settings) -> Path:
    """Return the file for a list of all findings."""
    data = settings.data
    return data.with_name(f"{data.name}.check.txt") if settings.out is None else settings.out.with_suffix(".txt")


def check_files(
    dataset: Dataset,
    image_ids: Sequence[str],
    measured: set[str],
    as_stored: Collection[str],
    bits_of: Mapping[str, int],
    *,
    max_side: int | None,
    copied: bool,
    workers: int,
) -> Findings:
    """Read every photo and every mask in `measured`; return their faults and warnings, sorted.

    With `copied` each photo of the source is linked or copied by itself, so that a missing one is to be added there.
    """
    image_ids = [image_id for image_id in image_ids if not id_fault(image_id)]
    chunks = in_chunks(image_ids, IMAGES_PER_TASK)
    tasks = (
        (dataset, max_side, copied, [(i, i in measured, i in as_stored, bits_of.get(i)) for i in chunk])
        for chunk in chunks
    )
    results = run_all(_check_chunk, tasks, workers=workers, total=len(image_ids), size=_length, name="photos checked")
    findings = list(chain.from_iterable(results))
    faults = sorted(chain.from_iterable(finding.faults for finding in findings))
    warnings = sorted(chain.from_iterable(finding.warnings for finding in findings))
    mask_ids = {image_id: ids for finding in findings for image_id, ids in finding.mask_ids.items()}
    return Findings(tuple(faults), tuple(warnings), mask_ids)


def check_image(
    dataset: Dataset,
    image_id: str,
    with_mask: bool,
    as_stored: bool = False,
    bits_used: int | None = None,
    *,
    max_side: int | None = None,
    copied: bool = False,
) -> Findings:
    """Return the faults and warnings of a photo and its mask; with `max_side` they may have up to MAX_STORED pixels."""
    path, mask_path = dataset.photo(image_id), dataset.mask(image_id)
    place = str(path.relative_to(dataset.root))
    if finding := _broken_link(path, place, "photo", copied):
        return Findings((finding,))
    if not os.path.exists(path):
        remedy = "copy the file there, or remove its id from the lists"
        if copied:
            remedy = "add the file to the source of the data, and run the workflow with --forcerun prepare_data"
        return Findings((Finding(place, "no such file", remedy, "photos are missing"),))
    most = MAX_PIXELS if max_side is None else MAX_STORED
    try:
        size = photo_size(path, most=most, upright=not as_stored)
        pixels = read_photo(path, max_side=max_side, bits=bits_used)
    except UserError as error:
        return Findings((Finding.of(error, place, "photos cannot be read"),))
    warnings = []
    if min(size) < TINY:
        what, many = f"is {size[1]}x{size[0]} pixels", f"photos have fewer than {TINY} pixels on a side"
        warnings.append(Finding(place, what, "use larger photos, or expect coarse masks", many))
    if what := brightness_fault(pixels):
        many = "photos are nearly black, nearly white or of one colour"
        warnings.append(Finding(place, what, "look at them; replace those that are damaged", many))
    if not with_mask:
        return Findings(warnings=tuple(warnings))
    place = str(mask_path.relative_to(dataset.root))
    if finding := _broken_link(mask_path, place, "mask", copied):
        return Findings((finding,), tuple(warnings))
    if not os.path.exists(mask_path):
        remedy = "draw it, list only photos with masks in val and in the seed split, or remove SegmentationClass"
        return Findings((Finding(place, "no such file", remedy, "masks are missing"),), tuple(warnings))
    try:
        mask = read_mask(mask_path, most=most)
    except UserError as error:
        fault = mask_error(mask_path, error)
        many = f"masks cannot be read ({fault.what})" if fault.remedy == SAVE_IDS else "masks cannot be read"
        return Findings((Finding.of(fault, place, many),), tuple(warnings))
    warnings += contradictions(dataset, image_id, mask)
    mask_ids = {image_id: frozenset(np.unique(mask).tolist())}
    return Findings(tuple(mask_faults(dataset, place, mask, size)), tuple(warnings), mask_ids)


def _broken_link(path: Path, place: str, kind: str, copied: bool) -> Finding | None:
    """Return the finding for a photo or mask that is a link to a missing file; None for others."""
    target = missing_target(path)
    if target is None:
        return None
    remedy = "moved or renamed? run ppl.data.new again, or put it back"
    if copied:
        remedy = "moved or renamed? put it back, or run ppl.data.new again, then the workflow"
    what = f"the {kind} it links to ({target}) is not there"
    return Finding(place, what, remedy, f"{kind}s are links to files that are not there")


def mask_faults(dataset: Dataset, place: str, mask: np.ndarray, size: tuple[int, int]) -> Iterator[Finding]:
    """Yield faults of a mask (h, w): a size other than the photo's `size` (h, w), ids outside 0..C and 255."""
    if mask.shape != size:
        (h, w), (height, width) = mask.shape, size
        what = f"shape mismatch: expected {width}x{height}, as the photo, got {w}x{h}"
        yield Finding(place, what, "draw it at that size", "masks have another size than their photos")
    unknown = sorted({int(i) for i in np.unique(mask)} - {*range(len(dataset.classes) + 1), IGNORE})
    if unknown:
        remedy = f"allowed are 0 to {len(dataset.classes)} and {IGNORE}"
        yield Finding(place, f"holds id {unknown[0]}", remedy, "masks hold invalid ids")


def class_faults(dataset: Dataset, mask_ids: Mapping[str, frozenset[int]]) -> Iterator[Finding]:
    """Yield a fault if the masks of labelled photos cannot show their classes. `mask_ids` by image id.

    A class drawn as 255 ("white on black") would not be measured. Masks of 1 alone where labels name other classes are
    foreground masks.
    """
    if fault := _class_fault(dataset, {i: ids for i, ids in mask_ids.items() if dataset.labels.get(i)}):
        yield Finding("masks", *fault, "")


def _class_fault(dataset: Dataset, mask_ids: Mapping[str, frozenset[int]]) -> tuple[str, str] | None:
    """Return what is wrong with the ids of the masks of labelled photos, and the remedy; None if nothing is."""
    ids = frozenset().union(*mask_ids.values())
    if IGNORE in ids and not ids - {0, IGNORE}:
        what = f"hold 0 and {IGNORE} alone: {IGNORE} is ignored, so no class would be measured"
        return what, f"write {dataset.classes[0]!r} as 1, as docs/own-data.md shows"
    others = [i for i, ids_of_mask in mask_ids.items() if 1 in ids_of_mask and 1 not in dataset.labels[i]]
    if ids - {0, IGNORE} == {1} and others:
        name = dataset.classes[dataset.labels[others[0]][0] - 1]
        what = f"hold 1, {dataset.classes[0]!r}, as the only class, also {others[0]!r}, labelled {name!r}"
        return what, "write each class as the number of its line in classes.txt"
    return None


def class_warnings(
    dataset: Dataset,
    mask_ids: Mapping[str, frozenset[int]],
    splits: Mapping[str, Sequence[str]],
    measured: Sequence[str],
) -> Iterator[Finding]:
    """Yield measured splits whose masks hold no class, and masks without background, which may count from 1."""
    if any(class_faults(dataset, mask_ids)):
        return
    for name in dict.fromkeys(measured):
        ids = frozenset().union(*(mask_ids.get(image_id, frozenset()) for image_id in splits[name]))
        if ids and not ids - {0, IGNORE}:
            what = "hold no class, so that this split has no mIoU"
            yield Finding(f"masks of split {name}", what, "list photos whose masks show classes", "splits have no mIoU")
    ids = frozenset().union(*mask_ids.values())
    if ids - {IGNORE} and 0 not in ids:
        what = f"hold {min(ids)} to {max(ids - {IGNORE})}, never 0, which is background"
        yield Finding("masks", what, "subtract 1 from all ids if 1 is background", "")


def contradictions(dataset: Dataset, image_id: str, mask: np.ndarray) -> Iterator[Finding]:
    """Yield a warning if the classes in a mask (h, w) differ from the labels of its image."""
    in_mask = {int(i) for i in np.unique(mask)} & set(range(1, len(dataset.classes) + 1))
    labelled = set(dataset.labels.get(image_id, ()))
    if image_id in dataset.labels and in_mask != labelled:
        sides = (("shows {}, which is not labelled", in_mask - labelled), ("lacks {}, labelled", labelled - in_mask))
        named = ((text, [dataset.classes[i - 1] for i in sorted(ids)]) for text, ids in sides if ids)
        what = "the mask " + " and ".join(text.format(listed(classes)) for text, classes in named)
        many = "masks contradict labels"
        yield Finding(f"image {image_id!r}", what, "correct one of the two, or scores are too low", many)


def summary(dataset: Dataset, splits: dict[str, list[str]]) -> dict:
    """Return the numbers of images per split and class, and whether there are masks."""
    counts = {
        name: Counter(dataset.classes[i - 1] for image_id in image_ids for i in dataset.labels.get(image_id, ()))
        for name, image_ids in splits.items()
    }
    return {
        "classes": list(dataset.classes),
        "images": {name: len(image_ids) for name, image_ids in splits.items()},
        "images_per_class": {name: dict(sorted(count.items())) for name, count in counts.items()},
        "masks": dataset.has_masks,
    }


def summary_table(data: Path, counts: dict, splits: dict[str, list[str]]) -> str:
    """Return a summary as a table of photos by class and split."""
    names = list(counts["images"])
    rows = [("photos", [counts["images"][name] for name in names])]
    rows += [(c, [counts["images_per_class"][name].get(c, 0) for name in names]) for c in counts["classes"]]
    width = max(len(title) for title, _ in rows)
    lines = ["  " + " " * width + "".join(f"{name:>12}" for name in names)]
    lines += [f"  {title:<{width}}" + "".join(f"{count:>12,}" for count in numbers) for title, numbers in rows]
    masks = "with masks" if counts["masks"] else "without masks, so nothing is measured"
    total = len(set(chain.from_iterable(splits.values())))
    many = f"{len(counts['classes'])} classes" if len(counts["classes"]) > 1 else "1 class"
    return "\n".join([f"{data}: {total:,} photos, {many}, {masks}", *lines])


def _line_finding(fault: UserError) -> Finding:
    """Return the finding for a faulty line of labels.csv."""
    line = str(fault.where).rpartition(", ")[2]
    return Finding(f"labels.csv, {line}", fault.what, fault.remedy, "lines of labels.csv are faulty")


def _of_photos(error: UserError | None) -> tuple[Finding, ...]:
    return (Finding.of(error, "JPEGImages", ""),) if error else ()


def _check_chunk(
    task: tuple[Dataset, int | None, bool, Sequence[tuple[str, bool, bool, int | None]]],
) -> list[Findings]:
    dataset, max_side, copied, images = task
    return [check_image(dataset, i, *options, max_side=max_side, copied=copied) for i, *options in images]


def _length(task: tuple[Dataset, int | None, bool, Sequence]) -> int:
    return len(task[3])


if __name__ == "__main__":
    command(main, Settings)
