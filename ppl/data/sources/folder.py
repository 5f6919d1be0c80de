"""Source `folder`: a dataset folder of the user, linked; photos that are shrunk or read as stored are copied."""

import os.path
import shutil
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path

from ppl.data import bits
from ppl.data.broken import broken_photos, leave_out
from ppl.data.dataset import LISTS, Dataset
from ppl.data.findings import paragraphs
from ppl.data.heif import convert, is_heif
from ppl.data.links import link_to
from ppl.data.orientation import Decision, decide, link_or_copy
from ppl.data.photos import may_be_deep
from ppl.data.settings import Folder
from ppl.data.shrink import Size, link_or_shrink_photo, write_sizes
from ppl.data.state import Parts, Token, digest
from ppl.jobs.errors import UserError
from ppl.jobs.files import not_there
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

LINKED = ("JPEGImages", "SegmentationClass")  # the second is optional
IMAGES_PER_TASK = 32
KINDS = ("photos", "labels", "masks")


def check(settings: Folder) -> None:
    _root(settings)


def inputs(settings: Folder, splits: Sequence[str]) -> list[str]:
    """Return the lists that exist."""
    root = _root(settings)
    return [str(root / name) for name in _lists(splits) if (root / name).exists()]


def parts(settings: Folder, splits: Sequence[str], token: Token) -> Parts:
    """Return the digests of photos, labels and masks of each split; `token` stands for the content of a file.

    A mistake of the user is the digest of all parts, until it is corrected: `prepare` reports it.
    """
    root = _root(settings)
    try:
        dataset, _ = Dataset.inspect(root)
        photos, decision = _orientations(dataset, settings, splits, workers=0)
        if decision.fault:
            raise decision.fault
        listed = {split: dataset.listed(split) for split in splits}
    except UserError as error:
        fault = digest([repr(settings), str(error)])
        return {f"{kind} {split}": fault for kind in KINDS for split in splits}
    token_of = cache(token)  # splits share photos
    reading = f"{settings.max_side} {settings.orientation} {settings.bits}"
    described = {}
    for image_id, files in photos.items():
        tokens = [f"{file.suffix} {token_of(file)}" for file in files]
        described[image_id] = " ".join([image_id, *tokens, "stored" * (image_id in decision.as_stored)])
    # With `auto` the brightest of the deep photos decides how all of them are read.
    deep = [i for i, files in photos.items() if settings.bits == "auto" and any(map(_may_be_deep, files))]
    depth = digest(described[image_id] for image_id in deep)
    described |= {image_id: f"{described[image_id]} {depth}" for image_id in deep}
    result: Parts = {}
    for split, ids in listed.items():
        labels = (f"{image_id} {dataset.labels.get(image_id)}" for image_id in ids)
        result[f"photos {split}"] = digest([reading, *(described.get(image_id, image_id) for image_id in ids)])
        result[f"labels {split}"] = digest([*dataset.classes, *labels])
        masks = (f"{image_id} {token_of(dataset.mask(image_id))}" for image_id in ids if dataset.has_masks)
        result[f"masks {split}"] = digest([reading, *dataset.classes, *masks])
    return result


def has_masks(settings: Folder) -> bool:
    return (_root(settings) / "SegmentationClass").is_dir()


def prepare(settings: Folder, out: Path, *, splits: Sequence[str], workers: int) -> None:
    """Write the dataset folder: copies of the lists, links to photos and masks or to their folders."""
    root, files = _root(settings), _lists(splits)
    if not os.path.exists(root):
        raise not_there(root, "correct data.folder.path, or run ppl.data.new")
    source = root.resolve()
    missing = [str(name) for name in files if not os.path.isfile(source / name)]
    if not os.path.isdir(source / "JPEGImages"):
        missing.append("JPEGImages")
    if missing:
        raise UserError(root, f"lacks {', '.join(missing)}", "docs/own-data.md shows the layout of a dataset")
    if os.path.isfile(source / "SegmentationClass"):
        raise UserError(f"{root}/SegmentationClass", "not a folder", "put the masks into a folder, or remove it")
    (out / LISTS).mkdir(parents=True)
    for name in files:
        try:
            shutil.copyfile(source / name, out / name)
        except OSError as error:
            raise UserError(source / name, f"{error.strerror}", "make the file readable") from error
    dataset = Dataset(source, (), {})
    if settings.skip_broken:
        listed = chain.from_iterable(dataset.listed(split) for split in splits)
        broken = broken_photos(dataset, listed, workers=workers)
        leave_out(out, splits, broken)
        for line in paragraphs(broken.values()):
            print(f"warning: {line}")
    files_of, decision = _orientations(dataset, settings, splits, workers)
    if decision.fault:
        raise decision.fault
    if decision.warning:
        print(f"warning: {decision.warning}")
    depths = _depths(files_of, settings, workers)
    if depths.faults:
        raise bits.error_of(depths.faults, root)
    for line in (*depths.notes, *(f"warning: {line}" for line in paragraphs(depths.warnings))):
        print(line)
    bits.write_bits(out, depths.bits)
    heif = [files[0] for files in files_of.values() if len(files) == 1 and is_heif(files[0])]
    for name in (name for name in LINKED if os.path.isdir(source / name)):
        if settings.max_side is None and not (name == "JPEGImages" and (decision.as_stored or depths.bits or heif)):
            link_to(out / name, source / name)
        else:
            (out / name).mkdir()
    if settings.max_side is not None:
        link_or_shrink(dataset, files_of, decision.as_stored, depths.bits, out, settings.max_side, workers)
        small = [photo for photo in heif if (out / "JPEGImages" / photo.name).is_symlink()]
        for photo in small:
            (out / "JPEGImages" / photo.name).unlink()
        convert(small, out / "JPEGImages", workers=workers)
    elif decision.as_stored or depths.bits or heif:
        as_stored = {files_of[image_id][0] for image_id in decision.as_stored}
        deep = {files_of[image_id][0]: number for image_id, number in depths.bits.items()}
        converted = {*heif}
        photos = [photo for photo in chain.from_iterable(files_of.values()) if photo not in converted]
        convert(heif, out / "JPEGImages", workers=workers)
        link_or_copy(photos, as_stored, out / "JPEGImages", bits=deep, workers=workers)


