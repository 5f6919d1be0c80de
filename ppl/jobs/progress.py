"""Progress of a step: a bar that redraws in a terminal; whole lines in a file, readable with `tail -f`."""

import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

FIRST = 10  # seconds until the first line
SHORTEST, LONGEST, LINES = 30, 300, 20  # then a line each LINES-th of the time passed, within these seconds

RUNNING = re.compile(r".+: .+, [\d:]+ passed(, [\d:]+ left)?")
"""Pattern of the lines of a step that is running."""


def progress(
    items: Iterable | None = None,
    *,
    name: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    part: bool = False,
) -> "Bar":
    """Show on stderr the progress of the step `name`; return a context manager to iterate over or to `update(n)`.

    It shows how many of `total` units are done (`initial` of them before), the recent rate, the time passed and left,
    and the text of `set_postfix_str(text, refresh=False)`. `unit` is singular, "B" for bytes; `total` defaults to the
    length of `items`. A `part` of a longer step leaves nothing in a terminal, and no line in a file if it is short. In
    data-parallel training only the first process shows progress.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    silent = os.environ.get("LOCAL_RANK", "0") != "0"
    if silent or sys.stderr.isatty():
        return tqdm(
            items,
            name,
            total,
            leave=not part,
            file=sys.stderr,
            disable=silent,
            unit=unit,
            unit_scale=unit == "B",
            initial=initial,
            **_terminal_size(),
        )
    return Lines(sys.stderr, name, unit, items, total, initial, part)


@dataclass
class Lines:
    """Progress as lines of a file: one at intervals, and a last one. The interface is that of tqdm."""

    file: TextIO
    name: str
    unit: str
    items: Iterable | None = None
    total: int | None = None
    initial: int = 0
    part: bool = False

    def __post_init__(self) -> None:
        self.n, self.postfix = self.initial, ""
        self.start = time.monotonic()
        self.due = self.start + FIRST
        self.points = deque([(self.start, self.n)], maxlen=2)  # (time, number) at the last lines

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self.items:
                yield item
                self.update()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Write the last line, with the mean rate."""
        if self.part and len(self.points) == 1:
            return
        passed = time.monotonic() - self.start
        rate = (self.n - self.initial) / passed if passed else 0
        self._write(rate, f"{'done in' if kind is None else 'stopped after'} {_clock(passed)}")

    def update(self, n: int = 1) -> None:
        """Count `n` more units; write a line if one is due."""
        self.n += n
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + min(LONGEST, max(SHORTEST, (now - self.start) / LINES))
        then, before = self.points[0]
        self.points.append((now, self.n))
        rate = (self.n - before) / (now - then)
        left = [f"{_clock((self.total - self.n) / rate)} left"] if self.total and rate else []
        self._write(rate, f"{_clock(now - self.start)} passed", *left)

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        """Show `text` in the next lines."""
        self.postfix = text

    def _write(self, rate: float, *times: str) -> None:
        units = "" if self.unit == "B" else f" {self.unit}s"
        total = "" if self.total is None else f"/{_amount(self.total, self.unit)}"
        share = f" ({self.n / self.total:.0%})" if self.total else ""
        parts = [f"{_amount(self.n, self.unit)}{total}{units}{share}", _rate(rate, self.unit), self.postfix, *times]
        self.file.write(f"{self.name}: {', '.join(filter(None, parts))}\n")  # one call: other processes write to it too
        self.file.flush()


Bar = tqdm | Lines


def _terminal_size() -> dict[str, Any]:
    """Return tqdm's settings of its size: fixed if a terminal (of a container, say) reports 0, else dynamic."""
    try:
        known = all(os.get_terminal_size(sys.stderr.fileno()))
    except OSError:
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}


def _amount(number: float, unit: str) -> str:
    return tqdm.format_sizeof(number, "B") if unit == "B" else f"{number:,}"


def _rate(rate: float, unit: str) -> str:
    """Format units per second, or seconds per unit if that exceeds 1; empty for a rate of 0."""
    if unit == "B":
        return f"{tqdm.format_sizeof(rate, 'B')}/s"
    if rate <= 0:
        return ""
    return f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"


def _clock(seconds: float) -> str:
    return tqdm.format_interval(max(0, seconds))
