"""Downloads an archive: goes on where an interrupted download ended, and keeps only what has the known checksum."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pooch
from tqdm import tqdm

from ppl.command import command
from ppl.files import UserError

BLOCK = 1 << 20  # bytes
PATIENCE = 60  # seconds without a byte


class Archive(NamedTuple):
    """Where an archive is, and the MD5 under which it was published."""

    url: str
    md5: str


ARCHIVES = {
    "VOCtrainval_11-May-2012.tar": Archive(
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
    ),
    "VOC2012test.tar": Archive(
        "http://host.robots.ox.ac.uk:8080/eval/downloads/VOC2012test.tar", "9065beb292b6c291fad82b2725749fda"
    ),
    "benchmark.tgz": Archive(
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        "82b4d87ceb2ed10f6038a1cba92111cb",
    ),
    "train2014.zip": Archive("http://images.cocodataset.org/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88"),
    "val2014.zip": Archive("http://images.cocodataset.org/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3"),
    "annotations_trainval2014.zip": Archive(
        "http://images.cocodataset.org/annotations/annotations_trainval2014.zip", "0a379cfc70b0e71301e0f377548639bd"
    ),
}


@dataclass(frozen=True)
class Settings:
    out: Path
    """File to write; its name is that of the archive."""


def main(settings: Settings) -> None:
    name = settings.out.name
    if name not in ARCHIVES:
        raise UserError(f"{name}: unknown archive; there are {', '.join(ARCHIVES)}")
    fetch(ARCHIVES[name], settings.out)


def fetch(archive: Archive, out: Path) -> None:
    """Downloads an archive as `out`, unless that is there already and has its checksum.

    What an interrupted download left in OUT.part is not downloaded again. UserError when the server cannot be reached
    or sends something else: it names the file, where it comes from, and where it may be put by hand.
    """
    by_hand = f"download {archive.url} by other means and save it as {out}"
    try:
        pooch.retrieve(archive.url, f"md5:{archive.md5}", fname=out.name, path=out.parent, downloader=_Resuming(out))
    except ValueError:  # pooch compares checksums; what it took for the file is gone
        raise UserError(
            f"{out.name}: {archive.url} sent a file of another checksum; try again later, or {by_hand}"
        ) from None
    except (HTTPError, URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{out.name}: cannot be downloaded ({reason}); run again to go on, or {by_hand}") from None


class _Resuming:
    """A downloader for pooch that appends to FILE.part, and hands it over when it is complete."""

    def __init__(self, out: Path) -> None:
        self.part = out.with_name(f"{out.name}.part")

    def __call__(self, url: str, output_file: str, _: pooch.Pooch | None) -> None:
        held = self.part.stat().st_size if self.part.exists() else 0
        try:
            response = urlopen(Request(url, headers={"Range": f"bytes={held}-"} if held else {}), timeout=PATIENCE)
        except HTTPError as error:
            if error.code != 416:  # the server's file is not longer than what is there: the checksum decides
                raise
            os.replace(self.part, output_file)
            return
        with response:
            held = held if response.status == 206 else 0  # a server may ignore what it was asked for and start over
            total = held + int(response.headers.get("Content-Length", 0))
            with (
                self.part.open("ab" if held else "wb") as file,
                tqdm(
                    total=total or None, initial=held, unit="B", unit_scale=True, desc=self.part.stem, file=sys.stderr
                ) as bar,
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