def _root(settings: Folder) -> Path:
    if settings.path is None:
        raise UserError("data.folder", "source folder needs path", "name the dataset folder")
    return Path(settings.path)


def _lists(splits: Sequence[str]) -> list[Path]:
    return [Path("classes.txt"), Path("labels.csv"), *(LISTS / f"{split}.txt" for split in splits)]


def _orientations(
    dataset: Dataset, settings: Folder, splits: Sequence[str], workers: int
) -> tuple[dict[str, list[Path]], Decision]:
    """Return the files of each image id, and which of the photos are read as stored; ids with several files are not."""
    photos = photos_of_splits(dataset, splits)
    single = {image_id: (files[0], dataset.mask(image_id)) for image_id, files in photos.items() if len(files) == 1}
    return photos, decide(single, settings.orientation, _root(settings), workers=workers)


def _depths(files_of: Mapping[str, Sequence[Path]], settings: Folder, workers: int) -> bits.Depths:
    """Return how many bits count in each photo of 16 bits; ids with several files are left to the check."""
    single = {image_id: files[0] for image_id, files in files_of.items() if len(files) == 1}
    return bits.decide(bits.highest_values(single, workers=workers), settings.bits)


def _may_be_deep(photo: Path) -> bool:
    """Return whether a photo may have 16 bits; JPEGs, of which there are most, are not opened."""
    return photo.suffix.lower() not in (".jpg", ".jpeg") and may_be_deep(photo)


def photos_of_splits(source: Dataset, splits: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files of each image id of all splits that has one."""
    all_ids = chain.from_iterable(source.listed(split) for split in splits)
    photos = source.photos_by_id
    return {image_id: photos[image_id] for image_id in dict.fromkeys(all_ids) if image_id in photos}


def link_or_shrink(
    source: Dataset,
    photos: Mapping[str, Sequence[Path]],
    as_stored: Collection[str],
    bits_of: Mapping[str, int],
    out: Path,
    max_side: int,
    workers: int,
) -> None:
    """Write shrunk copies of the large photos, whose files are given by image id, and links to the others."""
    chunks = in_chunks(list(photos), IMAGES_PER_TASK)
    tasks = ([(photos[i], source.mask(i), i in as_stored, bits_of.get(i)) for i in chunk] for chunk in chunks)
    work = partial(_link_or_shrink_chunk, out, max_side)
    sizes: dict[str, Size] = {}
    for shrunk in run_all(work, tasks, workers=workers, total=len(photos), size=len, name="photos prepared"):
        sizes |= shrunk
    write_sizes(out, sizes)
    print(f"{len(sizes):,} of {len(photos):,} photos are shrunk to a longer side of {max_side} pixels")
    if as_stored:
        print(f"{len(as_stored):,} of {len(photos):,} photos are read as stored (EXIF orientation)")


def _link_or_shrink_chunk(
    folder: Path, max_side: int, files: Sequence[tuple[Sequence[Path], Path, bool, int | None]]
) -> dict[str, Size]:
    """Return the original sizes of the photos that were shrunk, by image id."""
    sizes = {
        photos[0].stem: link_or_shrink_photo(photos, mask, folder, max_side, as_stored=as_stored, bits=number)
        for photos, mask, as_stored, number in files
    }
    return {image_id: size for image_id, size in sizes.items() if size}
