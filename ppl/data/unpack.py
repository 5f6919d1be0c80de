"""Unpacks tar archives into one folder, which appears when all are complete."""

import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pooch
from tqdm import tqdm

from ppl.data.download import ARCHIVES
from ppl.files import UserError, atomic, command


@dataclass(frozen=True)
class Settings:
    archives: tuple[Path, ...]
    out: Path


def main(settings: Settings) -> None:
    with atomic(settings.out) as folder:
        folder.mkdir()
        for archive in settings.archives:
            unpack(archive, folder)


def unpack(archive: Path, folder: Path) -> None:
    """Extracts regular files and folders; UserError for a damaged archive and for one that reaches out of `folder`.

    A published archive must have its checksum, also where it was put in place by hand.
    """
    if archive.name in ARCHIVES and not pooch.hashes.hash_matches(archive, f"md5:{ARCHIVES[archive.name].md5}"):
        raise UserError(f"{archive}: is not the published file (its checksum differs); delete it to download it again")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, members=_counted(tar, archive.name), filter="data")
    except tarfile.FilterError as error:
        raise UserError(
            f"{archive}: not unpacked, as it would write elsewhere ({error}); get it from its source"
        ) from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"{archive}: cannot be unpacked ({str(error).splitlines()[0]}); delete it to download it again"
        ) from None


def _counted(tar: tarfile.TarFile, name: str) -> Iterator[tarfile.TarInfo]:
    yield from tqdm(tar, f"unpack {name}", unit="file", mininterval=5, file=sys.stderr)


if __name__ == "__main__":
    command(main, Settings)
