"""Digest of the code that a step runs, so that a changed algorithm reruns the step and a changed comment does not."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent


def code_hash(*modules: str) -> str:
    """Digest of the syntax trees of modules such as "ppl.cam.export" and of all ppl modules that they import.

    Comments, docstrings and formatting do not count, nor does ppl/__init__.py: it has the version and the door to the
    Python interface, neither of which changes what a step computes. ValueError for a module that is not part of ppl.
    """
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += _imports(module)
    digests = [f"{module} {_digest(module)}" for module in sorted(reached)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


@cache
def _tree(module: str) -> ast.Module:
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return tree


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


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
