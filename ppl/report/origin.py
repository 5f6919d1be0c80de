"""The steps that led to a result, from the records beside each output (ppl/jobs/provenance.py).

Snakemake's own graph shows the jobs to run; this one shows the steps that ran, with digests, also without the workflow.
"""

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
    """METHOD/GRIDS, or empty for a step that all variants share."""


class Graph(NamedTuple):
    """Steps in an order in which they could run, and the steps whose output each one reads."""

    steps: list[Step]
    outputs: dict[Step, list[tuple[Path, str]]]
    """Paths and SHA-256 of the outputs of each, sorted."""
    code: dict[Step, str]
    """Digest of the code of each step."""
    versions: dict[str, str]
    """Of Python and the packages used."""
    edges: set[tuple[Step, Step]]
    """From a step to one that reads its output."""


def graph_of(outputs: Iterable[Path]) -> Graph:
    """Return the steps that led to `outputs`; an empty graph if there are no records."""
    records: dict[Path, dict[str, Any]] = {}
    waiting = list(outputs)
    while waiting:
        path = waiting.pop()
        if path in records:
            continue
        record = provenance.read(path)
        if record is not None:
            records[path] = record
            waiting += [resolved(path, name) for name in record["inputs"]]
    step_of = {path: Step(record["made_by"].removeprefix("ppl."), variant_of(path)) for path, record in records.items()}
    written: dict[Step, list[tuple[Path, str]]] = {}
    for path, record in sorted(records.items()):
        written.setdefault(step_of[path], []).append((path, record["sha256"]))
    edges = {
        (step_of[read], step_of[path])
        for path, record in records.items()
        for read in (resolved(path, name) for name in record["inputs"])
        if read in step_of and step_of[read] != step_of[path]
    }
    versions = [record["versions"] for _, record in sorted(records.items())]
    return Graph(
        steps=list(nx.lexicographical_topological_sort(_directed(written, edges), key=str)),
        outputs=written,
        code={step_of[path]: record["code"] for path, record in records.items()},
        versions={name: version for used in versions for name, version in used.items()},
        edges=edges,
    )


def columns(graph: Graph) -> list[list[Step]]:
    """Return the steps in columns by their longest path from a start, each near the steps whose output it reads."""
    place: dict[Step, float] = {}
    layers = []
    for generation in nx.topological_generations(_directed(graph.steps, graph.edges)):
        read = {step: [place[before] for before, after in graph.edges if after == step] for step in generation}
        column = sorted(generation, key=lambda step: (sum(read[step]) / max(1, len(read[step])), step))
        place |= {step: (i + 0.5) / len(column) for i, step in enumerate(column)}
        layers.append(column)
    return layers


def next_steps(graph: Graph) -> list[tuple[Step, Step]]:
    """Return the edges that no longer path implies, sorted: most steps also read the photos."""
    return sorted(nx.transitive_reduction(_directed(graph.steps, graph.edges)).edges)


def _directed(steps: Iterable[Step], edges: Iterable[tuple[Step, Step]]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(steps)
    graph.add_edges_from(edges)
    return graph
