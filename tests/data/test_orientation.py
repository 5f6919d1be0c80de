"""Photos with an EXIF orientation: read as the masks are, as stored or upright, and doubt is said."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppl.data import check, new, orientation, prepare
from ppl.data.dataset import Dataset
from ppl.data.lists import write_lists
from ppl.data.masks import mask_size, read_mask, write_mask
from ppl.data.photos import exif_orientation, photo_size, read_photo
from ppl.data.settings import Data, Folder, Orientation
from ppl.data.shrink import full_sizes
from ppl.jobs import provenance
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware

TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}
"""From the stored pixels to the upright photo, as EXIF defines its orientations."""
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
SQUARE = PIXELS[:, :20]
EXACT = {"PNG": {}, "TIFF": {}, "TIFF, LZW": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True}}


def exif(number: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = number
    return block


def write_photo(path: Path, pixels: np.ndarray, number: int, form: str = "JPEG", **options) -> np.ndarray:
    """Write a photo with an EXIF orientation; return its stored pixels as a decoder without EXIF gives them."""
    image = Image.fromarray(pixels)
    image.save(path, form, exif=exif(number), **options)
    if form != "JPEG":
        return pixels
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return np.array(Image.open(buffer))


@pytest.mark.parametrize("number", TURNED)
@pytest.mark.parametrize("kind", ["JPEG", *EXACT])
def test_a_photo_is_read_as_stored_or_upright(tmp_path, kind, number):
    path, form = tmp_path / "a", kind.partition(",")[0]
    stored = write_photo(path, PIXELS, number, form, **EXACT.get(kind, {}))
    for pixels, upright in ((stored, False), (TURNED[number](stored), True)):
        np.testing.assert_array_equal(read_photo(path, upright=upright), pixels)
        assert photo_size(path, upright=upright) == pixels.shape[:2]
        shrunk = read_photo(path, max_side=15, upright=upright)
        assert shrunk.shape == ((10, 15, 3) if pixels.shape[0] < pixels.shape[1] else (15, 10, 3))
    assert exif_orientation(path) == number


MODES: dict[str, Callable[[], Image.Image]] = {
    "L": lambda: Image.fromarray(PIXELS).convert("L"),
    "RGB": lambda: Image.fromarray(PIXELS),
    "RGBA": lambda: Image.fromarray(np.dstack([PIXELS, PIXELS[..., :1]])),
    "CMYK": lambda: Image.fromarray(PIXELS).convert("CMYK"),
    "I;16": lambda: Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257),
}


@pytest.mark.parametrize("number", TURNED)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_of_any_mode_is_read_as_stored_or_upright(tmp_path, compression, mode, number):
    image, path = MODES[mode](), tmp_path / "a.tif"
    assert image.mode == mode
    image.save(tmp_path / "plain.tif", compression=compression)
    image.save(path, exif=exif(number), compression=compression)
    stored = read_photo(tmp_path / "plain.tif")
    assert len(np.unique(stored)) > 100
    for pixels, upright in ((stored, False), (TURNED[number](stored), True)):
        np.testing.assert_array_equal(read_photo(path, upright=upright), pixels)
        assert photo_size(path, upright=upright) == pixels.shape[:2]
    assert exif_orientation(path) == number


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", MODES)
def test_a_truncated_tiff_is_one_line(tmp_path, mode, compression):
    path = tmp_path / "a.tif"
    MODES[mode]().save(path, exif=exif(6), compression=compression)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"a.tif: not a readable photo \(.*\); replace it or leave it out$") as error:
        read_photo(path)
    assert str(error.value).isprintable()


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("options", "number"),
    [({}, 1), ({"exif": exif(0)}, 1), ({"exif": exif(9)}, 1), ({"exif": b"Exif\0\0MM\0*"}, 1), ({"xmp": XMP}, 6),
     ({"exif": exif(1), "xmp": XMP}, 1)],
)  # fmt: skip
def test_the_orientation_is_that_of_the_metadata_and_1_without_a_valid_one(tmp_path, options, number):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", **options)
    assert exif_orientation(tmp_path / "a.jpg") == number
    assert read_photo(tmp_path / "a.jpg", upright=False).shape == PIXELS.shape
    assert read_photo(tmp_path / "a.jpg").shape == (PIXELS.shape if number == 1 else (30, 20, 3))


def without_pixels(path: Path) -> None:
    """Cut a PNG right behind the start of its pixels."""
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"IDAT") + 8])


def test_the_size_of_a_mask_is_read_without_its_pixels(tmp_path):
    write_mask(tmp_path / "a.png", np.zeros((20, 30), np.uint8))
    without_pixels(tmp_path / "a.png")
    with pytest.raises(UserError):
        read_mask(tmp_path / "a.png")
    assert mask_size(tmp_path / "a.png") == (20, 30)


@pytest.mark.parametrize("number", TURNED)
def test_the_size_of_a_mask_says_what_it_fits(tmp_path, number):
    photo, mask = tmp_path / "a.jpg", tmp_path / "a.png"

    def fit(stored: tuple[int, int], drawn: tuple[int, int]) -> str | None:
        write_photo(photo, np.zeros((*stored, 3), np.uint8), number)
        write_mask(mask, np.zeros(drawn, np.uint8))
        without_pixels(mask)
        return orientation.fit_of(photo, mask)

    fits = [fit((20, 30), (20, 30)), fit((20, 30), (30, 20)), fit((20, 20), (20, 20)), fit((20, 30), (20, 31))]
    sideways = ["stored", "upright", "both", "unknown"]
    assert fits == ([None] * 4 if number == 1 else sideways if number > 4 else ["both", "unknown", "both", "unknown"])
    mask.write_bytes(b"no mask")
    assert orientation.fit_of(photo, mask) == (None if number == 1 else "unknown")
    photo.write_bytes(b"no photo")
    assert orientation.fit_of(photo, mask) is None


FITS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["stored", "upright", "both", "unknown"]))


@given(FITS, st.sampled_from(["auto", "upright", "stored"]))
def test_a_mask_that_fits_only_one_way_decides_and_where_others_are_in_doubt_something_is_said(fits, setting):
    of = {fit: {i for i in fits if fits[i] == fit} for fit in ("stored", "upright", "both", "unknown")}
    decision = orientation.decide_by_fits(fits, setting, Path("mine"))
    assert of["stored"] <= decision.as_stored <= fits.keys() - of["upright"]
    contradictory = bool(of["stored"] and of["upright"])
    for said, when in ((decision.fault, contradictory), (decision.warning, not contradictory)):
        assert (said is not None) == (setting == "auto" and bool(of["both"]) and when)
    if decision.fault:
        assert decision.as_stored == of["stored"]
        return
    in_doubt = {"auto": of["stored"] and of["both"], "upright": set(), "stored": of["both"] | of["unknown"]}[setting]
    assert decision.as_stored == of["stored"] | in_doubt


def test_the_line_names_the_number_an_example_the_way_and_the_option():
    def line(fits: dict[str, orientation.Fit]) -> str:
        return str(orientation.decide_by_fits(fits, "auto", Path("mine")).warning)

    remedy = "; set data.folder.orientation to upright or stored to decide"
    both = "mine: EXIF orientation of 2 photos (such as 'a'): masks fit upright and as stored, so they are read"
    doubt: dict[str, orientation.Fit] = {"b": "both", "a": "both", "d": "unknown"}
    assert line(doubt) == f"{both} upright{remedy}"
    assert line(doubt | {"c": "stored"}) == f"{both} as stored, the only way that fits for photo 'c'{remedy}"
    assert line(doubt | {"c": "upright"}) == f"{both} upright, the only way that fits for photo 'c'{remedy}"


CASES: dict[str, tuple[np.ndarray, int, str | None]] = {
    "plain": (PIXELS, 1, "stored"), "as_stored": (PIXELS, 6, "stored"), "as_upright": (PIXELS, 8, "upright"),
    "no_mask": (PIXELS, 6, None),
}  # fmt: skip
"""Stored pixels, EXIF orientation, and what the mask was drawn on."""
DOUBT = {"square": (SQUARE, 6, "stored"), "mirrored": (PIXELS, 2, "stored")}


class Own:
    """A dataset folder with photos of these cases, all in the split test, and what was stored."""

    def __init__(self, root: Path, cases: dict[str, tuple[np.ndarray, int, str | None]], **files) -> None:
        self.root, self.stored, self.drawn = root, {}, {}
        for name in ("JPEGImages", "SegmentationClass"):
            (root / name).mkdir(parents=True)
        for image_id, (pixels, number, drawn_on) in cases.items():
            path = root / "JPEGImages" / f"{image_id}.jpg"
            self.stored[image_id] = write_photo(path, pixels, number, quality=95)
            if drawn_on:
                shown = pixels if drawn_on == "stored" else TURNED[number](pixels)
                self.drawn[image_id] = (shown[..., 0] > 127).astype(np.uint8)
                write_mask(root / "SegmentationClass" / f"{image_id}.png", self.drawn[image_id])
        val = [image_id for image_id in self.drawn if image_id != "plain"]
        labels = {image_id: ["cat"] for image_id in cases}
        write_lists(root, ["cat"], labels, {"train": ["plain"], "val": val, "test": list(cases)})
        self.numbers = {image_id: number for image_id, (_, number, _) in cases.items()}

    def data(self, setting: Orientation = "auto", max_side: int | None = None) -> Data:
        folder = Folder(path=str(self.root), orientation=setting, max_side=max_side)
        return Data(folder=folder, train_split="train")

    def prepared(self, setting: Orientation = "auto", max_side: int | None = None) -> Dataset:
        return prepared(self.data(setting, max_side), self.root.with_name("data"))

    def shown(self, image_id: str, *, stored: bool) -> np.ndarray:
        return self.stored[image_id] if stored else TURNED[self.numbers[image_id]](self.stored[image_id])

    def check(self, **options) -> None:
        check.main(check.Settings(self.root, workers=0, **options))


def prepared(data: Data, out: Path) -> Dataset:
    prepare.main(prepare.Settings(out, data, Hardware(workers=0)))
    return Dataset.open(out)


def check_prepared(dataset: Dataset) -> None:
    check.main(check.Settings(dataset.root, workers=0, prepared=True))


def test_in_a_folder_each_photo_is_read_as_its_mask_is_drawn(tmp_path, capsys):
    own = Own(tmp_path / "own", CASES)
    before = {path: path.read_bytes() for path in own.root.rglob("*.*")}
    dataset = own.prepared()
    for image_id in CASES:
        photo, stored = dataset.photo(image_id), image_id == "as_stored"
        np.testing.assert_array_equal(read_photo(photo), own.shown(image_id, stored=stored))
        assert photo.is_symlink() != stored
        if image_id in own.drawn:
            assert photo_size(photo) == mask_size(dataset.mask(image_id))
    check_prepared(dataset)
    own.check()
    printed = capsys.readouterr().out
    assert "1 of 4 photos are copied as stored (EXIF orientation)\n" in printed
    assert not [line for line in printed.splitlines() if "warning" in line and "EXIF" in line]
    assert {path: path.read_bytes() for path in own.root.rglob("*.*")} == before


def test_a_folder_without_a_photo_to_read_as_stored_is_linked_whole(tmp_path):
    own = Own(tmp_path / "own", {name: CASES[name] for name in ("plain", "as_upright", "no_mask")})
    assert (own.prepared().root / "JPEGImages").is_symlink()


def test_of_a_mask_only_the_header_decides(tmp_path, monkeypatch):
    own = Own(tmp_path / "own", CASES)
    for mask in (own.root / "SegmentationClass").iterdir():
        without_pixels(mask)
    dataset = own.prepared()
    assert not dataset.photo("as_stored").is_symlink()
    assert dataset.photo("as_upright").is_symlink()


@pytest.mark.parametrize("setting", ["auto", "stored", "upright"])
@pytest.mark.parametrize("decided", ["stored", "upright", None])
def test_what_no_mask_decides_follows_the_setting_or_the_others_and_auto_says_so(tmp_path, capsys, decided, setting):
    cases = {"plain": CASES["plain"], **DOUBT} | ({"decided": (PIXELS, 6, decided)} if decided else {})
    own = Own(tmp_path / "own", cases)
    dataset = own.prepared(setting)
    printed = capsys.readouterr().out
    stored = setting == "stored" or (setting == "auto" and decided == "stored")
    for image_id in DOUBT:
        np.testing.assert_array_equal(read_photo(dataset.photo(image_id)), own.shown(image_id, stored=stored))
    if decided:
        expected = own.shown("decided", stored=decided == "stored")
        np.testing.assert_array_equal(read_photo(dataset.photo("decided")), expected)
    check_prepared(dataset)
    assert "orientation" not in capsys.readouterr().out
    own.check(orientation=setting)
    checked = capsys.readouterr().out
    for text in (printed, checked):
        lines = [line for line in text.splitlines() if line.startswith("warning: ") and "orientation" in line]
        assert len(lines) == (setting == "auto")
        assert all("of 2 photos (such as 'mirrored')" in line for line in lines)
        assert all(("are read as stored" if stored else "are read upright") in line for line in lines)


def test_masks_that_contradict_each_other_are_refused_if_a_third_is_in_doubt_until_the_option_decides(tmp_path):
    own = Own(tmp_path / "own", CASES | DOUBT)
    line = r"EXIF orientation of 2 photos .*, those of photo 'as_stored' only as stored, those of photo 'as_upright' "
    with pytest.raises(UserError, match=line) as refused:
        own.prepared()
    assert len(str(refused.value).splitlines()) == 1
    assert not own.root.with_name("data").exists()
    with pytest.raises(UserError, match=f"1 fault; correct them first:\n  JPEGImages: {line}") as faults:
        own.check()
    assert "; set --orientation to upright or stored" in str(faults.value)
    for setting in ("stored", "upright"):
        own.check(orientation=setting)
        dataset = own.prepared(setting)
        check_prepared(dataset)
        for image_id, stored in {"as_stored": True, "as_upright": False, "square": setting == "stored"}.items():
            np.testing.assert_array_equal(read_photo(dataset.photo(image_id)), own.shown(image_id, stored=stored))


def test_a_settings_file_decides_for_its_check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Own(Path("own"), CASES | DOUBT)
    data = {"folder": {"path": "own", "orientation": "stored", "max_side": 64}, "train_split": "train"}
    Path("mine.yaml").write_text(yaml.safe_dump({"experiments": {"mine": {"data": data | {"seed_split": "train"}}}}))
    check.main(check.Settings(Path("mine.yaml"), workers=0))
    assert "no faults in the data of mine.yaml" in capsys.readouterr().out
    Path("mine.yaml").write_text(Path("mine.yaml").read_text().replace("orientation: stored", "orientation: auto"))
    with pytest.raises(UserError, match=r"; set data.folder.orientation to upright or stored"):
        check.main(check.Settings(Path("mine.yaml"), workers=0))


def test_shrunk_photos_their_masks_and_original_sizes_have_the_orientation_of_the_mask(tmp_path):
    smooth = np.kron(np.eye(4, dtype=np.uint8)[:3] * 200, np.ones((50, 50), np.uint8))[..., None].repeat(3, axis=2)
    large = {name: (smooth, number, drawn) for name, (_, number, drawn) in CASES.items()}
    own = Own(tmp_path / "own", large | {"small": (PIXELS, 6, "stored")})
    dataset = own.prepared(max_side=100)
    sizes = {"plain": (150, 200), "as_stored": (150, 200), "as_upright": (200, 150), "no_mask": (200, 150)}
    assert full_sizes(dataset.root) == sizes
    for image_id, (h, w) in sizes.items():
        photo = read_photo(dataset.photo(image_id))
        assert photo.shape[:2] == (h // 2, w // 2)
        if image_id in own.drawn:
            mask = read_mask(dataset.mask(image_id))
            assert mask.shape == photo.shape[:2]
            assert ((photo[..., 0] > 100) == (mask == 1)).mean() > 0.95
    np.testing.assert_array_equal(read_photo(dataset.photo("small")), own.stored["small"])
    check_prepared(dataset)
    own.check(max_side=100)


@pytest.mark.parametrize("setting", ["auto", "stored"])
@pytest.mark.parametrize("max_side", [None, 64])
def test_what_cannot_be_read_is_left_to_the_check(tmp_path, setting, max_side):
    own = Own(tmp_path / "own", CASES)
    (own.root / "JPEGImages" / "plain.jpg").write_bytes(b"no photo")
    path = own.root / "JPEGImages" / "no_mask.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    (own.root / "SegmentationClass" / "as_upright.png").write_bytes(b"no mask")
    for image_id in ("plain", "no_mask"):
        assert own.prepared(setting, max_side).photo(image_id).is_symlink()
    with pytest.raises(UserError) as error:
        own.check(orientation=setting, max_side=max_side)
    for text in ("plain.jpg", "no_mask.jpg", "as_upright.png"):
        assert text in str(error.value)


def test_a_mask_of_another_size_is_a_fault_whatever_its_orientation(tmp_path):
    own = Own(tmp_path / "own", CASES)
    write_mask(own.root / "SegmentationClass" / "as_stored.png", np.zeros((20, 31), np.uint8))
    with pytest.raises(UserError, match=r"as_stored.png: shape mismatch: expected 20x30, as the photo, got 31x20"):
        own.check()


def test_of_several_photos_with_one_id_only_that_is_a_fault(tmp_path):
    own = Own(tmp_path / "own", CASES)
    write_photo(own.root / "JPEGImages" / "as_upright.png", PIXELS, 6, "PNG")
    dataset = own.prepared()
    for check_it in (own.check, lambda: check_prepared(dataset)):
        with pytest.raises(UserError) as error:
            check_it()
        (line,) = str(error.value).splitlines()[1:]
        assert line == "  JPEGImages: as_upright.jpg, as_upright.png have the same id; keep one"


def test_a_dataset_of_another_source_is_read_upright_so_its_check_expects_such_masks(tmp_path):
    own = Own(tmp_path / "own", CASES)
    with pytest.raises(UserError, match=r"as_stored.png: shape mismatch: expected 20x30, as the photo, got 30x20"):
        own.check(prepared=True)


def test_photos_that_are_unreadable_are_linked_and_missing_ones_left_out(tmp_path):
    photos = [tmp_path / name for name in ("absent.jpg", "text.jpg", "turned.jpg", "cut.jpg", "link.jpg")]
    photos[4].symlink_to("nowhere.jpg")
    photos[1].write_text("no photo")
    for photo in photos[2:4]:
        write_photo(photo, PIXELS, 6)
    photos[3].write_bytes(photos[3].read_bytes()[:-300])
    (tmp_path / "out").mkdir()
    orientation.link_as_stored(photos, tmp_path / "out", workers=1)
    assert {path.name: path.is_symlink() for path in (tmp_path / "out").iterdir()} == {
        "text.jpg": True, "turned.png": False, "cut.jpg": True,
    }  # fmt: skip


@pytest.mark.parametrize(("cases", "max_side"), [
    ({"plain": CASES["plain"]}, None), (CASES, None), (CASES, 64),
])  # fmt: skip
def test_missing_files_are_listed_by_the_check_with_a_remedy(tmp_path, monkeypatch, cases, max_side):
    monkeypatch.chdir(tmp_path)
    own = Own(Path("own"), {"absent": (PIXELS, 1, "stored"), "link": (PIXELS, 1, "stored")} | cases)
    photos, mask = Path("own/JPEGImages"), Path("own/SegmentationClass/link.png")
    (photos / "absent.jpg").unlink()
    for path in (photos / "link.jpg", mask):
        path.unlink()
        path.symlink_to("/nowhere/link")
    own.prepared(max_side=max_side)
    provenance.record("ppl.data.prepare", prepare.Settings(Path("data"), own.data(max_side=max_side)), [])
    of_links = (
        "JPEGImages/absent.jpg: no such file; copy the file there, or remove its id from the lists",
        "JPEGImages/link.jpg: the photo it links to (/nowhere/link) is not there; moved or renamed? run ppl.data.new",
    )
    remedy = "add the file to the source of the data, and run the workflow with --forcerun prepare_data"
    of_copies = (f"2 photos are missing, such as JPEGImages/absent.jpg and JPEGImages/link.jpg; {remedy}",)
    linked = Path("data/JPEGImages").is_symlink()
    assert linked == (cases != CASES)
    for root in ("own", "data"):
        with pytest.raises(UserError) as error:
            check.main(check.Settings(Path(root), workers=0, prepared=root == "data"))
        for text in of_links if linked or root == "own" else of_copies:
            assert text in str(error.value)


@pytest.mark.parametrize("decided", ["stored", "both"])
def test_a_new_dataset_says_what_its_masks_leave_in_doubt(tmp_path, monkeypatch, capsys, decided):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "masks"):
        Path(folder).mkdir()
    cases = {"a": (PIXELS, 1, "stored"), "b": (PIXELS, 1, "stored"), "c": (SQUARE, 6, "stored")}
    cases |= {"d": (PIXELS, 6, "stored"), "e": (PIXELS, 6, "upright")} if decided == "both" else {}
    for image_id, (pixels, number, drawn_on) in cases.items():
        write_photo(Path("photos", f"{image_id}.jpg"), pixels, number)
        shown = pixels if drawn_on == "stored" else TURNED[number](pixels)
        write_mask(Path("masks", f"{image_id}.png"), np.zeros(shown.shape[:2], np.uint8))
    Path("labels.csv").write_text("image,classes\n" + "".join(f"{image_id},cat\n" for image_id in cases))
    Path("classes.txt").write_text("cat\n")
    settings = new.Settings(Path("photos"), Path("labels.csv"), masks=Path("masks"), classes=Path("classes.txt"))
    new.main(replace(settings, device="cpu"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert line.startswith("warning: photos: EXIF orientation of photo 'c': masks fit upright and as stored, ")
    refused = "those of photo 'e' only upright, which the check refuses; set data.folder.orientation to upright or "
    assert (refused in line) == (decided == "both")


def test_a_new_dataset_with_masks_of_the_stored_pixels_can_be_checked_and_prepared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "masks"):
        Path(folder).mkdir()
    for number in TURNED:
        write_photo(Path("photos", f"{number}.jpg"), np.kron(PIXELS, np.ones((4, 4, 1), np.uint8)), number)
        write_mask(Path("masks", f"{number}.png"), np.zeros((80, 120), np.uint8))
    Path("labels.csv").write_text("image,classes\n" + "".join(f"{number},cat\n" for number in TURNED))
    Path("classes.txt").write_text("cat\n")
    masks = {"masks": Path("masks"), "classes": Path("classes.txt")}
    new.main(new.Settings(Path("photos"), Path("labels.csv"), device="cpu", **masks))
    assert "EXIF orientation of 3 photos (such as '2')" in capsys.readouterr().out
    check.main(check.Settings(Path("mine.yaml"), workers=0))
    assert "read as stored, the only way that fits for 4 photos (such as '5')" in capsys.readouterr().out
    section = yaml.safe_load(Path("mine.yaml").read_text())["experiments"]["mine"]["data"]
    splits = {key: section[key] for key in ("train_split", "seed_split")}
    dataset = prepared(Data(folder=Folder(**section["folder"]), **splits), Path("results/mine/data"))
    for number in TURNED:
        assert photo_size(dataset.photo(str(number))) == (80, 120)
