"""Prints what a result was made of: code, settings and seed of every step behind it, digests of what each has read.

    python -m ppl.report.provenance results/demo/summary.csv

Every file that it names is read and compared with its record; exit status 1 where one has changed since.
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


@dataclass(frozen=True)
class Settings:
    file: Annotated[Path, tyro.conf.Positional]
    """A result, or a file in a folder that is one."""
    json: bool = False
    """The whole chain as JSON, a record for each output by its path, instead of text."""


def main(settings: Settings) -> None:
    if not settings.file.exists():
        raise UserError(settings.file, "no such file", "name a result, such as results/demo/summary.csv")
    output = output_of(settings.file)
    nodes = chain(output)
    if settings.json:
        print(json.dumps({str(path): node for path, node in nodes.items()}, indent=2, sort_keys=True))
    else:
        print("\n".join(lines(output, nodes)))
    broken = [f"{path}: {fault}" for path, node in nodes.items() for fault in node["faults"]]
    if broken:
        many = "s" * (len(broken) > 1)
        raise UserError(settings.file, f"{len(broken)} fault{many} in its chain", f"run Snakemake again ({broken[0]})")


def output_of(file: Path) -> Path:
    """The output that a file is or lies in; UserError where none has a record."""
    for path in (file, *file.parents):
        if provenance.read(path) is not None:
            return path
    raise UserError(file, "no record leads to it", "logs, benchmarks and states have none, nor has what you made")


def chain(output: Path) -> dict[Path, dict[str, Any]]:
    """Records of an output and of all that it was made of, by path, the output first.

    `faults` are added to each: where its content is not what its record tells, and where an input was made again. What
    has no record is an input from outside, with its digest only.
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
            nodes[path]["faults"].append("is not there any more")
        elif provenance.content(path).sha256 != record["sha256"]:
            nodes[path]["faults"].append("was changed after it was made")
        waiting += [resolved(path, name) for name in record["inputs"]]
    for path, node in nodes.items():
        for name, read in node["inputs"].items():
            found = nodes[resolved(path, name)].get("sha256")
            if found != read["sha256"]:
                what = "is not there any more" if found is None else "is another one now"
                node["faults"].append(f"its input {resolved(path, name)} {what}")
    return nodes


def lines(output: Path, nodes: dict[Path, dict[str, Any]]) -> Iterator[str]:
    """The chain as a tree in which each output is explained once."""
    explained: set[Path] = set()

    def tree(path: Path, depth: int) -> Iterator[str]:
        node, indent = nodes[path], "    " * depth
        digest = node.get("sha256", "gone")[:16]
        if path in explained:
            yield f"{indent}{path}  {digest}  (above)"
            return
        explained.add(path)
        state = "".join(f"  FAULT: {fault}" for fault in node["faults"])
        yield f"{indent}{path}  {digest}{state}"
        if "made_by" not in node:
            yield f"{indent}  from outside, {node.get('files', 0)} files"
            return
        versions = ", ".join(f"{name} {version}" for name, version in node["versions"].items())
        yield f"{indent}  made by {node['made_by']}, code {node['code']}; {versions}"
        settings = " ".join(_flat(node["settings"]))
        if settings:
            yield f"{indent}  with {settings}"
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
    """Path of an input, which a record names as seen from its output's folder."""
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
