"""Download an archive: resume an interrupted download, and verify the checksum."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pooch

from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.progress import progress

BLOCK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte


class Archive(NamedTuple):
    """URL of an archive and its SHA-256."""

    url: str
    sha256: str


# All use TLS. The organisers' server offers VOC's test photos only by HTTP and behind a login (docs/voc.md), so this is
# a mirror. COCO's own address presents the certificate of the storage service, which is used here instead.
COCO = "https://s3.amazonaws.com/images.cocodataset.org"
ARCHIVES = {
    "VOCtrainval_11-May-2012.tar": Archive(
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    ),
    "VOC2012test.tar": Archive(
        "https://pjreddie.com/media/files/VOC2012test.tar",
        "f08582b1935816c5eab3bbb1eb6d06201a789eaa173cdf1cf400c26f0cac2fb3",
    ),
    "benchmark.tgz": Archive(
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        "6a5a2918d5c73ce032fdeba876574d150d9d04113ab87540a1304cbcc715be53",
    ),
    "train2014.zip": Archive(
        f"{COCO}/zips/train2014.zip", "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"
    ),
    "val2014.zip": Archive(
        f"{COCO}/zips/val2014.zip", "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"
    ),
    "annotations_trainval2014.zip": Archive(
        f"{COCO}/annotations/annotations_trainval2014.zip",
        "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    ),
}


@dataclass(frozen=True)
class Settings:
    out: Path
    """File to write, named as the archive."""


def main(settings: Settings) -> None:
    name = settings.out.name
    if name not in ARCHIVES:
        raise UserError(name, "unknown archive", f"choose one of {', '.join(ARCHIVES)}")
    fetch(ARCHIVES[name], settings.out)


def fetch(archive: Archive, out: Path) -> None:
    """Download an archive as `out`, unless that exists and has the right checksum.

    The part that an interrupted download left in OUT.part is not downloaded again. UserError when the server cannot be
    reached or sends another file: it names the file, its URL, and where to save it by hand.
    """
    by_hand = f"download {archive.url} by other means and save it as {out}"
    try:
        known = f"sha256:{archive.sha256}"
        pooch.retrieve(archive.url, known, fname=out.name, path=out.parent, downloader=_Resuming(out))
    except ValueError as error:  # pooch compares checksums and has removed the file
        raise UserError(
            out.name, f"{archive.url} sent a file of another checksum", f"try again later, or {by_hand}"
        ) from error
    except (HTTPError, URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(out.name, f"cannot be downloaded ({reason})", f"run again to resume, or {by_hand}") from error


class _Resuming:
    """A downloader for pooch that appends to FILE.part and renames it when it is complete."""

    def __init__(self, out: Path) -> None:
        self.part = out.with_name(f"{out.name}.part")

    def __call__(self, url: str, output_file: str, _: pooch.Pooch | None) -> None:
        present = self.part.stat().st_size if self.part.exists() else 0
        try:
            response = urlopen(Request(url, headers={"Range": f"bytes={present}-"} if present else {}), timeout=TIMEOUT)
        except HTTPError as error:
            if error.code != 416:  # nothing is left to download: the checksum decides
                raise
            os.replace(self.part, output_file)
            return
        with response:
            present = present if response.status == 206 else 0  # a server may ignore the range and send the whole file
            total = present + int(response.headers.get("Content-Length", 0))
            with (
                self.part.open("ab" if present else "wb") as file,
                progress(name=f"download of {self.part.stem}", unit="B", total=total or None, initial=present) as bar,
            ):
                while block := response.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
                received = file.tell()
        if received < total:
            raise OSError(f"the connection ended after {received:,} of {total:,} bytes")
        os.replace(self.part, output_file)


if __name__ == "__main__":
    command(main, Settings)
