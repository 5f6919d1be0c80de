"""Masks as tools write them: every format gives the same class ids, and doubt is refused with what decides it."""

import base64
import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ppl.data import check, new
from ppl.data.dataset import Dataset
from ppl.data.masks import VOC_COLOURS, read_mask, write_mask
from ppl.data.own.colour_tables import read_table
from ppl.data.own.mask_formats import MASKS, read_masks
from ppl.data.own.mask_source import MaskSource
from ppl.data.own.names import Names
from ppl.data.own.photos import PhotoIndex
from ppl.jobs.errors import UserError
from ppl.jobs.slots import load

CLASSES = ("disc", "Big square")
SIZE = (12, 16)
SWAPPED = np.array([0, 2, 1], np.uint8)


def scenes() -> dict[str, np.ndarray]:
    a, b, c = (np.zeros(SIZE, np.uint8) for _ in range(3))
    a[2:6, 3:9] = 1
    b[1:4, 1:5], b[6:11, 8:14] = 1, 2
    return {"a": a, "b": b, "c": c}


WANT = scenes()
LABEL_MAP = "# label:color_rgb:parts:actions\nBig square:0,128,0::\nbackground:0,0,0::\ndisc:128,0,0::\n"
TABLES = {
    "labelmap.txt": LABEL_MAP,
    "class_dict.csv": "name,r,g,b\nbackground,0,0,0\nDisc,128,0,0\nbig square,0,128,0\n",
    "colours.csv": "disc,#800000\nBig square,#008000\n",
    "label_colors.txt": "128 0 0\tdisc\n0 128 0\tBig square\n0 0 0\tBackground\n",
    "colormap.txt": "0,background,0,0,0\n1,disc,128,0,0\n2,Big square,0,128,0\n",
    "palette.csv": '"disc";1;128;0;0\n"Big square";2;0;128;0\n',
    "classes.json": json.dumps({"disc": [128, 0, 0], "Big square": "#008000"}),
    "labels.json": json.dumps([{"name": "disc", "color": "#800000"}, {"name": "Big square", "color": "#008000"}]),
    "meta.json": json.dumps({"classes": [
        {"title": "disc", "color": "#800000"}, {"title": "Big square", "color": "#008000"}
    ]}),
}  # fmt: skip


def save(folder: Path, change=lambda mask: mask, name="{}.png") -> Path:
    for stem, mask in WANT.items():
        path = folder / name.format(stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = change(mask)
        if isinstance(pixels, Image.Image):
            pixels.save(path)
        elif path.suffix == ".npy":
            np.save(path, pixels)
        else:
            Image.fromarray(pixels).save(path)
    return folder


def white_on_black(mask: np.ndarray) -> np.ndarray:
    return ((mask == 1) * 255).astype(np.uint8)


def white_first(mask: np.ndarray) -> Image.Image:
    """A palette image of which 0 is white, as tools that reduce files write them."""
    image = Image.fromarray((mask != 1).astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])
    return image


def two_bits(mask: np.ndarray) -> Image.Image:
    """A palette image of few colours, whose numbers are the ids."""
    image = Image.fromarray(mask)
    image.putpalette(VOC_COLOURS[:4].tobytes())
    return image


def in_colours(mask: np.ndarray) -> Image.Image:
    """A palette image whose colours name other classes than its numbers."""
    image = Image.fromarray(SWAPPED[mask])
    image.putpalette(VOC_COLOURS[SWAPPED].tobytes())
    return image


def numbered_otherwise(mask: np.ndarray) -> Image.Image:
    """A palette image whose numbers are those of no class."""
    image = Image.fromarray(np.array([7, 9, 5], np.uint8)[mask])
    palette = np.zeros((10, 3), np.uint8)
    palette[[7, 9, 5]] = VOC_COLOURS[:3]
    image.putpalette(palette.tobytes())
    return image


def with_labelmap(folder: Path) -> Path:
    (folder / "labelmap.txt").write_text(LABEL_MAP)
    return folder


def classes_in_folders(folder: Path) -> Path:
    for number, name in enumerate(CLASSES, start=1):
        save(folder, lambda mask, number=number: ((mask == number) * 255).astype(np.uint8), f"{name.upper()}/{{}}.png")
    return folder


