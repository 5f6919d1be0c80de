"""Progress of running jobs, and reasons of failed ones."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from ppl.workflow.job_progress import Jobs, why_failed

RUNS = "classifier: 140/224 steps (62%), 3.1 steps/s, loss 0.885, 00:45 passed, 00:27 left\n"
EARLIER = RUNS.replace("140", "20")
DONE = "classifier: 224/224 steps (100%), 3.1 steps/s, loss 0.3, done in 01:12\n"
WILDCARDS = {"experiment": "demo", "method": "explicit", "grids": "s4k2"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "classify.log"


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs()
    yield jobs
    jobs.close()


def send(jobs: Jobs, event: LogEvent, **fields) -> None:
    jobs.handle(logging.makeLogRecord({"event": event, **fields}))


def start(jobs: Jobs, log: Path, number: int = 1) -> None:
    send(jobs, LogEvent.JOB_INFO, jobid=number, rule_name="train_classifier", wildcards=WILDCARDS, log=[str(log)])


def fail(jobs: Jobs) -> list[str]:
    send(jobs, LogEvent.JOB_ERROR, jobid=1)
    return list(why_failed(jobs.failed.values()))


def news(jobs: Jobs) -> list[str]:
    return [line for job in jobs.running.values() for line in job.news()]


def test_the_last_progress_line_of_a_running_job_is_news_once(jobs: Jobs, log: Path) -> None:
    log.write_text(RUNS)  # of an older run
    start(jobs, log)
    texts = [RUNS, f"a warning\n{EARLIER}{RUNS.replace('140', '60')}", RUNS + DONE, RUNS + DONE + EARLIER]
    expected = [[], [RUNS.replace("140", "60").rstrip()], [RUNS.rstrip()], [EARLIER.rstrip()]]
    for text, lines in zip(texts, expected, strict=True):
        log.write_text(text)
        assert news(jobs) == lines
        assert news(jobs) == []


def test_a_log_of_any_bytes_and_size_is_read_at_its_end(jobs: Jobs, log: Path) -> None:
    start(jobs, log)
    log.write_bytes(b"\xff\x00" * 200_000 + b"\n" + RUNS.encode())
    assert news(jobs) == [RUNS.rstrip()]


def test_a_finished_job_is_neither_running_nor_failed_even_if_it_was_retried(jobs: Jobs, log: Path) -> None:
    for retried in (False, True):
        start(jobs, log)
        if retried:
            fail(jobs)
            start(jobs, log)
        log.write_text(RUNS)
        send(jobs, LogEvent.JOB_FINISHED, job_id=1)
        assert (jobs.running, jobs.failed, jobs.experiments) == ({}, {}, {"demo"})


def test_a_failed_job_is_listed_with_its_error_the_first_details_and_its_log(jobs: Jobs, log: Path) -> None:
    start(jobs, log)
    details = [f"  photo {i}: no such file" for i in range(5)]
    log.write_text("\n".join([RUNS + "error: data: 5 faults", *details, "last line"]))
    error = [f"    {line}" for line in ("error: data: 5 faults", *details[:3], "  and 2 more")]
    assert fail(jobs) == ["1 step failed:", "  demo explicit/s4k2, train_classifier", *error, f"    {log}"]
    log.write_text(f"{RUNS}error: photos/a.jpg: not a readable photo; remove it\nlast line\n")
    assert fail(jobs)[2:-1] == ["    error: photos/a.jpg: not a readable photo; remove it"]


@pytest.mark.parametrize(("text", "reason"), [
    ("Traceback\nValueError: odd\n\n", "last line of its log: ValueError: odd"),
    (RUNS, "00:27 left"),
    ("", "its log is empty"),
    (None, "its log is empty"),
])  # fmt: skip
def test_without_an_error_line_the_last_line_is_the_reason(jobs, log, text, reason) -> None:
    start(jobs, log)
    if text is not None:
        log.write_text(text)
    assert reason in fail(jobs)[2]


def test_records_of_an_unexpected_format_are_ignored(jobs: Jobs) -> None:
    send(jobs, LogEvent.JOB_INFO, jobid=1)
    send(jobs, LogEvent.JOB_INFO, jobid=1, rule_name="a", wildcards=None, log=None)
    send(jobs, LogEvent.JOB_ERROR, jobid=7)
    jobs.handle(logging.makeLogRecord({"msg": "Nothing to be done"}))
    assert (jobs.running, jobs.failed) == ({}, {})


@pytest.mark.parametrize(("interval", "quiet", "number", "printed"), [
    pytest.param("0.05", False, 1, f"  demo explicit/s4k2  {RUNS}", id="one"),
    pytest.param("0.3", False, 20, f"  demo explicit/s4k2  {RUNS}" * 8 + "  and 12 more\n", id="many"),
    pytest.param("0", False, 1, "", id="no interval"),
    pytest.param("0.05", True, 1, "", id="quiet"),
])  # fmt: skip
def test_progress_of_running_jobs_is_printed(jobs, tmp_path, capsys, monkeypatch, interval, quiet, number, printed):
    monkeypatch.setenv("PPL_PROGRESS", interval)
    jobs.start(quiet=quiet)
    for job in range(number):
        start(jobs, tmp_path / f"{job}.log", job)
        (tmp_path / f"{job}.log").write_text(RUNS)
    text, until = "", time.monotonic() + 1
    while not text and time.monotonic() < until:
        time.sleep(0.02)
        text += capsys.readouterr().err
    assert text == printed


def test_reports_end_with_the_workflow(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPL_PROGRESS", "600")
    before = set(threading.enumerate())
    jobs.start(quiet=False)
    (thread,) = set(threading.enumerate()) - before
    jobs.close()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert jobs not in logger.handlers


WARNING = "warning: hardware.gpu: 1 GPU requested, none visible: no driver; running on the CPU"


def test_a_warning_of_many_jobs_is_printed_once_per_run_also_with_quiet(jobs, tmp_path, capsys) -> None:
    for number in range(3):
        log = tmp_path / f"{number}.log"
        log.write_text("warning: of an older run\n")
        start(jobs, log, number)
        jobs.print_warnings(jobs.running.values())
        log.write_text(f"on cpu, 32-true\n{WARNING}\n{RUNS}")
        os.utime(log, ns=(1, 1))
    jobs.print_warnings(jobs.running.values())
    jobs.print_warnings(jobs.running.values())
    assert capsys.readouterr().err == f"{WARNING} (demo explicit/s4k2, train_classifier)\n"


@pytest.mark.parametrize(
    "event", [{"event": LogEvent.JOB_FINISHED, "job_id": 1}, {"event": LogEvent.JOB_ERROR, "jobid": 1}]
)
def test_a_warning_of_a_short_job_is_printed_at_its_end(jobs: Jobs, log: Path, capsys, event: dict) -> None:
    start(jobs, log)
    log.write_text(f"{WARNING}\n")
    send(jobs, **event)
    assert capsys.readouterr().err.startswith(WARNING)
