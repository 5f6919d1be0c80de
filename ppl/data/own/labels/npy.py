"""A dictionary from photo to vector of classes, saved by numpy or pickle, as the `cls_labels.npy` of many papers.

Such files are pickles, which can run any code. Here only arrays, numbers, texts and dictionaries are built: anything
else that a pickle asks for is refused before it is imported.
"""

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ppl.data.own.labels.json_labels import read_content
from ppl.data.own.labels.table import LABEL_FILES
from ppl.data.own.source import NUMPY, Source, is_array
from ppl.data.own.table import Table, joined
from ppl.jobs.errors import UserError, reason

NAME = "a dictionary of arrays"
ALLOWED = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"), ("collections", "OrderedDict"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}  # fmt: skip
"""What a pickle of arrays names."""
EXPORT = "save a dictionary from the name of each photo to a vector of 0 and 1, or write a table"


def files(source: Source) -> list[Path]:
    """Return the file, or files of a folder such as cls_labels.npy; arrays of other names may be anything."""
    return [
        path
        for path in source.files
        if (path == source.path or (path.suffix == ".npy" and LABEL_FILES.match(path.stem))) and is_array(path)
    ]


def read(source: Source, files: Sequence[Path]) -> Table:
    return joined(source, files, [read_content(source, files, path, read_dictionary(path), NAME) for path in files])


def read_dictionary(path: Path) -> dict[str | int, Any]:
    """Return the dictionary in a file with lists in place of arrays; UserError for any other content."""
    with path.open("rb") as file:
        content = _load(path, file)
    if isinstance(content, np.ndarray) and content.dtype == object and content.size == 1:
        content = content.item()
    if not isinstance(content, dict) or not content:
        kind = f"an array of shape {content.shape}" if isinstance(content, np.ndarray) else type(content).__name__
        raise UserError(path, f"no dictionary from photos to classes but {kind}", EXPORT)
    return {key if isinstance(key, int) else _text(key): _plain(value) for key, value in content.items()}


class _RefusedError(Exception):
    """A pickle asks for a class or function that is not of arrays."""


class _Unpickler(pickle.Unpickler):
    """Build arrays and plain values alone: refuse any other class or function without importing it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return OrderedDict if name == "OrderedDict" else super().find_class(module, name)


def _load(path: Path, file: BinaryIO) -> Any:
    try:
        if file.read(len(NUMPY)) == NUMPY:
            file.seek(0)
            version = np.lib.format.read_magic(file)
            formats = np.lib.format
            read_header = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
            shape, _, dtype = read_header(file)
            if not dtype.hasobject:
                return np.broadcast_to(np.zeros((), np.uint8), shape)  # the shape is all that the error needs
        else:
            file.seek(0)
        return _Unpickler(file, encoding="latin1").load()
    except _RefusedError as error:
        what = f"a pickle that may run code (it asks for {error}): not loaded"
        raise UserError(path, what, EXPORT) from error
    except Exception as error:  # of damaged pickles, of many types
        raise UserError(path, f"cannot be read ({reason(error)})", EXPORT) from error


def _plain(value: Any) -> Any:
    """Return lists and numbers in place of arrays and numpy's scalars."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    return _text(value) if isinstance(value, bytes) else value


def _text(key: Any) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)
