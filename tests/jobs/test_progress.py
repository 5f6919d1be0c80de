import contextlib
import io
import os
import re
import subprocess
import sys
import termios
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.jobs import progress as module
from ppl.jobs.progress import FIRST, LONGEST, RUNNING, SHORTEST, Lines, progress


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def run(durations: list[float], *, fail: bool = False, step: int = 1, **settings) -> list[tuple[float, str]]:
    """Return the lines of a step whose units take so many seconds, each with the time at which it was written."""
    lines, clock = [], Clock()

    class Log(io.StringIO):
        def write(self, text: str) -> int:
            lines.append((clock.now - Clock.now, text))
            return len(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", clock)
        bar = Lines(Log(), **{"name": "walk", "unit": "image", **settings})
        with contextlib.suppress(ZeroDivisionError), bar:
            for duration in durations:
                clock.now += duration
                bar.update(step)
            if fail:
                raise ZeroDivisionError
    return lines


@given(st.lists(st.floats(0.01, 400), max_size=300))
def test_lines_are_whole_and_come_at_sensible_times(durations: list[float]) -> None:
    lines = run(durations, total=len(durations))
    assert all(text.count("\n") == 1 and text.endswith("\n") for _, text in lines)
    *running, (end, last) = lines
    assert re.search(r"done in [\d:]+\n$", last)
    assert end == pytest.approx(sum(durations))
    assert all(RUNNING.fullmatch(text.rstrip("\n")) for _, text in running)
    assert not RUNNING.fullmatch(last.rstrip("\n"))
    times = [time for time, _ in running]
    assert all(time >= FIRST for time in times)
    assert all(later - sooner >= SHORTEST - 1e-6 for sooner, later in pairwise(times))
    longest = LONGEST + max(durations, default=0)
    assert all(b - a <= longest + 1e-6 for a, b in zip([FIRST, *times], [*times, end], strict=True))


GB = 1_000_000_000


@pytest.mark.parametrize(("durations", "settings", "lines"), [
    ([0.5] * 30, {"total": 30}, [
        "walk: 20/30 images (67%), 2.0 images/s, 00:10 passed, 00:05 left",
        "walk: 30/30 images (100%), 2.0 images/s, done in 00:15"]),
    ([1.0] * 12, {"total": 1000, "initial": 988}, [  # units done before do not count for the rate
        "walk: 998/1,000 images (100%), 1.0 images/s, 00:10 passed, 00:02 left",
        "walk: 1,000/1,000 images (100%), 1.0 images/s, done in 00:12"]),
    ([10.0, 2.0], {}, [  # of an unknown total
        "walk: 1 images, 10.0 s/image, 00:10 passed",
        "walk: 2 images, 6.0 s/image, done in 00:12"]),
    ([], {"total": 0}, ["walk: 0/0 images, done in 00:00"]),
    ([61], {"total": 4, "fail": True}, [
        "walk: 1/4 images (25%), 61.0 s/image, 01:01 passed, 03:03 left",
        "walk: 1/4 images (25%), 61.0 s/image, stopped after 01:01"]),
    ([1.0] * 5, {"total": 5, "part": True}, []),
    ([10.0], {"total": 2, "part": True}, [
        "walk: 1/2 images (50%), 10.0 s/image, 00:10 passed, 00:10 left",
        "walk: 1/2 images (50%), 10.0 s/image, done in 00:10"]),
    ([10.0], {"name": "download", "unit": "B", "total": 2 * GB, "initial": GB // 2, "step": GB // 2}, [
        "download: 1.00GB/2.00GB (50%), 50.0MB/s, 00:10 passed, 00:20 left",
        "download: 1.00GB/2.00GB (50%), 50.0MB/s, done in 00:10"]),
])  # fmt: skip
def test_a_line_shows_share_rate_and_time(durations: list[float], settings: dict, lines: list[str]) -> None:
    assert [text.rstrip("\n") for _, text in run(durations, **settings)] == lines


def test_the_rate_is_that_of_the_recent_past() -> None:
    """A step that has become ten times slower shows when it will really end."""
    _, text = run([0.1] * 600 + [1.0] * 400, total=1000)[-2]
    done, minutes, seconds = map(int, re.match(r"walk: (\d+)/.* (\d+):(\d+) left", text).groups())
    assert 60 * minutes + seconds == pytest.approx(1000 - done, rel=0.1)


@pytest.mark.parametrize("length", [0, 3])
def test_in_a_terminal_a_bar_redraws(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(range(length), name="walk", unit="image")) == list(range(length))
    assert "\rwalk: " in terminal.getvalue()
    assert f"{length}/{length}" in terminal.getvalue() or not length
    assert terminal.getvalue().count("\n") == 1
    assert "\x1b[3" not in terminal.getvalue()  # no colour


@pytest.mark.parametrize("size", [(0, 0), (24, 60)])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_real_terminal_of_any_size_and_encoding_shows_the_bar(size: tuple[int, int], encoding: str) -> None:
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, size)
    program = "from ppl.jobs.progress import progress; list(progress(range(3), name='CAMs of train', unit='image'))"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    subprocess.run([sys.executable, "-c", program], stderr=terminal, env=environment, check=True)
    os.close(terminal)
    text = os.read(controller, 10_000).decode(encoding)
    os.close(controller)
    assert "CAMs of train: 100%" in text
    assert "3/3" in text
    assert max(map(len, re.split(r"[\r\n]+", text))) <= (size[1] or 80)


def test_only_the_first_process_of_a_training_shows_progress(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert list(progress(range(3), name="walk", unit="image")) == [0, 1, 2]
    with progress(name="walk", unit="step", total=3) as bar:
        bar.set_postfix_str("loss 1", refresh=False)
        bar.update()
    assert capsys.readouterr().err == ""


def test_the_length_of_items_is_the_total(capsys) -> None:
    assert list(progress("abc", name="letters", unit="letter")) == ["a", "b", "c"]
    assert re.fullmatch(r"letters: 3/3 letters \(100%\), .*done in 00:00\n", capsys.readouterr().err)
