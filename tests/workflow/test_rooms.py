"""Import rules of the rooms of `ppl`, read from the syntax trees: nothing is executed."""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "ppl"
STEPS = ("data", "classify", "cam", "refine", "segment")
SHARED = {"jobs", "crf", "networks", "training"}
EVERYTHING_BUT_WORKFLOW = {*STEPS, *SHARED, "experiment", "measure", "predict", "report"}
MAY_IMPORT = {
    "jobs": set(),
    "crf": {"jobs"},
    # The first step defines photos, labels and lists. Networks normalise its photos and trainings draw its crops: it is
    # the one step that shared rooms import. In return it imports nothing but jobs.
    "data": {"jobs"},
    "networks": {"jobs", "data"},
    "training": {"jobs", "data", "networks"},
    **{step: SHARED | set(STEPS[: STEPS.index(step)]) for step in STEPS[1:]},
    "measure": {"jobs", *STEPS},
    # The settings of all steps together.
    "experiment": SHARED | set(STEPS),
    "predict": SHARED | {*STEPS, "experiment"},
    "report": EVERYTHING_BUT_WORKFLOW,
    "workflow": EVERYTHING_BUT_WORKFLOW,
    # Starts Snakemake; no room imports it.
    "run": {"jobs"},
}
"""Other rooms that a room may import."""
EXCEPTIONS = {
    ("ppl", "ppl.predict.api"): "`ppl.load` is imported when it is first used: every step imports this package",
    ("ppl.segment.predict", "ppl.predict.__main__"): "the former address of `python -m ppl.predict`",
}
MASKS = "SegmentationClass"
OPENS_MASKS = re.compile(
    r"ppl\.(measure\..*|report\.(gallery|tables)"
    r"|data\.(checks\.(masks|reading)|mask_formats|sources\.folder|own\.(pixels|masks\..*)))"
)
"""Modules that may ask a dataset for a mask or read one as truth: those that measure, check, show, or copy it."""
DEFINE_MASKS = {"ppl.data.dataset", "ppl.data.masks"}
OTHER_MASKS = {
    *("ppl.data.sources.demo", "ppl.data.example"),
    *(f"ppl.predict.{name}" for name in ("__main__", "large", "outputs", "segmentation")),
}
"""Modules whose `.mask` is that of a composed scene, or an output; they know no dataset."""
NAMES_MASKS = re.compile(
    r"ppl\.(data\.(dataset|checks\.masks|shrink|new|own\.(dataset_folder|formats)|lists|sources\..*))"
)
"""Modules that may name the folder of masks: they write or link it, or ask whether it exists."""
SLOW = {"torch", "lightning", "pydantic", "pydantic_core"}
"""Packages that modules of settings, which every worker process imports, do not import."""


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, docstrings included, by its name."""
    trees = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["ppl", *path.relative_to(ROOT).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


MODULES = modules()


def imports(name: str) -> set[str]:
    """Return the modules of ppl that a module imports, at its top or anywhere else."""
    names = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return (names & MODULES.keys()) - {name}


def room(module: str) -> str:
    """Return the room of a module; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def imports_at_start(tree: ast.AST) -> Iterator[str]:
    """Yield the modules, and the names in them, that are imported with a module: not in functions, nor for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif not isinstance(node, ast.FunctionDef) and "TYPE_CHECKING" not in names(getattr(node, "test", node)):
            yield from imports_at_start(node)


def loaded(name: str) -> set[str]:
    """Return all modules that are loaded with a module of ppl, and the packages outside of ppl that they import."""
    found, left = set(), [name]
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            names = {*imports_at_start(MODULES[module])} if module in MODULES else set()
            left += [n if n in MODULES else n.partition(".")[0] for n in names if n in MODULES or n[:4] != "ppl."]
    return found


IMPORTS = {name: {other for other in imports(name) if (name, other) not in EXCEPTIONS} for name in MODULES}


def code_strings(tree: ast.Module) -> Iterator[str]:
    """Yield the strings of a module that are not docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def names(tree: ast.Module) -> set[str]:
    """Return all names that the code of a module mentions: variables, attributes, imports."""
    mentioned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    mentioned |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return mentioned | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_nothing_lies_loose_beside_the_rooms():
    assert [path.name for path in ROOT.iterdir() if path.is_file()] == ["__init__.py"]
    assert {path.name for path in ROOT.iterdir() if path.is_dir()} - {"__pycache__"} == MAY_IMPORT.keys()
    with_code = [name for name in MAY_IMPORT if len(MODULES[f"ppl.{name}"].body) != 1]
    assert with_code == []  # a package that imports modules would add them to every import of the others


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_room_imports_only_rooms_below_it(name):
    """Steps never import later ones, shared rooms import no step but data, and no job imports ppl.workflow."""
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if room(module) == name and room(other) not in {name, "", *MAY_IMPORT[name]}
    ]
    assert wrong == []


