"""Links of a dataset: relative inside a project, so that it can be moved; a link to nothing says what is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data import check, new
from ppl.data.links import link_to, missing_target
from ppl.data.masks import write_mask
from ppl.data.photos import read_photo
from ppl.data.settings import Folder
from ppl.data.sources import folder
from ppl.jobs.errors import UserError


def put_photos(root: Path, count: int = 20) -> None:
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"p{number}.jpg")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with photos, masks and a table in it."""
    path = tmp_path / "project"
    put_photos(path / "photos")
    (path / "masks").mkdir()
    for number in range(20):
        write_mask(path / "masks" / f"p{number}.png", np.full((70, 90), 1 + number % 2, np.uint8))
    (path / "classes.txt").write_text("cat\ndog\n")
    rows = "".join(f"p{number}.jpg,{('cat', 'dog')[number % 2]}\n" for number in range(20))
    (path / "labels.csv").write_text(f"image,class\n{rows}")
    monkeypatch.chdir(path)
    return path


def make(photos: str = "photos") -> None:
    new.main(
        new.Settings(Path(photos), Path("labels.csv"), masks=Path("masks"), classes=Path("classes.txt"), device="cpu")
    )


def prepare(max_side: int | None = None) -> Path:
    out = Path("results/mine/data")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    folder.prepare(Folder(path="mine", max_side=max_side), out, splits=("train", "val", "test"), workers=0)
    return out


@pytest.mark.parametrize("max_side", [None, 80, 100])
def test_a_project_works_after_it_has_moved(project, monkeypatch, max_side):
    make()
    prepare(max_side)
    moved = project.with_name("moved")
    project.rename(moved)
    monkeypatch.chdir(moved)
    for data in (Path("mine"), Path("results/mine/data")):
        check.main(check.Settings(data, workers=0))
    make()
    check.main(check.Settings(Path("mine.yaml"), workers=0))


def test_photos_elsewhere_are_linked_by_their_absolute_path(project, tmp_path, monkeypatch):
    shutil.move("photos", tmp_path / "elsewhere")
    make(str(tmp_path / "elsewhere"))
    assert (project / "mine/JPEGImages/p0.jpg").readlink() == tmp_path / "elsewhere" / "p0.jpg"
    prepare()
    project.rename(project.with_name("moved"))
    monkeypatch.chdir(project.with_name("moved"))
    check.main(check.Settings(Path("results/mine/data"), workers=0))


def test_a_linked_folder_of_photos_moves_with_the_project_as_far_as_its_link_leads(project, tmp_path, monkeypatch):
    shutil.move("photos", tmp_path / "disk")
    (project / "photos").mkdir()
    (project / "photos" / "day").symlink_to(tmp_path / "disk")
    make()
    project.rename(project.with_name("moved"))
    monkeypatch.chdir(project.with_name("moved"))
    check.main(check.Settings(Path("mine"), workers=0))


def test_a_dataset_with_absolute_links_goes_on_to_work(project):
    make()
    for link in Path("mine/JPEGImages").iterdir():
        target = link.resolve()
        link.unlink()
        link.symlink_to(target)
    check.main(check.Settings(prepare(), workers=0))
    make()


def test_results_on_another_disk_lead_back_to_the_project(project, tmp_path):
    make()
    (tmp_path / "scratch" / "deep" / "below").mkdir(parents=True)
    (project / "results").symlink_to(tmp_path / "scratch" / "deep" / "below")
    check.main(check.Settings(prepare(), workers=0))


def test_a_link_to_a_photo_that_was_moved_names_it_and_the_remedy(project):
    make()
    prepare()
    Path("photos").rename("renamed")
    gone = project / "photos" / "p3.jpg"
    text = f"the photo it links to ({gone}) is not there; moved or renamed? run ppl.data.new again"
    for data in ("mine", "results/mine/data"):
        with pytest.raises(UserError) as error:
            read_photo(Path(data, "JPEGImages", "p3.jpg"))
        assert text in str(error.value)
    with pytest.raises(UserError) as error:
        check.main(check.Settings(Path("mine"), workers=0))
    assert "20 photos are links to files that are not there, such as" in str(error.value)
    assert "all are listed in mine.check.txt" in str(error.value)
    assert Path("mine.check.txt").read_text().count("is not there; moved or renamed?") == 20


def test_the_folder_of_a_link_may_be_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link_to(tmp_path / "images", tmp_path / "absent")
    assert missing_target(Path("images/a.jpg")) == tmp_path / "absent"
    (tmp_path / "loop").symlink_to("loop")
    assert missing_target(tmp_path / "loop") is None
    assert missing_target(tmp_path / "nothing" / "a.jpg") is None
    put_photos(tmp_path / "absent", 1)
    assert missing_target(Path("images/p0.jpg")) is None
    assert missing_target(Path("images/other.jpg")) is None


def test_a_link_to_a_mask_that_was_moved_names_it_and_the_remedy(project):
    make()
    Path("masks").rename("renamed")
    with pytest.raises(UserError, match="masks are links to files that are not there, such as") as error:
        check.main(check.Settings(Path("mine"), workers=0))
    assert "draw it" not in str(error.value)
    gone = project / "masks"
    text = Path("mine.check.txt").read_text()
    assert f"the mask it links to ({gone}/p" in text
    assert "is not there; moved or renamed? run ppl.data.new again" in text
