"""Digest of the code that a step runs: a changed algorithm reruns the step, a reworded message does not."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_HASHED = {
    "ppl": "the version, and lazy imports of the Python interface",
    "ppl.jobs.code_hash": "decides what reruns",
    "ppl.jobs.command": "command line, and errors as one line",
    "ppl.jobs.errors": "messages",
    "ppl.jobs.files": "writes whole files; callers compute their content",
    "ppl.jobs.lifetime": "signals and the end of processes",
    "ppl.jobs.parallel": "decides which process computes an item",
    "ppl.jobs.progress": "messages",
    "ppl.jobs.provenance": "records of results",
}
"""Modules omitted from every digest, with the reason; modules that only they import are omitted too."""
MESSAGES = {"print", "UserError"}
"""Functions all of whose arguments are text for people. Those of a raised exception are omitted too."""
LABELLED = {"progress", "run_all", "label_all", "train_to_checkpoint", "train_on_labels", "train"}
"""Functions that show progress."""
LABELS = {"name", "unit"}
"""Their keyword arguments that are text for people."""


def code_hash(*modules: str) -> str:
    """Return a digest of the syntax trees of modules such as "ppl.cam.export" and all ppl modules they import.

    Omitted: comments, docstrings, formatting, messages, and the modules of NOT_HASHED. ValueError if a module is not
    part of ppl.
    """
    digests = [f"{module} {_digest(module)}" for module in sorted(hashed_modules(*modules))]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def hashed_modules(*modules: str) -> set[str]:
    """Return the modules that a digest covers: `modules` and their imports, direct or not, without NOT_HASHED."""
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached and module not in NOT_HASHED:
            reached.add(module)
            waiting += _imports(module)
    return reached


class _WithoutMessages(ast.NodeTransformer):
    """Remove text for people from a syntax tree: docstrings, and arguments of messages."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Empty the body of a function that returns a UserError: it composes a message."""
        if isinstance(node.returns, ast.Name) and node.returns.id == "UserError":
            node.body = []
        self.generic_visit(node)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        if isinstance(node.exc, ast.Call):
            node.exc = ast.Call(node.exc.func, [], [])
        node.cause = None
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in MESSAGES:
            return ast.Call(node.func, [], [])
        if name in LABELLED:
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in LABELS]
        self.generic_visit(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Drop docstrings, and statements that only print."""
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return None
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print":
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
    names = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return tuple(name for name in names if name.startswith("ppl.") and _exists(name))


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