def test_an_entry_of_a_slot_lies_in_a_room_that_its_table_may_import():
    """Tables of slots name modules as text, which are imported on use."""
    named = [(m, text) for m, tree in MODULES.items() for text in code_strings(tree) if text in MODULES and "." in text]
    wrong = [(m, entry) for m, entry in named if room(entry) not in {room(m), *MAY_IMPORT[room(m)]}]
    assert {room(m) for m, _ in named} >= {"networks", *STEPS} - {"classify"}
    assert wrong == []


@pytest.mark.parametrize(
    "name", [m for m in MODULES if m.endswith(".settings") or m in ("ppl.jobs.fields", "ppl.jobs.slots")]
)
def test_modules_of_settings_are_fast_to_import(name):
    assert loaded(name) & SLOW == set()


def test_no_module_imports_itself_over_others():
    graph = {name: IMPORTS[name] | {p for p in MODULES if p != "ppl" and name.startswith(f"{p}.")} for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_every_import_can_be_seen():
    """Neither the code hash nor these tests follow relative imports, or module names in strings."""
    calls = {"import_module", "__import__", "run_module", "exec", "eval"}
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{name}: relative import"
            if isinstance(node, ast.Call) and calls & names(node.func):
                texts = [text for argument in node.args for text in code_strings(argument)]
                assert not [text for text in texts if "ppl" in text], f"{name}: an import in a string"


def test_masks_are_opened_only_where_they_are_measured_checked_or_shown():
    wrong = []
    for name, tree in MODULES.items():
        if OPENS_MASKS.fullmatch(name) or name in DEFINE_MASKS:
            continue
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | set(code_strings(tree))
        without_dataset = name in OTHER_MASKS and "Dataset" not in names(tree) | attributes
        if "read_truth" in names(tree) | attributes or ("mask" in attributes and not without_dataset):
            wrong.append(name)
    assert wrong == []


def test_a_mask_decides_by_its_size_alone_how_its_photo_is_read():
    """Preparing data reads headers of masks, so no pixel of a mask reaches a training."""
    modules = [name for name in MODULES if re.fullmatch(r"ppl\.data\.(orientation|sources\.(folder|voc|coco))", name)]
    assert len(modules) == 4
    assert [name for name in modules if {"read_mask", "read_truth"} & names(MODULES[name])] == []


def test_masks_of_other_tools_are_converted_for_measuring_alone():
    """No step but `ppl.data.new`, which writes them into the folder of masks, and no reader of labels uses them."""
    readers = re.compile(
        r"ppl\.data\.own\.(masks(\..*)?|mask_(formats|source)|pixels|shapes|colour_tables|written_masks)"
    )
    of_new = {"ppl.data.new", "ppl.data.own.dataset_folder", "ppl.data.own.summary"}
    users = {m for m, others in IMPORTS.items() if any(map(readers.fullmatch, others)) and not readers.fullmatch(m)}
    assert users == of_new
    assert {m for m, others in IMPORTS.items() if others & of_new} == {"ppl.data.new"}


def test_the_folder_of_masks_is_named_only_where_it_is_written_or_looked_for():
    mentions = {name for name, tree in MODULES.items() if any(MASKS in text.split("/") for text in code_strings(tree))}
    assert [name for name in mentions if not NAMES_MASKS.fullmatch(name)] == []
