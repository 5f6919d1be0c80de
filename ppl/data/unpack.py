"""Unpacks tar and zip archives into one folder, which appears when all are complete."""

import gzip
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pooch
from tqdm import tqdm

from ppl.command import command
from ppl.data.download import ARCHIVES
from ppl.files import UserError, atomic

Member = TypeVar("Member")


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
    """Extracts regular files and folders; UserError for a damaged archive, and for one with links, devices or names
    that reach out of `folder`.

    A published archive must have its checksum, also where it was put in place by hand.
    """
    if archive.name in ARCHIVES and not pooch.hashes.hash_matches(archive, f"sha256:{ARCHIVES[archive.name].sha256}"):
        raise UserError(f"{archive}: is not the published file (its checksum differs); delete it to download it again")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                for member in _counted(file.infolist(), archive.name):
                    name = PurePosixPath(member.filename)
                    if name.is_absolute() or ".." in name.parts or stat.S_ISLNK(member.external_attr >> 16):
                        raise tarfile.OutsideDestinationError(tarfile.TarInfo(member.filename), folder)
                    file.extract(member, folder)
        else:
            with tarfile.open(archive) as file:
                file.extractall(folder, members=_counted(file, archive.name), filter=_plain_files)
    except tarfile.FilterError as error:
        raise UserError(
            f"{archive}: holds a link or a device or would write elsewhere ({error}); get it from its source"
        ) from None
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{archive}: cannot be unpacked ({str(error).splitlines()[0]}); delete it to download it again"
        ) from None


def _plain_files(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """A filter that lets pass what Python's own for data does, but no links: photos and masks need none."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, folder)


def _counted(members: Iterable[Member], name: str) -> Iterator[Member]:
    yield from tqdm(members, f"unpack {name}", unit="file", mininterval=5, file=sys.stderr)


if __name__ == "__main__":
    command(main, Settings)
