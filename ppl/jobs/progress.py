"""How far a step is: a bar that redraws in a terminal, whole lines in a file, for readers and for `tail -f`."""

import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

FIRST = 10  # seconds until the first line
OFTEN, SELDOM, LINES = 30, 300, 20  # then a twentieth of the time so far, within these seconds

RUNNING = re.compile(r".+: .+, [\d:]+ passed(, [\d:]+ left)?")
"""What a line of a step that goes on looks like."""


def progress(
    items: Iterable | None = None,
    *,
    name: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    part: bool = False,
) -> "Bar":
    """Shows on stderr how far the step is that `name` tells in plain words: a context, to iterate or to `update`.

    Of `items`, as they are iterated over, or of what `update(n)` is told: how many of `total` units (a number alone
    where it is None) with those done before, `initial`; the rate of the recent past, the time passed and left; and
    what `set_postfix_str(text, refresh=False)` is given. `unit` is singular, "B" for bytes. Of a `part` of a longer
    step nothing stays in a terminal, and no line is written where it is short. Of the processes of a data-parallel
    training the first one shows its progress.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    other = os.environ.get("LOCAL_RANK", "0") != "0"
    if other or sys.stderr.isatty():
        return tqdm(
            items,
            name,
            total,
            leave=not part,
            file=sys.stderr,
            disable=other,
            unit=unit,
            unit_scale=unit == "B",
            initial=initial,
            **_size(),
        )
    return Lines(sys.stderr, items, name=name, unit=unit, total=total, initial=initial, part=part)


class Lines:
    """Writes a line to a file now and then, and a last one: what `progress` makes where there is no terminal."""

    def __init__(
        self,
        file: TextIO,
        items: Iterable | None = None,
        *,
        name: str,
        unit: str,
        total: int | None = None,
        initial: int = 0,
        part: bool = False,
    ) -> None:
        self.file, self.items, self.name, self.unit, self.total = file, items, name, unit, total
        self.initial = self.n = initial
        self.part, self.note, self.written, self.closed = part, "", False, False
        self.start = time.monotonic()
        self.due = self.start + FIRST
        self.seen = deque([(self.start, initial)], maxlen=2)  # time and number at the last lines

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self.items:
                yield item
                self.update()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close(early=kind is not None)

    def update(self, n: int = 1) -> None:
        """Counts `n` more; writes a line where one is due."""
        self.n += n
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + min(SELDOM, max(OFTEN, (now - self.start) / LINES))
        then, before = self.seen[0]
        self.seen.append((now, self.n))
        rate = (self.n - before) / (now - then)
        left = [f"{_clock((self.total - self.n) / rate)} left"] if self.total and rate else []
        self._write(rate, f"{_clock(now - self.start)} passed", *left)
        self.written = True

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        """Has `text` stand in the next lines."""
        self.note = text

    def close(self, *, early: bool = False) -> None:
        """Writes the last line, with the rate of the whole; `early` where not all was done."""
        if not self.closed and (self.written or not self.part):
            passed = time.monotonic() - self.start
            rate = (self.n - self.initial) / passed if passed else 0
            self._write(rate, f"{'stopped after' if early else 'done in'} {_clock(passed)}")
        self.closed = True

    def _write(self, rate: float, *times: str) -> None:
        many = "" if self.unit == "B" else f" {self.unit}s"
        whole = "" if self.total is None else f"/{_amount(self.total, self.unit)}"
        share = f" ({self.n / self.total:.0%})" if self.total else ""
        parts = [f"{_amount(self.n, self.unit)}{whole}{many}{share}", _rate(rate, self.unit), self.note, *times]
        self.file.write(f"{self.name}: {', '.join(filter(None, parts))}\n")  # in one piece: others write to it too
        self.file.flush()


Bar = tqdm | Lines


def _size() -> dict[str, Any]:
    """Of a bar: that of its terminal at any time; some have none, as those of containers, where tqdm shows nothing."""
    try:
        known = all(os.get_terminal_size(sys.stderr.fileno()))
    except OSError:
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}


def _amount(number: float, unit: str) -> str:
    return tqdm.format_sizeof(number, "B") if unit == "B" else f"{number:,}"


def _rate(rate: float, unit: str) -> str:
    """Units a second, or seconds a unit where that is more than one; nothing where nothing was done."""
    if unit == "B":
        return f"{tqdm.format_sizeof(rate, 'B')}/s"
    if rate <= 0:
        return ""
    return f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"


def _clock(seconds: float) -> str:
    return tqdm.format_interval(max(0, seconds))