def classes_behind_names(folder: Path) -> Path:
    for number, name in enumerate(CLASSES, start=1):
        save(folder, lambda mask, number=number: mask == number, f"{{}}_{name}.png")
    return folder


def classes_in_photos(folder: Path) -> Path:
    for number, name in enumerate(CLASSES, start=1):
        save(folder, lambda mask, number=number: mask == number, f"{{}}/{name}.png")
    return folder


def colours(folder: Path, table="labelmap.txt", mode="RGB") -> Path:
    save(folder, lambda mask: Image.fromarray(VOC_COLOURS[mask]).convert(mode))
    (folder / table).write_text(TABLES[table], encoding="utf-8")
    return folder


def cvat_export(folder: Path) -> Path:
    save(folder / "SegmentationClass", lambda mask: VOC_COLOURS[mask])
    (folder / "labelmap.txt").write_text(LABEL_MAP)
    return folder / "SegmentationClass"


def coco(folder: Path, *, compressed: bool = True) -> Path:
    annotations = []
    for image, mask in enumerate(WANT.values()):
        for number in (1, 2):
            if (mask == number).any():
                code = rle.encode(np.asfortranarray(mask == number))
                code["counts"] = code["counts"].decode()
                if not compressed:
                    flat = (mask == number).ravel(order="F").astype(int)
                    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]
                    code = {"size": list(SIZE), "counts": [int(n) for n in np.diff(edges)]}
                annotations.append({"id": 1, "image_id": image, "category_id": number + 4, "segmentation": code})
    images = [{"id": n, "file_name": f"{stem}.jpg", "height": SIZE[0], "width": SIZE[1]} for n, stem in enumerate(WANT)]
    categories = [{"id": n + 4, "name": name} for n, name in enumerate(CLASSES, start=1)]
    folder.mkdir(exist_ok=True)
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


BOXES = {"a": [("disc", 3, 2, 9, 6)], "b": [("disc", 1, 1, 5, 4), ("Big square", 8, 6, 14, 11)], "c": []}
"""The objects of WANT: class, left, top, right, bottom."""


def corners(x: int, y: int, u: int, v: int) -> list[list[int]]:
    return [[x, y], [u, y], [u, v], [x, v]]


