"""The summary of a new dataset for the terminal: what was read, and what was not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from ppl.data import heif
from ppl.data.findings import MAX_EXAMPLES, listed
from ppl.data.own.mask_source import Masks
from ppl.data.own.match import Matched
from ppl.data.own.photos import PhotoFolder
from ppl.data.own.table import Table

CONVERTIBLE = {".heic", ".heif", ".avif", ".raw", ".dng", ".cr2", ".nef", ".arw"}
"""Suffixes of photos that may have to be converted."""


def summary(
    folder: PhotoFolder,
    labels_path: Path,
    table: Table,
    matched: Matched,
    classes: Sequence[str],
    splits: Mapping[str, Sequence[str]],
    masks_path: Path | None,
    masks: Masks,
) -> str:
    """Return what was read of photos, labels and masks, and how the photos are split, for the terminal."""
    labels = matched.labels
    counts = Counter(chain.from_iterable(labels.values()))
    rows = [(name, counts[name]) for name in classes]
    rows += [("(no class)", empty)] if (empty := sum(not names for names in labels.values())) else []
    width = max(len(name) for name, _ in rows)
    with_mask = f", {len(masks.of_photo):,} with a mask" if masks_path else ""
    lines = [
        f"{folder.root}: {len(folder.photos):,} photos{with_mask}",
        *([f"{masks_path}: {masks.form}"] if masks_path else []),
        f"{labels_path}: {table.form}",
        *(f"  {name:<{width}} {count:>7,} photos" for name, count in rows),
        f"training: {len(splits['train']):,} photos, held out: {len(splits['val']):,}, to be segmented: "
        f"{len(splits['test']):,}",
    ]
    unlabelled = sorted(set(folder.photos) - matched.labels.keys())
    if unlabelled:
        lines.append(f"no labels: {some(unlabelled, 'photos')}; they are segmented, but not used in training")
    if matched.absent:
        lines.append(f"no photo: {some(matched.absent, 'names in the labels')}; these are ignored")
    lines += [f"left out: {line}" for line in (*table.left_out, *masks.left_out)]
    if table.absent:
        lines.append("no class: " + listed(f"{word!r} in {count:,} rows" for word, count in table.absent))
    if table.ignored:
        lines.append(f"ignored: column{'s' * (len(table.ignored) > 1)} {listed(table.ignored)}")
    others = {suffix: count for suffix, count in sorted(folder.others.items()) if suffix in CONVERTIBLE}
    if others:
        kinds = listed(f"{count:,} {suffix}" for suffix, count in others.items())
        remedy = heif.REMEDY if others.keys() & {*heif.SUFFIXES} else "convert them to JPEG"
        lines.append(f"ignored: {kinds}, which cannot be read; {remedy}")
    return "\n".join(lines)


def some(names: Sequence[object], what: str) -> str:
    """Return the number of names, as the plural `what`, and a few of them."""
    examples = listed(str(name) for name in names[:MAX_EXAMPLES])
    return (
        f"{len(names):,} {what}, such as {examples}"
        if len(names) > MAX_EXAMPLES
        else f"{len(names):,} {what}, {examples}"
    )
