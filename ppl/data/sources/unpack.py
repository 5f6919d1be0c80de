"""Unpack tar and zip archives into one folder, which appears when all are unpacked."""

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
    """Extract regular files and folders; a published archive must have its checksum.

    UserError for a damaged archive, and for one with links, devices or names that lead outside `folder`.
    """
    if archive.name in ARCHIVES and _checksum(archive) != ARCHIVES[archive.name].sha256:
        raise UserError(archive, "not the published file (its checksum differs)", "delete it to download it again")
    try:
        with archive.open("rb") as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as members:
                    for member in _with_progress(members.infolist(), file, archive):
                        name = PurePosixPath(member.filename)
                        if name.is_absolute() or ".." in name.parts or stat.S_ISLNK(member.external_attr >> 16):
                            raise tarfile.OutsideDestinationError(tarfile.TarInfo(member.filename), folder)
                        members.extract(member, folder)
            else:
                file.seek(0)
                with tarfile.open(fileobj=file) as members:
                    members.extractall(folder, members=_with_progress(members, file, archive), filter=_plain_files)
    except tarfile.FilterError as error:
        raise UserError(
            archive, f"contains a link, a device or a name outside the folder ({error})", "download it from its source"
        ) from error
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(
            archive, f"cannot be unpacked ({str(error).splitlines()[0]})", "delete it to download it again"
        ) from error


def _plain_files(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Filter members as Python's data filter does, and refuse links, which photos and masks do not need."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, folder)


def _with_progress(members: Iterable[Member], file: IO[bytes], archive: Path) -> Iterator[Member]:
    """Yield the members of an archive; show progress by the position in `file`, from which they are read."""
    with progress(name=f"unpacking {archive.name}", unit="B", total=archive.stat().st_size) as bar:
        for member in members:
            yield member
            bar.update(file.tell() - bar.n)
        bar.update(bar.total - bar.n)  # the end of an archive need not be read


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
