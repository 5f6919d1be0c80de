"""Changes of code that rerun a step, and changes that do not."""

import ast
import re
import shutil
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import pytest

from ppl.jobs import code_hash
from ppl.jobs.code_hash import LABELLED, NOT_HASHED

REPOSITORY = Path(__file__).parents[2]
RULES = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))


def entry_points() -> Iterator[str]:
    """Modules whose digest a rule takes, without the entries that settings name."""
    yield from re.findall(r'code(?:_hash)?\(\s*"([^"]+)"', RULES)


ENTRY_POINTS = sorted(set(entry_points()))
STEP = '"""A step."""\nfrom ppl import tool\n\ndef run(x):\n    """Run."""\n    return tool.double(x) + 1\n'
# `step` imports `tool`; `other` imports `step`.
PACKAGE = {
    "__init__": "",
    "step": STEP,
    "tool": "import math\nimport numpy as np\n\nTABLE = np.array([1, 2])\n\ndef double(x):\n    return 2 * x\n",
    "other": "from ppl.step import run\nVALUE = 3\n",
}


def forget() -> None:
    for cached in (code_hash._tree, code_hash._digest, code_hash._imports):
        cached.cache_clear()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in place of ppl."""
    monkeypatch.setattr(code_hash, "ROOT", tmp_path / "ppl")
    forget()
    yield tmp_path / "ppl"
    forget()


@pytest.fixture
def copy(root: Path) -> Path:
    """A copy of ppl."""
    shutil.copytree(REPOSITORY / "ppl", root, ignore=shutil.ignore_patterns("demo_photos", "__pycache__"))
    return root


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("step", '"""A step."""', '"""Another text."""', False),
        ("step", '"""Run."""', '"""Compute."""\n    """And more."""', False),
        ("step", '    """Run."""\n', "", False),
        ("step", "tool.double(x) + 1", "(\n        tool.double(x)  # why\n        + 1)", False),
        ("step", "    return", '    print("computing")\n    return', False),
        ("other", "3", "4", False),
        ("__init__", "", "__version__ = '9'\n", False),
        ("step", "+ 1", "+ 2", True),
        ("step", "(x)", "(x, y='text')", True),
        ("tool", "2 * x", "3 * x", True),
        ("tool", "[1, 2]", "[1, 3]", True),
        ("tool", "    return", "    from ppl import step\n    return", True),
        ("tool", "    return", "    if x > 9:\n        raise ValueError\n    return", True),
    ],
)
def test_algorithms_of_a_step_and_its_imports_count_and_text_for_people_does_not(
    root: Path, module: str, old: str, new: str, counts: bool
) -> None:
    root.mkdir()
    for name, text in PACKAGE.items():
        (root / f"{name}.py").write_text(text)
    before, text = code_hash.code_hash("ppl.step"), PACKAGE[module]
    assert old in text
    (root / f"{module}.py").write_text(text.replace(old, new))
    forget()
    assert (code_hash.code_hash("ppl.step") != before) == counts


def test_a_foreign_module_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no module ppl\.absent"):
        code_hash.code_hash("ppl.absent")


def test_no_module_imports_in_a_way_that_the_digest_does_not_follow() -> None:
    for path in (REPOSITORY / "ppl").rglob("*.py"):
        assert not re.search(r"^\s*from \.|import_module\([\"']", path.read_text(), flags=re.MULTILINE), path


def digests() -> dict[str, str]:
    forget()
    return {module: code_hash.code_hash(module) for module in ENTRY_POINTS}


def path_of(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def calls(node: ast.AST, functions: Container[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions


Parts = Callable[[ast.AST], list[ast.AST]]
MESSAGES: dict[str, Parts] = {
    "raise": lambda node: [node] if isinstance(node, ast.Raise) else [],
    "print": lambda node: [node] if calls(node, ["print"]) else [],
    "progress": lambda node: [k for k in node.keywords if k.arg == "name"] if calls(node, LABELLED) else [],
}


def reword(path: Path, parts: Parts) -> int:
    """Change every string in these parts of the nodes of a module; return the number of strings."""
    tree = ast.parse(path.read_text())
    nodes = {node for outer in ast.walk(tree) for part in parts(outer) for node in ast.walk(part)}
    strings = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for string in strings:
        string.value += " reworded"
    path.write_text(ast.unparse(tree))
    return len(strings)


def test_a_reworded_module_that_is_left_out_reruns_nothing(copy: Path) -> None:
    before = digests()
    for module in NOT_HASHED:
        assert reword(path_of(copy, module), lambda node: [node]), module
        assert digests() == before, module


@pytest.mark.parametrize("kind", MESSAGES)
def test_reworded_messages_of_all_modules_rerun_nothing(copy: Path, kind: str) -> None:
    before = digests()
    assert sum(reword(path, MESSAGES[kind]) for path in copy.rglob("*.py")) > 5
    assert digests() == before


def test_a_change_of_an_entry_reruns_steps_with_that_entry_only(copy: Path) -> None:
    step, entries = "ppl.refine.train_refiner", ("ppl.refine.irnet", "ppl.refine.affinitynet")
    before, with_entry = digests(), {entry: code_hash.code_hash(step, entry) for entry in entries}
    path = copy / "refine" / "affinities.py"
    text = path.read_text()
    path.write_text(re.sub(r"^EPSILON = .*$", "EPSILON = 0.5", text, flags=re.MULTILINE))
    assert path.read_text() != text
    assert digests() == before
    assert [code_hash.code_hash(step, entry) == with_entry[entry] for entry in entries] == [True, False]


def test_a_report_of_the_device_reruns_nothing(root: Path) -> None:
    """Neither its call nor its import counts; names imported beside it do."""
    root.mkdir()
    for name, text in PACKAGE.items():
        (root / f"{name}.py").write_text(text)
    (root / "report.py").write_text("def report_device(*values):\n    print(values)\n\ndef other():\n    return 1\n")
    forget()
    before = code_hash.code_hash("ppl.step")
    reporting = STEP.replace("import tool\n", "import tool\nfrom ppl.report import report_device\n")
    reporting = reporting.replace("    return", "    report_device(x, 1)\n    return")
    for text, same in ((reporting, True), (reporting.replace("report_device\n", "other, report_device\n"), False)):
        (root / "step.py").write_text(text)
        forget()
        assert (code_hash.code_hash("ppl.step") == before) == same
