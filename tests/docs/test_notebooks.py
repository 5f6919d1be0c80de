"""The notebooks of docs/notebooks run from start to end, on an untrained network instead of the demo's."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
assert NOTEBOOKS


@pytest.fixture
def folder(finish: Callable[[str], Path], scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with those files of results/demo that a notebook reads."""
    finish("efficientnet_lite0")
    (tmp_path / "results" / "own").rename(tmp_path / "results" / "demo")
    photo = min((scenes.root / "JPEGImages").iterdir())
    (photo.parent / "test_0046.jpg").write_bytes(photo.read_bytes())
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))  # not the user's own
    return tmp_path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_a_notebook_runs(path: Path, folder: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]  # displays do not stop a notebook
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert {"first-photo.png", "first-photo-overlay.jpg"} <= {p.name for p in (folder / "predictions").iterdir()}
