"""Checks of the lists of splits: empty lists, wrong ids, photos that training and held-out splits share."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ppl.data.dataset import LISTS, Dataset, id_fault
from ppl.data.findings import Finding
from ppl.data.own.photos import copies


def split_faults(
    splits: Mapping[str, Sequence[str]], train: str, seed: str, held_out: Sequence[str]
) -> Iterator[Finding]:
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


def split_warnings(splits: Mapping[str, Sequence[str]], train: str, predicted: Sequence[str]) -> Iterator[Finding]:
    """Yield splits that share some photos with the training split; sharing all is intended, for masks of all photos."""
    for name in dict.fromkeys(predicted):
        shared = set(splits[train]) & set(splits[name])
        if 0 < len(shared) < len(set(splits[train])):
            yield Finding(
                f"split {name}", f"{len(shared):,} of its {len(set(splits[name])):,} photos are also in split {train}",
                "keep them in one split, or scores are too high", "splits share photos with the training split",
            )  # fmt: skip


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
