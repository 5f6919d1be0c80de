"""The steps behind a result, read from the records that lie beside each output (ppl/jobs/provenance.py)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx

from ppl.jobs import provenance
from ppl.report.provenance import resolved
from ppl.report.summary import variant_of


class Step(NamedTuple):
    """All jobs of one module on one variant; its shards and splits are one step."""

    module: str
    """Without `ppl.`"""
    variant: str
    """METHOD/GRIDS, or empty for what all variants share."""


class Graph(NamedTuple):
    """Steps in an order in which they could run, and which reads what another made."""

    steps: list[Step]
    outputs: dict[Step, list[tuple[Path, str]]]
    """Path and SHA-256 of what each has made, sorted."""
    code: dict[Step, str]
    """Digest of the code of each."""
    versions: dict[str, str]
    """Of Python and the packages used."""
    edges: set[tuple[Step, Step]]


def graph_of(outputs: Iterable[Path]) -> Graph:
    """The steps that `outputs` were made by, and all behind those; without any where no record is found."""
    records: dict[Path, dict[str, Any]] = {}
    waiting = list(outputs)
    while waiting:
        path = waiting.pop()
        if path in records:
            continue
        found = provenance.read(path)
        if found is not None:
            records[path] = found
            waiting += [resolved(path, name) for name in found["inputs"]]
    step_of = {path: Step(record["made_by"].removeprefix("ppl."), variant_of(path)) for path, record in records.items()}
    made: dict[Step, list[tuple[Path, str]]] = {}
    for path, record in sorted(records.items()):
        made.setdefault(step_of[path], []).append((path, record["sha256"]))
    edges = {
        (step_of[read], step_of[path])
        for path, record in records.items()
        for read in (resolved(path, name) for name in record["inputs"])
        if read in step_of and step_of[read] != step_of[path]
    }
    versions = [record["versions"] for _, record in sorted(records.items())]
    return Graph(
        steps=list(nx.lexicographical_topological_sort(_directed(made, edges), key=str)),
        outputs=made,
        code={step_of[path]: record["code"] for path, record in records.items()},
        versions={name: version for used in versions for name, version in used.items()},
        edges=edges,
    )


def columns(graph: Graph) -> list[list[Step]]:
    """The steps by their longest way from a beginning; in each column near those that they read."""
    place: dict[Step, float] = {}
    found = []
    for generation in nx.topological_generations(_directed(graph.steps, graph.edges)):
        read = {step: [place[before] for before, after in graph.edges if after == step] for step in generation}
        column = sorted(generation, key=lambda step: (sum(read[step]) / max(1, len(read[step])), step))
        place |= {step: (i + 0.5) / len(column) for i, step in enumerate(column)}
        found.append(column)
    return found


def next_steps(graph: Graph) -> list[tuple[Step, Step]]:
    """The edges that no way over other steps replaces, sorted: most steps read the photos too."""
    return sorted(nx.transitive_reduction(_directed(graph.steps, graph.edges)).edges)


def _directed(steps: Iterable[Step], edges: Iterable[tuple[Step, Step]]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(steps)
    graph.add_edges_from(edges)
    return graph
