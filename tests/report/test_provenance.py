"""The chain from a result to its inputs: complete, checked, and the same when nothing has changed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ppl.jobs import provenance
from ppl.jobs.errors import UserError
from ppl.jobs.fields import Section
from ppl.report.provenance import Settings, chain, main


@dataclass(frozen=True, kw_only=True)
class Training(Section):
    weights: str = "none"
    rates: tuple[int, ...] = (1, 2)
    not_used: int = 5
    """The step is called without a flag for it."""


@dataclass(frozen=True)
class Step:
    data: Path
    earlier: tuple[Path, ...]
    training: Training
    out: Path
    log: Path
    seed: int = 3
    start: Path | None = None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of external photos, a checkpoint trained on it, and a folder of maps that depends on both."""
    monkeypatch.chdir(tmp_path)
    for file in ("data/JPEGImages/a.jpg", "data/classes.txt", "weights.pt", "results/.keep"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(file)
    _write("results/net.pt")
    _write("results/maps", "results/net.pt", folder=True)
    return tmp_path


def _write(out: str, *earlier: str, folder: bool = False, content: str = "x") -> None:
    path, log = Path(out), Path(f"{out}.csv")
    if folder:
        path.mkdir(exist_ok=True)
        (path / provenance.IGNORED).touch()
    (path / "a.png" if folder else path).write_text(content)
    log.write_text("loss\n")
    step = Step(Path("data"), tuple(map(Path, earlier)), Training(weights="weights.pt"), path, log)
    provenance.record("ppl.measure.sweep", step, ["--training.weights", "weights.pt", "--training.rates", "1", "2"])


def test_a_record_holds_inputs_settings_and_code(project: Path) -> None:
    record = provenance.read(Path("results/net.pt"))
    assert record["made_by"] == "ppl.measure.sweep"
    assert record["settings"] == {"seed": 3, "start": None, "training": {"weights": "weights.pt", "rates": [1, 2]}}
    assert record["inputs"].keys() == {"../data", "../weights.pt"}
    assert record["inputs"]["../data"]["files"] == 2
    assert record["versions"].keys() >= {"ppl", "python"}
    assert len(record["code"]) == 16
    assert provenance.read(Path("results/net.pt.csv"))["inputs"] == record["inputs"]


def test_the_chain_leads_to_the_external_inputs(project: Path, capsys: pytest.CaptureFixture) -> None:
    main(Settings(Path("results/maps/a.png")))
    output = capsys.readouterr().out
    assert output.startswith("results/maps  ")
    for named in ("results/net.pt  ", "data  ", "external input, 2 files", "seed=3", 'training.weights="weights.pt"'):
        assert named in output
    main(Settings(Path("results/maps"), json=True))
    assert json.loads(capsys.readouterr().out).keys() == {"results/maps", "results/net.pt", "data", "weights.pt"}


@pytest.mark.parametrize(("change", "fault"), [
    (lambda: Path("results/net.pt").write_text("y"), "results/net.pt: has changed since it was written"),
    (lambda: Path("results/net.pt").unlink(), "results/net.pt: no longer exists"),
    (lambda: Path("data/classes.txt").write_text("dog\n"), "its input data has changed"),
    (lambda: Path("data/JPEGImages/b.jpg").touch(), "its input data has changed"),
    (lambda: Path("results/maps/a.png").write_text("y"), "results/maps: has changed since it was written"),
    (lambda: _write("results/net.pt", content="y"), "results/maps: its input results/net.pt has changed"),
])  # fmt: skip
def test_a_changed_file_is_a_fault(project: Path, change: Callable[[], object], fault: str) -> None:
    change()
    with pytest.raises(UserError, match=r"\A.*does not match its records: .*; run Snakemake again.*\Z"):
        main(Settings(Path("results/maps")))
    faults = [f"{path}: {each}" for path, node in chain(Path("results/maps")).items() for each in node["faults"]]
    assert any(fault in each for each in faults)


def test_equal_results_have_equal_records_wherever_they_are(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = provenance.file_of(Path("results/maps")).read_bytes()
    _write("results/net.pt")
    _write("results/maps", "results/net.pt", folder=True)
    assert provenance.file_of(Path("results/maps")).read_bytes() == before
    shutil.copytree(project, project / "elsewhere", ignore=shutil.ignore_patterns("elsewhere"))
    monkeypatch.chdir("elsewhere")
    main(Settings(Path("results/maps")))


def test_an_input_is_read_again_only_when_it_has_changed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = Path("results/maps")
    assert provenance.recorded(maps) == provenance.content(maps)
    for change in (lambda file: file.write_text("y"), Path.unlink):
        change(maps / "a.png")
        assert provenance.recorded(maps) is None
    assert provenance.recorded(Path("data")) is None


def test_a_link_to_a_missing_file_is_omitted_until_the_file_is_there(project: Path) -> None:
    folder = Path("data/JPEGImages")
    before = provenance.content(folder)
    (folder / "b.jpg").symlink_to(project / "b.jpg")
    assert provenance.content(folder) == before
    (project / "b.jpg").touch()
    assert provenance.content(folder).files == before.files + 1


def test_a_file_without_record_is_refused(project: Path) -> None:
    with pytest.raises(UserError, match=r"data/classes.txt: no record of its origin"):
        main(Settings(Path("data/classes.txt")))
    with pytest.raises(UserError, match="results/absent: no such file; name a result"):
        main(Settings(Path("results/absent")))
