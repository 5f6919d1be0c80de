"""Formats of masks: a slot of modules, one per format, and the choice of the one that a folder or file has.

Masks are for measuring only: `ppl.data.new` writes them, as PNGs of class ids, into the dataset's folder of masks, and
takes no label from them. A module contains

    NAME             what it is called in messages
    fits(source)     whether the masks have this format
    read(source)     `Masks`: the mask of each photo, to be linked or drawn

`own/MODULE` names a module of the user.
"""

from ppl.data.own.mask_source import Masks, MaskSource
from ppl.data.own.recognise import AUTO, several_fit
from ppl.jobs.slots import load

MASKS = {
    "ids": "ppl.data.own.masks.ids",
    "binary": "ppl.data.own.masks.binary",
    "colours": "ppl.data.own.masks.colours",
    "folders": "ppl.data.own.masks.class_folders",
    "coco": "ppl.data.own.masks.coco_json",
    "cvat": "ppl.data.own.masks.cvat_xml",
    "labelme": "ppl.data.own.masks.labelme_json",
}
"""Formats of masks by the value of `--mask-format`."""


def read_masks(source: MaskSource, name: str = AUTO) -> Masks:
    """Return the masks of a folder or file, of the format `name` or the one that it has.

    UserError if it has none, or several that would give other masks.
    """
    if name != AUTO:
        return load(MASKS, name).read(source)
    fits = [name for name in MASKS if load(MASKS, name).fits(source)]
    if not fits:
        raise source.no_masks()
    if len(fits) > 1:
        raise several_fit(source.path, {name: load(MASKS, name).NAME for name in fits}, "--mask-format")
    return load(MASKS, fits[0]).read(source)
