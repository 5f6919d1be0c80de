"""Changes of code that rerun a step, and changes that do not."""

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppl.jobs import code_hash
from ppl.jobs.code_hash import LABELLED, NOT_HASHED

REPOSITORY = Path(__file__).parents[2]
RULES = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))


def entry_points() -> Iterator[str]:
    """Modules whose digest a rule takes; a rule of several networks names a pattern, such as ppl.refine.train_{...}."""
    for pattern in re.findall(r'code_hash\(f?"([^"]+)"', RULES):
        for path in REPOSITORY.glob(re.sub(r"\{.*\}", "*", pattern).replace(".", "/") + ".py"):
            if "__main__" in path.read_text():
                yield ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


ENTRY_POINTS = sorted(set(entry_points()))
STEP = '"""A step."""\nfrom ppl import tool\n\ndef run(x):\n    """Run."""\n    return tool.double(x) + 1\n'
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
def package(root: Path) -> Path:
    """A small package in place of ppl: `step` imports `tool`, `other` stands alone."""
    root.mkdir()
    for name, text in PACKAGE.items():
        (root / f"{name}.py").write_text(text)
    return root


@pytest.fixture
def copy(root: Path) -> Path:
    """A copy of ppl."""
    shutil.copytree(REPOSITORY / "ppl", root, ignore=shutil.ignore_patterns("demo_photos", "__pycache__"))
    return root


def edited(package: Path, module: str, old: str, new: str) -> tuple[str, str]:
    """The digests of `step` before and after a text is replaced in a module."""
    path = package / f"{module}.py"
    before, text = code_hash.code_hash("ppl.step"), path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    forget()
    return before, code_hash.code_hash("ppl.step")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("step", '"""A step."""', '"""Another text."""'),
        ("step", '"""Run."""', '"""Compute."""\n    """And more."""'),
        ("step", '    """Run."""\n', ""),
        ("step", "tool.double(x) + 1", "(\n        tool.double(x)  # why\n        + 1)"),
        ("step", "    return", '    print("computing")\n    return'),
        ("other", "3", "4"),
        ("__init__", "", "__version__ = '9'\n"),
    ],
)
def test_text_for_people_and_modules_not_imported_do_not_count(package: Path, module: str, old: str, new: str) -> None:
    before, after = edited(package, module, old, new)
    assert after == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("step", "+ 1", "+ 2"),
        ("step", "(x)", "(x, y='text')"),
        ("tool", "2 * x", "3 * x"),
        ("tool", "[1, 2]", "[1, 3]"),
        ("tool", "    return", "    from ppl import step\n    return"),
        ("tool", "    return", "    if x > 9:\n        raise ValueError\n    return"),
    ],
)
def test_an_algorithm_counts_also_in_an_imported_module(package: Path, module: str, old: str, new: str) -> None:
    before, after = edited(package, module, old, new)
    assert after != before


def test_a_foreign_module_is_refused(package: Path) -> None:
    with pytest.raises(ValueError, match=r"ppl\.absent is not a module of ppl"):
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


class Rewording(ast.NodeTransformer):
    """Change every string in the parts of a syntax tree that `selects` chooses, and count them."""

    def __init__(self, selects: Callable[[ast.AST], bool]) -> None:
        self.selects, self.inside, self.count = selects, selects is everything, 0

    def visit(self, node: ast.AST) -> ast.AST:
        before, self.inside = self.inside, self.inside or self.selects(node)
        node = super().visit(node)
        self.inside = before
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if self.inside and isinstance(node.value, str):
            node.value += " reworded"
            self.count += 1
        return node


def everything(node: ast.AST) -> bool:
    return True


def is_raise(node: ast.AST) -> bool:
    return isinstance(node, ast.Raise)


def is_print(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


def is_progress_name(node: ast.AST) -> bool:
    return isinstance(node, ast.keyword) and getattr(node, "labels_progress", False)


def reword(path: Path, selects: Callable[[ast.AST], bool]) -> int:
    tree = ast.parse(path.read_text())
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in LABELLED:
            for keyword in call.keywords:
                keyword.labels_progress = keyword.arg == "name"
    rewording = Rewording(selects)
    path.write_text(ast.unparse(rewording.visit(tree)))
    return rewording.count


def test_every_module_left_out_exists() -> None:
    assert [module for module in NOT_HASHED if not path_of(REPOSITORY / "ppl", module).exists()] == []


def test_a_reworded_module_that_is_left_out_reruns_nothing(copy: Path) -> None:
    before = digests()
    for module in NOT_HASHED:
        assert reword(path_of(copy, module), everything), module
        assert digests() == before, module


@pytest.mark.parametrize("selects", [is_raise, is_print, is_progress_name])
def test_reworded_messages_of_all_modules_rerun_nothing(copy: Path, selects: Callable[[ast.AST], bool]) -> None:
    before = digests()
    assert sum(reword(path, selects) for path in copy.rglob("*.py")) > 5
    assert digests() == before


def test_a_change_of_affinitynet_reruns_what_uses_affinitynet_only(copy: Path) -> None:
    before = digests()
    path = copy / "refine" / "affinitynet.py"
    text = path.read_text()
    path.write_text(re.sub(r"^EPSILON = .*$", "EPSILON = 0.5", text, flags=re.MULTILINE))
    assert path.read_text() != text
    after = digests()
    changed = {module for module in ENTRY_POINTS if after[module] != before[module]}
    assert {"ppl.refine.train_affinitynet", "ppl.refine.walk_affinitynet"} <= changed
    assert {module for module in changed if "affinitynet" not in module} == set()
