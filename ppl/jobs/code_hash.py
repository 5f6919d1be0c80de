"""Digest of the code that a step runs, so that a changed algorithm reruns the step and a changed message does not."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_HASHED = {
    "ppl": "version, and the door to the Python interface",
    "ppl.jobs.code_hash": "decides what reruns, not what a step computes",
    "ppl.jobs.command": "command line and the one line of an error",
    "ppl.jobs.errors": "messages to people",
    "ppl.jobs.files": "outputs appear whole; their content comes from elsewhere",
    "ppl.jobs.lifetime": "signals and the end of processes",
    "ppl.jobs.parallel": "which process computes an item, not what",
    "ppl.jobs.progress": "lines for people",
    "ppl.jobs.provenance": "records of a result, which do not change it",
}
"""Modules that count for no digest, each with the reason; nor does what only they import."""
MESSAGES = {"print", "progress", "UserError"}
"""Functions whose arguments are for people. Those of an exception that is raised do not count either."""
LABELS = {"name", "unit"}
"""Keywords for people, of what shows progress (`LABELLED`)."""
LABELLED = {"run_all", "label_all", "train_to_checkpoint", "train_on_labels", "train"}


def code_hash(*modules: str) -> str:
    """Digest of the syntax trees of modules such as "ppl.cam.export" and of all ppl modules that they import.

    Comments, docstrings and formatting do not count, nor do messages to people and the modules of NOT_HASHED.
    ValueError for a module that is not part of ppl.
    """
    digests = [f"{module} {_digest(module)}" for module in sorted(hashed_modules(*modules))]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def hashed_modules(*modules: str) -> set[str]:
    """The modules that a digest covers: `modules` and what they import, directly or not, without NOT_HASHED."""
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached and module not in NOT_HASHED:
            reached.add(module)
            waiting += _imports(module)
    return reached


class _WithoutMessages(ast.NodeTransformer):
    """Removes from a syntax tree what only people read: docstrings, and arguments of messages."""

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        if isinstance(node.exc, ast.Call):
            node.exc = ast.Call(node.exc.func, [], [])
        node.cause = None
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if called in MESSAGES - {"progress"}:
            return ast.Call(node.func, [], [])
        if called in LABELLED | MESSAGES:
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in LABELS]
        self.generic_visit(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        self.generic_visit(node)
        return node


@cache
def _tree(module: str) -> ast.Module:
    return _WithoutMessages().visit(ast.parse(_path(module).read_text(encoding="utf-8")))


@cache
def _digest(module: str) -> str:
    return hashlib.sha256(ast.dump(_tree(module)).encode()).hexdigest()


@cache
def _imports(module: str) -> tuple[str, ...]:
    found = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return tuple(name for name in found if name.startswith("ppl.") and _exists(name))


def _candidates(module: str) -> tuple[Path, Path]:
    parts = module.split(".")[1:]
    base = ROOT.joinpath(*parts)
    return base.with_suffix(".py"), base / "__init__.py"


def _exists(module: str) -> bool:
    return any(path.is_file() for path in _candidates(module))


def _path(module: str) -> Path:
    for path in _candidates(module):
        if path.is_file():
            return path
    raise ValueError(f"{module} is not a module of ppl")
