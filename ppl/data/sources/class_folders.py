"""Source `class_folders`: photos in one folder per class, whose name is the label of its photos; no masks."""

from collections.abc import Sequence
from pathlib import Path

from ppl.data.lists import write_lists
from ppl.data.photos import PHOTO_SUFFIXES
from ppl.data.settings import ClassFolders
from ppl.jobs.errors import UserError


def check(settings: ClassFolders) -> None:
    if settings.path is None:
        raise UserError("data.class_folders", "source class_folders needs path", "name the folder of the classes")


def inputs(settings: ClassFolders, splits: Sequence[str]) -> list[str]:
    """Return the photos: a new one has a label and belongs to a split."""
    return [str(photo) for photo in photos(settings)]


def prepare(settings: ClassFolders, out: Path, *, workers: int) -> None:
    """Write the dataset folder: links to the photos, and lists of the splits train and val."""
    (out / "JPEGImages").mkdir()
    labels, of_class = {}, {}
    for photo in photos(settings):
        name, image_id = photo.parent.name, f"{photo.parent.name}_{photo.stem}"
        if image_id in labels:
            raise UserError(photo, "another photo of its class has this name", "rename one of them")
        labels[image_id] = [name]
        of_class.setdefault(name, []).append(image_id)
        (out / "JPEGImages" / f"{image_id}{photo.suffix.lower()}").symlink_to(photo.resolve())
    if not labels:
        raise UserError(settings.path, "has no photos in folders of classes", "put them into CLASS/NAME.jpg")
    held_out = {image_id for image_ids in of_class.values() for image_id in image_ids[:: settings.val_every]}
    train, val = ([i for i in labels if (i in held_out) == chosen] for chosen in (False, True))
    write_lists(out, list(of_class), labels, {"train": train, "val": val})


def photos(settings: ClassFolders) -> list[Path]:
    """Return the photos of all classes, sorted by class and name."""
    check(settings)
    return sorted(path for path in Path(settings.path).glob("*/*") if path.suffix.lower() in PHOTO_SUFFIXES)
