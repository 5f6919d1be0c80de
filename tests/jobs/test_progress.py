import io
import os
import re
import subprocess
import sys
import termios
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.jobs import progress as module
from ppl.jobs.progress import FIRST, OFTEN, RUNNING, SELDOM, Lines, progress


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def seconds(text: str) -> int:
    """Of [H:]MM:SS."""
    total = 0
    for part in text.split(":"):
        total = 60 * total + int(part)
    return total


def run(clock: Clock, durations: list[float], **how) -> list[tuple[float, str]]:
    """Lines of a step whose units take so long, each with the time at which it was written."""
    written = []

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            written.append((clock.now - start, text))
            return len(text)

    start = clock.now
    with Lines(Log(), name="walk", unit="image", **how) as bar:
        for duration in durations:
            clock.now += duration
            bar.update()
    return written


@given(st.lists(st.floats(0.01, 400), max_size=300))
def test_lines_are_whole_and_come_at_sensible_times(durations: list[float]) -> None:
    clock, before = Clock(), module.time
    module.time = clock
    try:
        written = run(clock, durations, total=len(durations))
    finally:
        module.time = before
    assert all(text.count("\n") == 1 and text.endswith("\n") for _, text in written)
    *running, (end, last) = written
    assert re.search(r"done in [\d:]+\n$", last)
    assert end == pytest.approx(sum(durations))
    assert all(RUNNING.fullmatch(text.rstrip("\n")) for _, text in running)
    assert not RUNNING.fullmatch(last.rstrip("\n"))
    times = [time for time, _ in running]
    assert all(time >= FIRST for time in times)
    assert all(later - sooner >= OFTEN - 1e-6 for sooner, later in pairwise(times))
    longest = max(durations, default=0)
    assert all(b - a <= SELDOM + longest + 1e-6 for a, b in zip([FIRST, *times], [*times, end], strict=True))


def test_a_line_tells_how_far_how_fast_and_how_long(clock: Clock) -> None:
    (first, text), *_ = run(clock, [0.5] * 100, total=100)
    assert first == FIRST
    assert text == "walk: 20/100 images (20%), 2.0 images/s, 00:10 passed, 00:40 left\n"


def test_the_rate_is_that_of_the_recent_past(clock: Clock) -> None:
    """A step that has become ten times slower tells when it will really end."""
    written = run(clock, [0.1] * 600 + [1.0] * 400, total=1000)
    _, text = written[-2]
    done = int(re.match(r"walk: (\d+)/", text)[1])
    assert seconds(re.search(r"([\d:]+) left", text)[1]) == pytest.approx(1000 - done, rel=0.1)


def test_what_was_done_before_does_not_count_for_the_rate(clock: Clock) -> None:
    written = run(clock, [1.0] * 50, total=1000, initial=950)
    assert "960/1,000 images (96%), 1.0 images/s" in written[0][1]
    assert "1,000/1,000 images (100%), 1.0 images/s, done in 00:50" in written[-1][1]


def test_seconds_an_image_where_it_takes_more_than_one(clock: Clock) -> None:
    assert "4.0 s/image, 00:12 passed, 00:08 left" in run(clock, [4.0] * 5, total=5)[0][1]


def test_an_unknown_total_has_no_share_and_no_time_left(clock: Clock) -> None:
    first, last = (text for _, text in run(clock, [10.0, 2.0]))
    assert first == "walk: 1 images, 10.0 s/image, 00:10 passed\n"
    assert RUNNING.fullmatch(first.rstrip("\n"))
    assert last == "walk: 2 images, 6.0 s/image, done in 00:12\n"


def test_nothing_to_do_is_done(clock: Clock) -> None:
    assert [text for _, text in run(clock, [], total=0)] == ["walk: 0/0 images, done in 00:00\n"]


def test_what_ends_early_says_so(clock: Clock) -> None:
    log = io.StringIO()
    with suppress(ZeroDivisionError), Lines(log, name="walk", unit="image", total=4) as bar:
        clock.now += 61
        bar.update()
        raise ZeroDivisionError
    assert log.getvalue().splitlines()[-1] == "walk: 1/4 images (25%), 61.0 s/image, stopped after 01:01"


def test_a_short_part_of_a_step_leaves_no_line(clock: Clock) -> None:
    assert run(clock, [1.0] * 5, total=5, part=True) == []
    assert len(run(clock, [10.0] * 5, total=5, part=True)) > 1


def test_bytes_have_their_prefixes(clock: Clock) -> None:
    log = io.StringIO()
    with Lines(log, name="download", unit="B", total=2_000_000_000, initial=500_000_000) as bar:
        clock.now += 10
        bar.update(500_000_000)
    first, _ = log.getvalue().splitlines()
    assert first == "download: 1.00GB/2.00GB (50%), 50.0MB/s, 00:10 passed, 00:20 left"


@pytest.mark.parametrize("length", [0, 3])
def test_in_a_terminal_a_bar_redraws(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(range(length), name="walk", unit="image")) == list(range(length))
    assert "\rwalk: " in terminal.getvalue()
    assert f"{length}/{length}" in terminal.getvalue() or not length
    assert terminal.getvalue().count("\n") == 1
    assert "\x1b[3" not in terminal.getvalue()  # no colour


@pytest.mark.parametrize("size", [(0, 0), (24, 60)])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_real_terminal_of_any_size_and_encoding_shows_the_bar(size: tuple[int, int], encoding: str) -> None:
    ours, its = os.openpty()
    termios.tcsetwinsize(its, size)
    program = "from ppl.jobs.progress import progress; list(progress(range(3), name='CAMs of train', unit='image'))"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    subprocess.run([sys.executable, "-c", program], stderr=its, env=environment, check=True)
    os.close(its)
    shown = os.read(ours, 10_000).decode(encoding)
    os.close(ours)
    assert "CAMs of train: 100%" in shown
    assert "3/3" in shown
    assert max(map(len, re.split(r"[\r\n]+", shown))) <= (size[1] or 80)


def test_the_other_processes_of_a_training_are_silent(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    for _ in progress(range(3), name="walk", unit="image"):
        pass
    with progress(name="walk", unit="step", total=3) as bar:
        bar.set_postfix_str("loss 1", refresh=False)
        bar.update()
    assert capsys.readouterr().err == ""


def test_items_that_know_their_number_give_the_total(capsys) -> None:
    assert list(progress("abc", name="letters", unit="letter")) == ["a", "b", "c"]
    assert re.fullmatch(r"letters: 3/3 letters \(100%\), .*done in 00:00\n", capsys.readouterr().err)
