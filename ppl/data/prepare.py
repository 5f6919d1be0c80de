"""Prepare the data of an experiment as a dataset folder (layout: `ppl.data.dataset`).

A source of data is a module: an entry of `ppl.data.settings.SOURCES`, or a user's own, `data.source: own/MODULE`. It
contains

    prepare(settings, out: Path, *, workers: int) -> None

which writes JPEGImages/ID.jpg (copies or links to absolute paths), classes.txt, labels.csv, the list of each split of
the experiment and, if there are masks, SegmentationClass/ID.png into the existing, empty folder `out`. A `prepare` with
a further parameter `splits: Sequence[str]` gets the names of the splits, and runs again when one is renamed.
`ppl.data.lists.write_lists` writes the text files, `ppl.data.masks.write_mask` a mask. `out` replaces the dataset
folder once `prepare` has returned: after an exception the former folder remains. `workers` is the number of processes,
for `ppl.jobs.parallel.run_all`. A mistake of the user is raised as `ppl.jobs.errors.UserError(where, what, remedy)`.

`settings` is the section of `data:` with the source's name; for an own module `data.own`, read as its class
`Settings`, a frozen dataclass derived from `ppl.jobs.fields.Section`, or None without that class.

These are optional. The workflow calls them before any job runs, so they, and the import of the module, must be fast:

    check(settings) -> None                          raises UserError if a needed setting is missing
    inputs(settings, splits) -> list[str]            existing files whose change prepares the data again; default: none
    version(settings, splits) -> str                 another text prepares the data again, too; default: empty
    has_masks(settings) -> bool                      whether there are masks to measure with; default: False
    parts(settings, splits, token) -> dict[str, str] digests of "photos SPLIT", "labels SPLIT" and "masks SPLIT": a step
                                                     reruns only if what it reads has changed; `token(path)` stands for
                                                     the content of a file below `settings.path`

An entry of the project may also have `archives(settings, splits) -> tuple[str, ...]`: archives of
`ppl.data.sources.download` to download; `settings.path` then is the folder of the unpacked ones.

docs/extending.md has a complete source.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ppl.data import source
from ppl.data.settings import SOURCES, Data
from ppl.jobs import slots
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.files import atomic
from ppl.jobs.settings import Hardware


@dataclass(frozen=True)
class Settings:
    out: Path
    """Dataset folder to write."""
    data: Data = Data()
    hardware: Hardware = Hardware()
    archives: Path | None = None
    """Folder of the unpacked archives of a source that downloads them."""

    def reads(self) -> tuple[Path, ...]:
        """Return the unpacked archives: the digest of the output covers all other files that it links and copies."""
        return () if self.archives is None else (self.archives,)


def main(settings: Settings) -> None:
    data = settings.data
    source.check(data)
    of_source = slots.settings_of(data, "source")
    if settings.archives is not None:
        of_source = replace(of_source, path=str(settings.archives))
    path = getattr(of_source, "path", None)
    refuse_to_harm(
        settings.out, [*(Path(file).parent for file in source.inputs(data)), *([Path(path)] if path else [])]
    )
    options = {"splits": source.splits(data)} if source.needs_splits(data) else {}
    with atomic(settings.out) as folder:
        folder.mkdir()
        entry = slots.load(SOURCES, data.source)
        entry.prepare(of_source, folder, workers=settings.hardware.workers, **options)


def refuse_to_harm(out: Path, folders: Iterable[Path]) -> None:
    """Raise UserError if the dataset folder would replace one of the folders that the source reads."""
    for folder in folders:
        try:
            would_replace = folder.resolve().is_relative_to(out.resolve())
        except (OSError, RuntimeError) as error:  # a link that leads to itself
            raise UserError(folder, reason(error), "name the folder itself") from error
        if would_replace:
            raise UserError(out, f"would replace {folder}, from which it is made", "choose another folder")


if __name__ == "__main__":
    command(main, Settings)
