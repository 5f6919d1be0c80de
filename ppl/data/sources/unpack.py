"""Unpacks tar and zip archives into one folder, which appears when all are complete."""

import gzip
import hashlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from ppl.data.sources.download import ARCHIVES, BLOCK
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.jobs.progress import progress

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
    if archive.name in ARCHIVES and _checksum(archive) != ARCHIVES[archive.name].sha256:
        raise UserError(archive, "is not the published file (its checksum differs)", "delete it to download it again")
    try:
        with archive.open("rb") as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as members:
                    for member in _shown(members.infolist(), file, archive):
                        name = PurePosixPath(member.filename)
                        if name.is_absolute() or ".." in name.parts or stat.S_ISLNK(member.external_attr >> 16):
                            raise tarfile.OutsideDestinationError(tarfile.TarInfo(member.filename), folder)
                        members.extract(member, folder)
            else:
                file.seek(0)
                with tarfile.open(fileobj=file) as members:
                    members.extractall(folder, members=_shown(members, file, archive), filter=_plain_files)
    except tarfile.FilterError as error:
        raise UserError(
            archive, f"holds a link or a device or would write elsewhere ({error})", "get it from its source"
        ) from None
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(
            archive, f"cannot be unpacked ({str(error).splitlines()[0]})", "delete it to download it again"
        ) from None


def _plain_files(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """A filter that lets pass what Python's own for data does, but no links: photos and masks need none."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, folder)


def _shown(members: Iterable[Member], file: IO[bytes], archive: Path) -> Iterator[Member]:
    """The members of an archive; progress is how far `file`, from which they are read, has been read."""
    with progress(name=f"unpacking {archive.name}", unit="B", total=archive.stat().st_size) as bar:
        for member in members:
            yield member
            bar.update(file.tell() - bar.n)
        bar.update(bar.total - bar.n)  # what ends an archive need not be read


def _checksum(archive: Path) -> str:
    total = archive.stat().st_size
    with archive.open("rb") as file, progress(name=f"checksum of {archive.name}", unit="B", total=total) as bar:
        digest = hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


if __name__ == "__main__":
    command(main, Settings)
