"""Print the provenance of a result: code, settings and seed of every step behind it, and digests of its inputs.

    python -m ppl.report.provenance results/demo/summary.csv

Every file is read and compared with its record; the exit status is 1 if one has changed.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ppl.jobs import provenance
from ppl.jobs.command import command
from ppl.jobs.errors import UserError

DATASETS = "ppl.data.prepare"
"""Prepares a dataset again if any part of it has changed, which reruns only the steps that read this part."""


@dataclass(frozen=True)
class Settings:
    file: Annotated[Path, tyro.conf.Positional]
    """A result, or a file in a folder that is a result."""
    json: bool = False
    """Print the chain as JSON, a record for each output by its path, instead of text."""


def main(settings: Settings) -> None:
    if not settings.file.exists():
        raise UserError(settings.file, "no such file", "name a result, such as results/demo/summary.csv")
    output = output_of(settings.file)
    nodes = chain(output)
    if settings.json:
        print(json.dumps({str(path): node for path, node in nodes.items()}, indent=2, sort_keys=True))
    else:
        print("\n".join(lines(output, nodes)))
    faults = [f"{path}: {fault}" for path, node in nodes.items() for fault in node["faults"]]
    if faults:
        what = f"does not match its records: {faults[0]}"
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(settings.file, f"{what}{more}", "run Snakemake again")


def output_of(file: Path) -> Path:
    """Return the output that a file is or lies in; UserError if there is no record of one."""
    for path in (file, *file.parents):
        if provenance.read(path) is not None:
            return path
    raise UserError(file, "no record of its origin", "name an output of a step; logs and benchmarks have no record")


def chain(output: Path) -> dict[Path, dict[str, Any]]:
    """Return the records of an output and of all its direct and indirect inputs, by path, the output first.

    Each gets `faults`: its content differs from its record, or an input has changed; a dataset that was prepared again
    is a note, as steps read only parts of it. A file without a record is an external input and has only a digest.
    """
    nodes: dict[Path, dict[str, Any]] = {}
    waiting = [output]
    while waiting:
        path = waiting.pop(0)
        if path in nodes:
            continue
        record = provenance.read(path)
        nodes[path] = {"inputs": {}, **(record or {}), "faults": []}
        if record is None:
            if path.exists():
                nodes[path] |= provenance.content(path)._asdict()
            continue
        if not path.exists():
            nodes[path]["faults"].append("no longer exists")
        elif provenance.content(path).sha256 != record["sha256"]:
            nodes[path]["faults"].append("has changed since it was written")
        waiting += [resolved(path, name) for name in record["inputs"]]
    for path, node in nodes.items():
        for name, read in node["inputs"].items():
            source = nodes[resolved(path, name)]
            digest = source.get("sha256")
            if digest != read["sha256"] and source.get("made_by") == DATASETS and not source["faults"]:
                node["notes"] = [
                    f"its input {resolved(path, name)} was prepared again; Snakemake compares what it read"
                ]
            elif digest != read["sha256"]:
                what = "no longer exists" if digest is None else "has changed"
                node["faults"].append(f"its input {resolved(path, name)} {what}")
    return nodes


def lines(output: Path, nodes: dict[Path, dict[str, Any]]) -> Iterator[str]:
    """Yield the chain as a tree in which each output is described once."""
    described: set[Path] = set()

    def tree(path: Path, depth: int) -> Iterator[str]:
        node, indent = nodes[path], "    " * depth
        digest = node.get("sha256", "missing")[:16]
        if path in described:
            yield f"{indent}{path}  {digest}  (above)"
            return
        described.add(path)
        state = "".join(f"  FAULT: {fault}" for fault in node["faults"])
        state += "".join(f"  note: {note}" for note in node.get("notes", []))
        yield f"{indent}{path}  {digest}{state}"
        if "made_by" not in node:
            yield f"{indent}  external input, {node.get('files', 0)} files"
            return
        versions = ", ".join(f"{name} {version}" for name, version in node["versions"].items())
        yield f"{indent}  written by {node['made_by']}, code {node['code']}; {versions}"
        settings = " ".join(_flat(node["settings"]))
        if settings:
            yield f"{indent}  settings {settings}"
        for name in node["inputs"]:
            yield from tree(resolved(path, name), depth + 1)

    yield from tree(output, 0)


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={json.dumps(value)}"


def resolved(output: Path, name: str) -> Path:
    """Return the path of an input, which a record names relative to the folder of its output."""
    path = Path(name)
    if path.is_absolute():
        return path
    parts: list[str] = []
    for part in (*output.parent.parts, *path.parts):
        if part == ".." and parts and parts[-1] not in ("..", "/"):
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    command(main, Settings)
