"""Digest of the code that a step runs: a changed algorithm reruns the step, a reworded message does not."""

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_HASHED = {
    "ppl": "the version, and lazy imports of the Python interface",
    "ppl.jobs.code_hash": "decides what reruns",
    "ppl.jobs.command": "command line, and errors as one line",
    "ppl.jobs.compiled": "compiles networks, whose results stay the same up to rounding",
    "ppl.jobs.device_report": "messages about devices",
    "ppl.jobs.errors": "messages",
    "ppl.jobs.fields": "checks settings",
    "ppl.jobs.files": "writes whole files; callers compute their content",
    "ppl.jobs.lifetime": "signals and the end of processes",
    "ppl.jobs.parallel": "decides which process computes an item",
    "ppl.jobs.progress": "messages",
    "ppl.jobs.provenance": "records of results",
    "ppl.jobs.slots": "finds entries; rules name the modules of those that a job uses",
    "ppl.jobs.threads": "decides which thread computes a part of a batch",
}
"""Modules omitted from every digest, with the reason; modules that only they import are omitted too."""
SETTINGS = "settings"
"""Last part of the names of modules of settings, omitted too: the values of settings are parameters of a job."""
MESSAGES = {"print", "UserError"}
"""Functions all of whose arguments are text for people. Those of a raised exception are omitted too."""
REPORTS = {"report_device"}
"""Functions that only print or raise; their imports and statements that call them are omitted."""
LABELLED = {"progress", "run_all", "label_all", "train_to_checkpoint", "train_on_labels", "train"}
"""Functions that show progress."""
LABELS = {"name", "unit"}
"""Their keyword arguments that are text for people."""


def code_hash(*modules: str) -> str:
    """Return a digest of the syntax trees of modules such as "ppl.cam.export" and all ppl modules they import.

    A module of a user counts with those that lie beside it. Omitted: comments, docstrings, formatting, messages, the
    modules of NOT_HASHED, and those of settings. ValueError if a module does not exist.
    """
    digests = [f"{module} {_digest(module)}" for module in sorted(hashed_modules(*modules))]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def hashed_modules(*modules: str) -> set[str]:
    """Return the modules that a digest covers: `modules` and their imports, direct or not, without those omitted."""
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached and module not in NOT_HASHED and not _is_settings(module):
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

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        """Drop the names of REPORTS, and a statement that imports nothing else."""
        node.names = [alias for alias in node.names if alias.name not in REPORTS]
        return node if node.names else None

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
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in {"print", *REPORTS}:
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
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(module, node)
            names.add(origin)
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    beside = None if module.startswith("ppl.") else _folder_of_packages(module)
    return tuple(name for name in names if _in(ROOT.parent if name.startswith("ppl.") else beside, name))


def _is_settings(module: str) -> bool:
    return module.startswith("ppl.") and module.endswith(f".{SETTINGS}")


def _absolute(module: str, node: ast.ImportFrom) -> str:
    """Return the full name of the module that a statement in `module` imports from, for relative imports too."""
    if node.level == 0:
        return node.module or ""
    package = module.split(".") if _path(module).name == "__init__.py" else module.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _folder_of_packages(module: str) -> Path:
    """Return the folder in which the top package of a user's own module lies, or the module itself."""
    path = _path(module)
    return path.parents[module.count(".") + (path.name == "__init__.py")]


def _in(folder: Path | None, module: str) -> Path | None:
    """Return the file of a module below a folder of packages; None if it is not there."""
    if folder is None:
        return None
    base = folder.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _path(module: str) -> Path:
    """Return the file of a module, of ppl or on Python's path; ValueError if there is none."""
    if module.startswith("ppl."):
        path = _in(ROOT.parent, module)
    else:
        spec = importlib.util.find_spec(module)
        path = Path(spec.origin) if spec and spec.origin else None
    if path is None:
        raise ValueError(f"there is no module {module}")
    return path
