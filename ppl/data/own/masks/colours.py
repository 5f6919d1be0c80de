"""Colours of classes, with a table of them: CVAT's labelmap.txt, name,r,g,b, or JSON."""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from ppl.data.findings import listed
from ppl.data.own.cells import class_key
from ppl.data.own.colour_tables import Colour, find_table
from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.pixels import is_coloured, mode_of, read_colours, read_values
from ppl.jobs.errors import UserError

NAME = "colours"
BLACK = (0, 0, 0)
SHOWN = 4  # colours that a message names


def fits(source: MaskSource) -> bool:
    """Return whether masks have colours; or palettes, if a table names all colours in use.

    Palettes whose numbers are those of the named classes are left to `ids`.
    """
    if isinstance(source.by_photo, UserError):
        return False
    if any(map(is_coloured, source.by_photo.values())):
        return True
    table = ids_of(source)[0]
    palettes = [path for path in source.by_photo.values() if path.suffix.lower() != ".npy" and mode_of(path) == "P"]
    if not (table and palettes) or not all(set(_codes(path)) <= table.keys() for path in palettes):
        return False
    return not (source.ordered and _agrees_with_ids(source))


def read(source: MaskSource) -> Masks:
    """Return the masks. UserError if no table names the colours, or none of the classes."""
    table, origin, others = ids_of(source)
    if not table:
        colours = list(chain.from_iterable(map(_codes, list(source.single.values())[:SHOWN])))
        names = listed(",".join(map(str, _rgb(code))) for code in list(dict.fromkeys(colours))[:SHOWN])
        what = f"colours ({names}) without a table of their classes"
        remedy = "write lines name:r,g,b:: into labelmap.txt beside them, or choose by --colours FILE or --colours voc"
        raise UserError(source.path, what, remedy)
    if not set(table.values()) - {0, 255}:
        what = f"names none of the classes {listed(source.classes)}, but {listed(others or ['background alone'])}"
        raise UserError(origin, what, "spell classes there as in the labels")
    files = {photo: partial(_drawn, path, table, origin) for photo, path in source.single.items()}
    note = f"pixels of {listed(others)} in masks, no classes of the labels: they are background" if others else None
    left_out = filter(None, [note, source.unused(source.single)])
    return Masks(f"{NAME} of {origin}", files, tuple(left_out))


def ids_of(source: MaskSource) -> tuple[dict[int, int], str, list[str]]:
    """Return class ids by colour code, where the table lies, and its names that are no classes."""
    names, origin = find_table(source.path, source.colours, source.classes)
    if names and BLACK not in names:
        names = names | {BLACK: "background"}
    others = sorted({name for name in names.values() if class_key(name) not in source.id_of})
    return {_code(colour): source.id_of.get(class_key(name), 0) for colour, name in names.items()}, origin, others


def _agrees_with_ids(source: MaskSource) -> bool:
    """Return whether palette images hold the same classes by their colours as by their numbers."""
    table = ids_of(source)[0]
    return all(np.array_equal(_drawn(path, table, ""), read_values(path).values) for path in source.single.values())


def _codes(path: Path) -> list[int]:
    """Return the codes of the colours in a mask."""
    return np.unique(_coded(read_colours(path))).tolist()


def _coded(rgb: np.ndarray) -> np.ndarray:
    wide = rgb.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _code(colour: Colour) -> int:
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]


def _rgb(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255


def _drawn(path: Path, table: Mapping[int, int], origin: str) -> np.ndarray:
    """Return the classes of the colours in a mask; UserError for a colour that the table lacks."""
    codes, inverse = np.unique(_coded(read_colours(path)), return_inverse=True)
    if unknown := [code for code in codes.tolist() if code not in table]:
        what = f"colour {','.join(map(str, _rgb(unknown[0])))} is not in {origin}"
        raise UserError(path, what, "add it there, and save masks without smoothing or compression with loss")
    return np.array([table[code] for code in codes.tolist()], np.uint8)[inverse].reshape(inverse.shape)
