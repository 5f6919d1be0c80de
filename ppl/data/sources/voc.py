"""Source `voc`: PASCAL VOC 2012 with the additional masks of SBD as one dataset folder (Section IV-A).

Photos and VOC's masks are linked, SBD's masks are converted to palette PNGs. Photos with an EXIF orientation are copied
without it, as masks are of the pixels as stored. Image-level labels are the classes in the annotation XML. The split
`trainaug` is (VOC train + SBD) without VOC val.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ppl.data.dataset import LISTS
from ppl.data.lists import write_lists
from ppl.data.masks import write_mask
from ppl.data.orientation import find_turned, link_or_copy
from ppl.data.settings import Voc
from ppl.jobs.errors import UserError, reason
from ppl.jobs.parallel import run_all
from ppl.jobs.shards import in_chunks

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
IMAGES_PER_TASK = 64
PUBLISHED = {"train": 1464, "val": 1449, "test": 1456}
"""Images in VOC 2012's segmentation lists; its server refuses an archive with another number of test images."""
ARCHIVES = ("VOCtrainval_11-May-2012.tar", "benchmark.tgz")
TEST_ARCHIVE = "VOC2012test.tar"
"""VOC's test photos, which need a login."""


def archives(settings: Voc, splits: Sequence[str]) -> tuple[str, ...]:
    """Return the archives to download: none if the user has them, that of the test photos only with a split `test`."""
    if settings.path is not None:
        return ()
    return (*ARCHIVES, TEST_ARCHIVE) if "test" in splits else ARCHIVES


def has_masks(settings: Voc) -> bool:
    return True


def prepare(settings: Voc, out: Path, *, workers: int) -> None:
    """Write the dataset folder with the splits train, val and trainaug, and test if its archive is there.

    Below `settings.path` are VOCdevkit/VOC2012 and benchmark_RELEASE/dataset (or SBD).
    """
    if settings.path is None:
        raise UserError("data.voc", "source voc needs path", "name the folder of the unpacked archives")
    voc, sbd = find_voc(Path(settings.path)), find_sbd(Path(settings.path))
    lists = {name: read_list(voc / LISTS / f"{name}.txt") for name in ("train", "val")}
    if (voc / LISTS / "test.txt").exists():  # from a separate archive, behind a login
        lists["test"] = read_list(voc / LISTS / "test.txt")
        check_test(voc / LISTS / "test.txt", lists)
    extra = [image_id for name in ("train", "val") for image_id in read_list(sbd / f"{name}.txt")]
    lists["trainaug"] = trainaug(lists["train"], lists["val"], extra)
    decoded = sorted(set(lists["trainaug"]) - set(lists["train"]))
    masks = out / "SegmentationClass"
    masks.mkdir()
    link_photos(voc / "JPEGImages", sorted({*chain.from_iterable(lists.values())}), out / "JPEGImages", workers)
    for image_id in (*lists["train"], *lists["val"]):
        (masks / f"{image_id}.png").symlink_to((voc / "SegmentationClass" / f"{image_id}.png").resolve())
    chunks = in_chunks(decoded, IMAGES_PER_TASK)
    decode = partial(_decode, sbd / "cls", masks)
    for _ in run_all(decode, chunks, workers=workers, total=len(decoded), size=len, name="masks of SBD decoded"):
        pass
    labelled = sorted({*lists["trainaug"], *lists["val"]})
    labels = {image_id: classes_of(voc / "Annotations" / f"{image_id}.xml") for image_id in labelled}
    write_lists(out, CLASSES, labels, lists)


def link_photos(source: Path, image_ids: Sequence[str], target: Path, workers: int) -> None:
    """Link the folder of photos; if some of the listed ones have an EXIF orientation, link or copy each of these."""
    source = source.resolve()
    photos = [source / f"{image_id}.jpg" for image_id in image_ids]
    turned = find_turned(photos, workers=workers)
    if turned:
        target.mkdir()
        link_or_copy(photos, turned, target, workers=workers)
    else:
        target.symlink_to(source, target_is_directory=True)


def find_voc(root: Path) -> Path:
    """Return the folder VOC2012 in or below `root`; UserError if a part of it is missing."""
    voc = _first(root, ("VOCdevkit/VOC2012", "VOC2012", "."), "JPEGImages", "VOC 2012 (VOCdevkit/VOC2012)")
    for name in ("Annotations", "SegmentationClass", f"{LISTS}/train.txt", f"{LISTS}/val.txt"):
        if not (voc / name).exists():
            raise UserError(voc, f"lacks {name}", "unpack VOCtrainval_11-May-2012.tar there")
    return voc


def find_sbd(root: Path) -> Path:
    """Return the folder of SBD with cls/, train.txt and val.txt, in or below `root`."""
    return _first(root, ("benchmark_RELEASE/dataset", "SBD", "sbd", "."), "cls", "SBD (benchmark_RELEASE/dataset)")


def trainaug(train: Sequence[str], val: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Return VOC train and SBD's images without those of VOC val, sorted; 10,582 for the published lists."""
    return sorted({*train, *extra} - set(val))


def check_test(path: Path, splits: dict[str, list[str]]) -> None:
    """Raise UserError if the list of test images `path` is incomplete, so that the server would refuse the results.

    Only for VOC 2012, recognised by the published numbers of train and val.
    """
    published = all(len(splits[name]) == PUBLISHED[name] for name in ("train", "val"))
    number = len(set(splits["test"]))
    if published and not number == len(splits["test"]) == PUBLISHED["test"]:
        raise UserError(
            path,
            f"{number} different images in {len(splits['test'])} lines, VOC 2012 has {PUBLISHED['test']}",
            "unpack VOC2012test.tar again",
        )


def read_list(path: Path) -> list[str]:
    """Return the image ids of a list, one per line."""
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise UserError(path, f"{error.strerror}", "unpack the archive again") from error
    except UnicodeDecodeError as error:
        raise UserError(path, "not a list of images", "unpack the archive again") from error


def classes_of(annotation: Path) -> list[str]:
    """Return the class names in an annotation XML, including difficult objects, in the order of their ids."""
    try:
        names = {node.text for node in ElementTree.parse(annotation).iterfind("object/name")}
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise UserError(annotation, f"not a readable annotation ({error})", "unpack the archive again") from error
    if unknown := sorted(map(str, names - set(CLASSES))):
        raise UserError(annotation, f"{unknown[0]!r} is not a class of VOC 2012", "unpack the archive again")
    return [name for name in CLASSES if name in names]


def decode_sbd(path: Path) -> np.ndarray:
    """Return the class ids (h, w) uint8 of one of SBD's cls/*.mat files, which have no ignored border."""
    from scipy.io import loadmat  # here: Snakemake's process imports this module, and scipy takes most of a second

    remedy = "unpack the archive again"
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except Exception as error:  # scipy's reader raises exceptions of many types
        raise UserError(path, f"not a readable mask of SBD ({reason(error)})", remedy) from error
    mask = getattr(content.get("GTcls"), "Segmentation", None)
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype.kind not in "biuf":
        raise UserError(path, "not a readable mask of SBD (no two-dimensional GTcls.Segmentation)", remedy)
    return mask.astype(np.uint8)


def _decode(cls: Path, masks: Path, image_ids: Sequence[str]) -> None:
    for image_id in image_ids:
        write_mask(masks / f"{image_id}.png", decode_sbd(cls / f"{image_id}.mat"))


def _first(root: Path, places: Sequence[str], needed: str, what: str) -> Path:
    for place in places:
        if (root / place / needed).is_dir():
            return root / place
    raise UserError(root, f"{what} is missing", "docs/voc.md says which archive goes where")
