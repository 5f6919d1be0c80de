"""Recognise files that are often taken for photos, to say what they are."""

import os
from importlib.util import find_spec
from pathlib import Path

START = 64  # bytes
BRANDS = {
    **dict.fromkeys(
        (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"),
        "a damaged HEIC photo" if find_spec("pillow_heif") else "a HEIC photo, which pillow-heif reads if installed",
    ),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image, to be converted to JPEG"),
    b"crx ": "a raw photo (CR3), to be developed",
}
"""Brands of ISO media files, which all start alike; of another brand it is a video."""
STARTS = {
    b"%PDF": "a PDF file",
    b"PK\3\4": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"version https://git-lfs": "a pointer of Git LFS, so run git lfs pull",
    b"\0\5\26\7": "metadata of macOS",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "a JPEG XL image, to be converted to JPEG",
    b"\0\0\0\x0cJXL ": "a JPEG XL image, to be converted to JPEG",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image, to be converted to JPEG",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"<svg": "an SVG drawing",
    b"<!doctype html": "a web page, such as a failed download",
    b"<html": "a web page, such as a failed download",
    b"%!PS": "a PostScript file",
}
"""First bytes, in lower case where they are text."""


def kind_of(path: Path | str) -> str | None:
    """Return what a file is, with its article; None if it is none of these, is cut short, or cannot be read."""
    try:
        if os.path.getsize(path) == 0:
            return "empty (0 bytes)"
        with open(path, "rb") as file:
            start = file.read(START)
    except OSError:
        return None
    if start[4:8] == b"ftyp":
        return BRANDS.get(start[8:12], "a video (MP4 or MOV)")
    text = start.lstrip().lower()
    return next((kind for head, kind in STARTS.items() if start.startswith(head) or text.startswith(head)), None)