def labelme(folder: Path, kind: str = "polygon") -> Path:
    folder.mkdir()
    for stem, boxes in BOXES.items():
        shapes = [{"label": name, "points": corners(*box), "shape_type": kind} for name, *box in boxes]
        shapes += [
            {"label": "disc", "points": [[1, 1]], "shape_type": "point"},
            {"label": "_background_", "points": []},
        ]
        content = {"shapes": shapes, "imagePath": f"{stem}.jpg", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def cvat(folder: Path, kind: str = "polygon") -> Path:
    images = ""
    for stem, boxes in BOXES.items():
        images += f'<image id="0" name="{stem}.jpg" width="{SIZE[1]}" height="{SIZE[0]}"><tag label="disc"/>'
        for name, x, y, u, v in boxes:
            if kind == "mask":  # with a margin of one pixel on the left
                row = f"1, {u - x}, " * (v - y - 1) + f"1, {u - x}"
                place = f'left="{x - 1}" top="{y}" width="{u - x + 1}" height="{v - y}"'
                images += f'<mask label="{name}" rle="{row}" {place} z_order="0"/>'
            else:
                points = ";".join(f"{a},{b}" for a, b in corners(x, y, u, v))
                images += f'<{kind} label="{name}" points="{points}" z_order="0"/>'
        images += "</image>"
    folder.mkdir()
    (folder / "annotations.xml").write_text(f"<annotations><version>1.1</version>{images}</annotations>")
    return folder


FORMATS = {
    "ids": save,
    "palette": lambda folder: save(folder, two_bits),
    "16 bits": lambda folder: save(folder, lambda mask: mask.astype(np.uint16)),
    "32 bits": lambda folder: save(folder, lambda mask: Image.fromarray(mask.astype(np.int32)), "{}.tif"),
    "TIFF": lambda folder: save(folder, name="{}.TIF"),
    "GIF": lambda folder: save(folder, name="{}.gif"),
    "arrays": lambda folder: save(folder, name="{}.npy"),
    "arrays of 64 bits": lambda folder: save(folder, lambda mask: mask[None].astype(np.int64), "{}.npy"),
    "three equal channels": lambda folder: save(folder, lambda mask: np.dstack([mask] * 3)),
    "a suffix": lambda folder: save(folder, name="{}_mask.png"),
    "another suffix": lambda folder: save(folder, name="{}-Seg.png"),
    "a prefix": lambda folder: save(folder, name="mask_{}.png"),
    "the photo's suffix in front": lambda folder: save(folder, name="{}.jpg.png"),
    "folders": classes_in_folders,
    "classes behind names": classes_behind_names,
    "a folder for each photo": classes_in_photos,
    "CVAT": cvat_export,
    "RGBA": lambda folder: colours(folder, mode="RGBA"),
    "palettes of colours": lambda folder: with_labelmap(save(folder, numbered_otherwise)),
    "labelme": labelme,
    "CVAT, polygons": cvat,
    "CVAT, masks": lambda folder: cvat(folder, "mask"),
    "CVAT, the file alone": lambda folder: cvat(folder) / "annotations.xml",
    "COCO, RLE": coco,
    "COCO, run lengths": lambda folder: coco(folder, compressed=False),
    **{f"colours of {table}": lambda folder, table=table: colours(folder, table) for table in TABLES},
}


def source_of(path: Path, classes=CLASSES, photos=("a.jpg", "b.jpg", "c.jpg"), root: Path | None = None, **options):
    names = Names(root or path.parent / "photos", PhotoIndex(tuple(map(PurePosixPath, photos))))
    return MaskSource(path, names, classes, **{"ordered": True} | options)


def drawn(source: MaskSource, name: str = "auto") -> dict[str, np.ndarray]:
    masks = read_masks(source, name).of_photo
    return {str(p.with_suffix("")): read_mask(m) if isinstance(m, Path) else m() for p, m in masks.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_class_ids(tmp_path, name):
    masks = drawn(source_of(FORMATS[name](tmp_path / "masks")))
    assert masks.keys() == WANT.keys()
    for stem, mask in masks.items():
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, WANT[stem])


@pytest.mark.parametrize(
    "change",
    [white_on_black, lambda mask: mask == 1, lambda mask: white_on_black(mask).astype(np.uint16) * 257,
     lambda mask: np.dstack([white_on_black(mask)] * 3), lambda mask: white_on_black(mask).astype(np.uint16),
     white_first],
)  # fmt: skip
@pytest.mark.parametrize("name", ["{}.png", "{}_mask.png"])
def test_white_is_the_only_class_and_with_several_it_is_refused(tmp_path, change, name):
    folder = save(tmp_path / "masks", change, name)
    for stem, mask in drawn(source_of(folder, ("disc",), ordered=False)).items():
        np.testing.assert_array_equal(mask, WANT[stem] == 1)
    with pytest.raises(UserError, match="white may be any of 2 classes, or ignored; put the masks of each class into"):
        drawn(source_of(folder))


def test_masks_of_255_beside_ids_are_ids(tmp_path):
    folder = save(tmp_path / "masks", lambda mask: np.where(mask == 2, 255, mask).astype(np.uint8))
    np.testing.assert_array_equal(drawn(source_of(folder, ("disc",)))["b"], np.where(WANT["b"] == 2, 255, WANT["b"]))


def test_palettes_that_may_be_read_by_number_or_colour_are_refused_and_an_option_decides(tmp_path):
    folder = save(tmp_path / "masks", in_colours)
    (folder / "labelmap.txt").write_text(LABEL_MAP)
    with pytest.raises(
        UserError, match="two ways: as class ids, or as colours; choose by --mask-format ids or colours"
    ):
        drawn(source_of(folder))
    for name, want in (("colours", WANT["b"]), ("ids", SWAPPED[WANT["b"]])):
        np.testing.assert_array_equal(drawn(source_of(folder), name)["b"], want)


def test_colours_without_a_table_are_refused_and_an_option_decides(tmp_path):
    folder = save(tmp_path / "masks", lambda mask: VOC_COLOURS[mask])
    with pytest.raises(UserError, match=r"colours \(0,0,0.*128,0,0.*--colours FILE or --colours voc"):
        drawn(source_of(folder))
    (tmp_path / "elsewhere.txt").write_text(LABEL_MAP)
    for colours in ("voc", str(tmp_path / "elsewhere.txt")):
        np.testing.assert_array_equal(drawn(source_of(folder, colours=colours))["b"], WANT["b"])


def test_a_photo_with_two_masks_is_refused_and_a_suffix_decides(tmp_path):
    save(tmp_path / "masks", name="{}_mask.png")
    save(tmp_path / "masks", lambda mask: mask * 2, "{}_gt.png")
    with pytest.raises(UserError, match=r"named as photos with '_\w+', or with '_\w+'; choose by --mask-suffix"):
        drawn(source_of(tmp_path / "masks"))
    np.testing.assert_array_equal(drawn(source_of(tmp_path / "masks", suffix="_mask"))["b"], WANT["b"])
    with pytest.raises(
        UserError, match=r"^--mask-suffix: no mask is named as a photo with '_x' behind it; choose one of"
    ):
        drawn(source_of(tmp_path / "masks", suffix="_x"))


def test_masks_in_folders_of_classes_as_the_photos_are_refused_where_they_hold_ids_of_two_values(tmp_path):
    photos = [f"disc/{stem}.jpg" for stem in "abc"]
    folder = save(tmp_path / "masks", lambda mask: (mask > 0).astype(np.uint8) * 2, "disc/{}.png")
    with pytest.raises(UserError, match="two ways: as class ids, or as a mask for each class; choose by --mask-format"):
        drawn(source_of(folder, photos=photos))
    for name, number in (("ids", 2), ("folders", 1)):
        np.testing.assert_array_equal(drawn(source_of(folder, photos=photos), name)["disc/a"] == number, WANT["a"] > 0)
    folder = save(tmp_path / "ids", name="disc/{}.png")
    np.testing.assert_array_equal(drawn(source_of(folder, photos=photos))["disc/b"], WANT["b"])


def test_where_classes_overlap_pixels_are_ignored(tmp_path):
    for name in CLASSES:
        save(tmp_path / "masks", lambda mask: ((mask > 0) * 255).astype(np.uint8), f"{name}/{{}}.png")
    np.testing.assert_array_equal(drawn(source_of(tmp_path / "masks"))["b"], (WANT["b"] > 0) * 255)


def test_a_folder_of_background_overlaps_no_class(tmp_path):
    folder = classes_in_folders(tmp_path / "masks")
    save(folder, lambda mask: np.full_like(mask, 255), "background/{}.png")
    for stem, mask in drawn(source_of(folder)).items():
        np.testing.assert_array_equal(mask, WANT[stem])


def test_the_highest_value_of_16_bits_is_ignored_as_255_of_8_bits_is(tmp_path):
    folder = save(tmp_path / "masks", lambda mask: np.where(mask == 2, 65_535, mask).astype(np.uint16))
    np.testing.assert_array_equal(drawn(source_of(folder))["b"], np.where(WANT["b"] == 2, 255, WANT["b"]))


@pytest.mark.parametrize("axis", [0, 2])
def test_an_array_may_have_an_axis_of_channels(tmp_path, axis):
    folder = save(tmp_path / "masks", lambda mask: np.expand_dims(mask, axis), "{}.npy")
    np.testing.assert_array_equal(drawn(source_of(folder))["b"], WANT["b"])


def test_polygons_are_drawn_small_over_large_and_other_classes_are_named(tmp_path):
    def shape(x, y, category, area):
        return {"image_id": 0, "category_id": category, "area": area, "segmentation": [[0, 0, x, 0, x, y, 0, y]]}

    path = coco(tmp_path / "masks")
    content = json.loads(path.read_text())
    content["categories"].append({"id": 9, "name": "tree"})
    line = {"image_id": 0, "category_id": 5, "segmentation": [[1, 1, 9, 9]]}  # covers nothing
    content["annotations"] = [shape(4, 4, 5, 16), line, shape(16, 12, 6, 192), shape(9, 9, 9, 81)]
    path.write_text(json.dumps(content))
    masks = read_masks(source_of(path))
    mask = masks.of_photo[PurePosixPath("a.jpg")]()
    assert (mask[:4, :4] == 1).all()
    assert (mask[4:] == 2).all()
    assert masks.left_out == ("objects of tree, no classes of the labels: they are background",)


def test_shapes_of_higher_layers_cover_others_and_ellipses_are_drawn(tmp_path):
    shapes = (
        '<polygon label="disc" points="0,0;4,0;4,4;0,4" z_order="0"/>'
        '<polygon label="Big square" points="0,0;16,0;16,6;0,6" z_order="1"/>'
        '<ellipse label="disc" cx="8" cy="9" rx="6" ry="2" rotation="90" z_order="2"/>'
        '<polygon label="tree" points="0,0;9,0;9,9" z_order="3"/>'
    )
    (tmp_path / "a.xml").write_text(
        f'<annotations><image name="a.jpg" width="16" height="12">{shapes}</image></annotations>'
    )
    masks = read_masks(source_of(tmp_path / "a.xml"))
    mask = masks.of_photo[PurePosixPath("a.jpg")]()
    assert mask[9].tolist() == [0] * 6 + [1] * 4 + [0] * 6
    assert (mask[:3] == 2).all()
    assert masks.left_out == ("objects of tree, no classes of the labels: they are background",)


@pytest.mark.parametrize(
    "mask", ['rle="9999999999, 1" left="0" top="0" width="4" height="4"',
             'rle="-4, 20" left="0" top="0" width="4" height="4"',
             'rle="0, 16" left="-1" top="0" width="4" height="4"', 'rle="0, 9" left="0" top="0" width="4" height="4"',
             'rle="x" left="0" top="0" width="4" height="4"', 'rle="0, 16"'],
)  # fmt: skip
def test_run_lengths_of_cvat_that_do_not_fit_are_refused(tmp_path, mask):
    image = f'<image name="a.jpg" width="16" height="12"><mask label="disc" {mask}/></image>'
    (tmp_path / "a.xml").write_text(f"<annotations>{image}</annotations>")
    with pytest.raises(UserError, match=r"a.xml: a mask of a.jpg that cannot be drawn"):
        drawn(source_of(tmp_path / "a.xml"))


def test_circles_of_labelme_are_drawn(tmp_path):
    circle = {"label": "disc", "points": [[8, 6], [8, 9]], "shape_type": "circle"}
    content = {"shapes": [circle], "imagePath": "a.jpg", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    mask = drawn(source_of(tmp_path / "a.json"))["a"]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    distance = np.hypot(x - 8, y - 6)
    assert mask[distance < 2.5].all()
    assert not mask[distance > 3.5].any()


def test_masks_of_labelme_are_drawn_at_their_corner(tmp_path):
    """As its assistant draws them: a PNG of the box around the object, in base64."""
    inside = np.array([[1, 0, 1], [1, 1, 1]], bool)
    Image.fromarray(inside).save(tmp_path / "crop.png")
    encoded = base64.b64encode((tmp_path / "crop.png").read_bytes()).decode()
    shape = {"label": "disc", "points": [[4.0, 5.0], [6.0, 6.0]], "shape_type": "mask", "mask": encoded}
    content = {"shapes": [shape], "imagePath": "a.jpg", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    expected = np.zeros(SIZE, np.uint8)
    expected[5:7, 4:7] = inside
    assert np.array_equal(drawn(source_of(tmp_path / "a.json"))["a"], expected)
    for wrong in (None, "?", encoded[:40], base64.b64encode(b"text").decode()):
        (tmp_path / "a.json").write_text(json.dumps(content | {"shapes": [shape | {"mask": wrong}]}))
        with pytest.raises(UserError, match=r"a.json: a shape that cannot be drawn \("):
            drawn(source_of(tmp_path / "a.json"))


def test_a_photo_that_is_listed_twice_is_refused(tmp_path):
    path = coco(tmp_path / "masks")
    content = json.loads(path.read_text())
    content["images"].append(content["images"][0] | {"id": 99})
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"instances.json: a.jpg is a photo that has been listed before"):
        drawn(source_of(path))


def test_blanks_and_accents_of_names_do_not_matter(tmp_path):
    path = coco(tmp_path / "masks")
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["name"] = f" {category['name']} ".replace(" ", "  ")
    path.write_text(json.dumps(content))
    source = source_of(path)
    assert not read_masks(source).left_out
    assert all(np.array_equal(mask, WANT[stem]) for stem, mask in drawn(source).items())


@pytest.mark.parametrize(
    "segmentation",
    [[[1, 1, 1e9, 1, 1e9, 1e9]], [[float("nan")] * 6], [[1, 1, 5]], [[1, 1, 2, 2, 3]], ["x"], "x", 7, {"counts": [192]},
     {"size": [12, 16], "counts": [5, 10]}, {"size": [12, 16], "counts": [-5, 197]}, {"size": [16, 12], "counts": [9]},
     {"size": [12, 16], "counts": "5:"}, {"size": [12, 16], "counts": "é"}, {"size": [12, 16], "counts": None},
     {"size": [12, 16], "counts": [1.5, 190.5]}, {"size": 3, "counts": []}],
)  # fmt: skip
def test_shapes_that_do_not_fit_the_photo_are_refused(tmp_path, segmentation):
    """Drawn by pycocotools, some end the process, and some show memory that is not theirs."""
    path = coco(tmp_path / "masks")
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = segmentation
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"instances.json, a.jpg: a shape that cannot be drawn \("):
        drawn(source_of(path))


def box_alone(folder: Path) -> Path:
    path = coco(folder)
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = []
    path.write_text(json.dumps(content))
    return path


def without_size(folder: Path) -> Path:
    path = coco(folder)
    content = json.loads(path.read_text())
    content["images"] = [{key: image[key] for key in ("id", "file_name")} for image in content["images"]]
    path.write_text(json.dumps(content))
    return path


def with_table(folder: Path, text: str) -> Path:
    save(folder, lambda mask: VOC_COLOURS[mask])
    (folder / "labelmap.txt").write_text(text)
    return folder


FAULTS = {
    "large ids": (lambda f: save(f, lambda m: m.astype(np.uint16) * 256), r"a.png: id 256, more than 255"),
    "a colour too many": (lambda f: with_table(f, "disc:128,0,0::\n"), r"b.png: colour 0,128,0 is not in labelmap.txt"),
    "colours of other classes": (lambda f: with_table(f, "cat:128,0,0::\ndog:0,128,0::\n"), "txt: names none of"),
    "one colour for two": (lambda f: with_table(f, "disc:1,0,0::\nBig square:1,0,0::\n"), "have the same colour"),
    "transparency": (lambda f: save(f, lambda m: np.dstack([VOC_COLOURS[m], m * 100])), "a.png: transparent pixels"),
    "JPEG": (lambda f: save(f, name="{}.jpg"), "no mask matches a photo: no PNG in it, but 3 .jpg; for each mask"),
    "other names": (lambda f: save(f, name="x{}.png"), "masks are named as xa.png, photos as a.jpg"),
    "a box alone": (box_alone, "has no segmentation, .* a box is no mask; export polygons"),
    "rectangles of labelme": (lambda f: labelme(f, "rectangle"), "a.json: a rectangle of disc, which is no mask"),
    "boxes of CVAT": (lambda f: cvat(f, "box"), "annotations.xml: a.jpg has a box of disc, which is no mask"),
    "images without size": (without_size, "instances.json, a.jpg: no valid size"),
    "a folder of no class": (
        lambda f: (classes_in_folders(f), save(f, lambda m: m == 1, "tree/{}.png"))[0],
        r"tree/a.png: no class of the labels in its path, which are disc and Big square; name all classes by --classes",
    ),
    "smoothed": (
        lambda f: (classes_in_folders(f), save(f, lambda m: m * 100, "DISC/{}.png"))[0],
        "DISC/b.png: more than two values",
    ),
    "a broken file": (lambda f: (save(f), (f / "a.png").write_bytes(b"\x89PNG"))[0], "a.png: not a readable mask"),
    "a pickle": (lambda f: save(f, lambda m: np.array([m, None], object), "{}.npy"), "a.npy: not a readable array"),
    "an array of colours": (lambda f: save(f, lambda m: VOC_COLOURS[m], "{}.npy"), r"a.npy: an array of shape \(12, 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_that_names_the_file(tmp_path, name):
    make, message = FAULTS[name]
    with pytest.raises(UserError, match=message) as error:
        drawn(source_of(make(tmp_path / "masks")))
    assert "\n" not in str(error.value)


def test_ids_of_several_classes_need_their_order(tmp_path):
    folder = save(tmp_path / "masks")
    with pytest.raises(UserError, match=r"^--masks: --classes is missing, in whose order"):
        drawn(source_of(folder, ordered=False))
    assert drawn(source_of(folder, ("disc",), ordered=False)).keys() == WANT.keys()


@pytest.mark.parametrize(
    "text", ["", "a\nb\n", "image,disc\na.jpg,1\n", "name,r,g\nx,1,2\n", "x,1,2,300\n", "{", "[{}]", "1", "[1]", "\xff"]
)
@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_other_files_are_no_tables_of_colours(tmp_path, text, suffix):
    (tmp_path / f"labels{suffix}").write_text(text)
    assert read_table(tmp_path / f"labels{suffix}") == {}


@pytest.mark.parametrize("name", MASKS)
def test_every_format_has_a_name_and_says_whether_it_fits(name):
    module = load(MASKS, name)
    assert isinstance(module.NAME, str)
    assert callable(module.fits)
    assert callable(module.read)


@pytest.fixture
def own(tmp_path, monkeypatch) -> new.Settings:
    """Photos with the masks of WANT, and their labels as COCO JSON."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for stem in WANT:
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(f"photos/{stem}.jpg")
    Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save("photos/d.jpg")
    content = json.loads(coco(Path("export")).read_text())
    content["images"].append({"id": 9, "file_name": "d.jpg", "height": SIZE[0], "width": SIZE[1]})
    content["annotations"] += [
        {"image_id": 9, "category_id": n, "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]]} for n in (5, 6)
    ]
    Path("export/instances.json").write_text(json.dumps(content))
    return new.Settings(Path("photos"), Path("export/instances.json"), device="cpu")


def test_one_file_gives_labels_and_masks_and_a_second_run_writes_the_same(own, capsys):
    own = replace(own, masks=own.labels)
    new.main(own)
    shown = capsys.readouterr().out
    assert "photos: 4 photos, 4 with a mask\nexport/instances.json: COCO JSON, 4 images\n" in shown
    for stem, mask in WANT.items():
        order = [0, 2, 1] if Path("mine/classes.txt").read_text().startswith("Big") else [0, 1, 2]
        np.testing.assert_array_equal(read_mask(f"mine/SegmentationClass/{stem}.png"), np.array(order)[mask])
    check.main(check.Settings(Path("mine.yaml"), workers=0))
    assert "contradict" not in capsys.readouterr().out
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    new.main(own)
    assert {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()} == before


def test_masks_that_were_drawn_and_then_corrected_by_hand_are_not_replaced(own):
    own = replace(own, masks=own.labels)
    new.main(own)
    write_mask("mine/SegmentationClass/a.png", np.ones(SIZE, np.uint8))
    with pytest.raises(UserError, match=r"^mine: exists and was not written by this command"):
        new.main(own)
    assert read_mask("mine/SegmentationClass/a.png").all()
    Path("mine/SegmentationClass/a.png").unlink()
    Path("mine/SegmentationClass/a.png").mkdir()
    with pytest.raises(UserError, match=r"^mine: exists and was not written by this command"):
        new.main(own)
    with pytest.raises(UserError, match="lies in mine, which is written anew"):
        new.main(replace(own, masks=Path("mine/SegmentationClass")))


def test_masks_beside_the_photos_are_no_photos(own):
    save(Path("photos"), two_bits, "{}_mask.png")
    Path("classes.txt").write_text("disc\nBig square\n")
    new.main(replace(own, masks=Path("photos"), classes=Path("classes.txt")))
    assert sorted(path.name for path in Path("mine/JPEGImages").iterdir()) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    np.testing.assert_array_equal(read_mask("mine/SegmentationClass/b.png"), WANT["b"])


def test_no_label_comes_from_a_mask(own):
    """Masks that show another class than the labels change neither labels nor the photos of the trainings."""
    new.main(own)
    without = Dataset.open("mine")
    save(Path("masks"), lambda mask: (mask > 0).astype(np.uint8) * 2)
    Path("classes.txt").write_text("Big square\ndisc\n")
    new.main(replace(own, masks=Path("masks"), classes=Path("classes.txt")))
    dataset = Dataset.open("mine")
    assert dataset.classes == without.classes[::-1]
    for stem in "abcd":
        names = [{each.classes[number - 1] for number in each.labels[stem]} for each in (dataset, without)]
        assert names[0] == names[1]
