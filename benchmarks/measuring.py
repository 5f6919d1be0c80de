"""Measure seconds, peak memory and agreement of two computations of the same result in one process."""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One comparison; `least` is the target ratio."""

    name: str
    against: str
    least: float
    ours: Callable[[], Any]
    reference: Callable[[], Any]
    error: Callable[[Any, Any], str] | None = None
    """Compares our result with that of `exact`, or of `reference` if `exact` is None."""
    exact: Callable[[], Any] | None = None
    """Computes the result in float64, which both approximate."""
    before: Callable[[], None] | None = None
    """Runs before each measurement, not timed."""
    estimate: float = 1
    """Time of the full problem as a multiple of the time of `reference`, if that runs a smaller one."""


def measured(row: Row, device: torch.device, repeats: int) -> dict[str, str]:
    """Return the cells of a table row after `repeats` alternating runs of both sides."""
    times: dict[str, list[float]] = {"ours": [], "reference": []}
    memory, outputs = {}, {}
    sides = {"ours": row.ours, "reference": row.reference}
    for turn in range(repeats + 1):
        for side, run in sides.items():
            if side == "reference" and turn > 1 and times[side][-1] > 20:
                continue  # slow ones run only once more
            gc.collect()
            if row.before is not None:
                row.before()
            if not turn:
                _give_memory_back()
            seconds, peak, out = _run(run, device)
            memory.setdefault(side, peak)
            if turn or seconds > 20:  # the first run starts threads and fills caches
                times[side].append(seconds)
            outputs[side] = out
    ours, reference = (statistics.median(times[side]) for side in sides)
    reference *= row.estimate
    mark = "~" if row.estimate != 1 else ""
    right = row.exact() if row.exact else outputs["reference"]
    return {
        "row": row.name,
        "against": row.against,
        "ours s": f"{ours:.4g}",
        "reference s": f"{mark}{reference:.4g}",
        "ratio": f"{mark}{reference / ours:.3g}",
        "target": f"{row.least:g}",
        "ours MB": f"{memory['ours']:.0f}",
        "reference MB": f"{memory['reference']:.0f}",
        "error": row.error(outputs["ours"], right) if row.error else "",
    }


def _run(function: Callable[[], Any], device: torch.device) -> tuple[float, float, Any]:
    """Return seconds, peak memory in MB, and the result of a function."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 1e6
    else:
        reset_peak()
        before = resident("VmRSS")
    start = time.perf_counter()
    out = function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else resident("VmHWM")
    return seconds, peak - before, out


def _give_memory_back() -> None:
    """Return free memory to the system (glibc), so that the peak is that of the next run."""
    ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    """Reset VmHWM (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident(field: str) -> float:
    """Return the resident memory of this process (VmRSS) or its peak (VmHWM) in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(field + ":"))
