"""Names of variants: a method and its grids, as in `implicit/s2k2-s3k4-s4k6`."""

import re
from typing import NamedTuple

from ppl.jobs.errors import UserError

PLAIN = "plain"
STAGES = (2, 3, 4)
MAX_K = 16


class Grid(NamedTuple):
    """K x K patches cut in front of a backbone stage."""

    stage: int
    k: int


class Method(NamedTuple):
    """How a method learns from patches; `parse`, `start`, `branches` and the network read nothing else of it."""

    patches: bool = True
    """Whether it has patched branches; otherwise its grids are `plain`."""
    stepwise: bool = False
    """Each step has the branch of its last grid only, starts from the step before, and, from the second step on,
    freezes the stages before its patches (Algorithm 1)."""
    from_baseline: bool = False
    """It starts from the plain classifier."""
    global_branch: bool = True
    stop_at_patches: bool = False
    """Patched branches send no gradient below their patch points."""


METHODS = {
    "baseline": Method(patches=False),
    "implicit": Method(stepwise=True),
    "explicit": Method(from_baseline=True, stop_at_patches=True),  # Section III-D
    "local": Method(from_baseline=True, stop_at_patches=True, global_branch=False),  # ablation of explicit, Table VIII
}


def parse(method: str, grids: str) -> tuple[Grid, ...]:
    """Return the grids of a variant, ordered by stage; () for `baseline/plain`. UserError for an invalid name."""
    if method not in METHODS:
        raise UserError(f"method {method!r}", "unknown method", f"choose one of {', '.join(METHODS)}")
    if METHODS[method].patches == (grids == PLAIN):
        raise UserError(
            f"{method}/{grids}", f"`{PLAIN}` belongs to the baseline", "name grids such as s4k6 with the others"
        )
    if grids == PLAIN:
        return ()
    parsed = []
    for part in grids.split("-"):
        match = re.fullmatch(r"s(\d+)k(\d+)", part)
        if not match or int(match[1]) not in STAGES or not 2 <= int(match[2]) <= MAX_K:
            raise UserError(
                f"{method}/{grids}", f"{part!r} is not a grid", f"write s2, s3 or s4, then k2 to k{MAX_K}, as in s4k6"
            )
        parsed.append(Grid(int(match[1]), int(match[2])))
    if name(parsed) != grids or [g.stage for g in parsed] != sorted({g.stage for g in parsed}):
        raise UserError(
            f"{method}/{grids}",
            "not the canonical name",
            "name each stage once, in ascending order, as in s2k2-s3k4-s4k6",
        )
    return tuple(parsed)


def name(grids: list[Grid] | tuple[Grid, ...]) -> str:
    """Return the name of a sequence of grids, the inverse of `parse`."""
    return "-".join(f"s{stage}k{k}" for stage, k in grids) or PLAIN


def start(method: str, grids: str) -> tuple[str, str] | None:
    """Return the variant whose backbone this one starts from; None for ImageNet weights."""
    parsed = parse(method, grids)
    if METHODS[method].from_baseline:
        return "baseline", PLAIN
    if METHODS[method].stepwise and len(parsed) > 1:
        return method, name(parsed[:-1])
    return None


def branches(method: str, grids: str) -> tuple[tuple[Grid, ...], bool]:
    """Return the patched branches of the network of a variant, and whether it has the global branch."""
    parsed = parse(method, grids)
    return (parsed[-1:] if METHODS[method].stepwise else parsed), METHODS[method].global_branch


def frozen_stages(method: str, grids: str, of_baseline: int) -> int:
    """Return the number of the last stage that the global branch of a variant does not train, -1 for none.

    `of_baseline` is that of the plain classifier. A stepwise method trains at least the patched stage and those behind
    it. In its first step it freezes no more than the plain classifier does: line 10 of Algorithm 1 stands in its loop.
    """
    parsed = parse(method, grids)
    if not METHODS[method].stepwise:
        return of_baseline
    below = parsed[-1].stage - 1
    return min(of_baseline, below) if start(method, grids) is None else below
