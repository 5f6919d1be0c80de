import logging
import threading
import time
from pathlib import Path

import pytest
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from ppl.workflow.job_progress import Jobs, why_failed

RUNS = "classifier: 140/224 steps (62%), 3.1 steps/s, loss 0.885, 00:45 passed, 00:27 left\n"
DONE = "classifier: 224/224 steps (100%), 3.1 steps/s, loss 0.3, done in 01:12\n"
WILDCARDS = {"experiment": "demo", "method": "explicit", "grids": "s4k2"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "classify.log"


@pytest.fixture
def jobs():
    jobs = Jobs()
    yield jobs
    jobs.close()


def tell(jobs: Jobs, event: LogEvent, **what) -> None:
    jobs.handle(logging.makeLogRecord({"event": event, **what}))


def start(jobs: Jobs, log: Path, number: int = 1, wildcards: dict[str, str] = WILDCARDS) -> None:
    tell(
        jobs, LogEvent.JOB_INFO, jobid=number, rule_name="train_classifier", wildcards=wildcards, log=[str(log)]
    )  # fmt: skip


def news(jobs: Jobs) -> list[str]:
    return [line for job in jobs.running.values() for line in job.news()]


def test_the_last_line_of_a_running_job_is_news_once(jobs: Jobs, log: Path) -> None:
    start(jobs, log)
    assert news(jobs) == []
    log.write_text("a warning\n" + RUNS.replace("140", "20") + RUNS + "another warning\n")
    assert news(jobs) == [RUNS.rstrip()]
    assert news(jobs) == []
    log.write_text(RUNS + DONE)
    assert news(jobs) == []
    log.write_text(RUNS + DONE + RUNS.replace("140", "20"))
    assert news(jobs) == [RUNS.replace("140", "20").rstrip()]


def test_the_log_of_an_older_run_is_no_news(jobs: Jobs, log: Path) -> None:
    log.write_text(RUNS)
    start(jobs, log)
    assert news(jobs) == []


def test_a_log_of_any_bytes_and_size_is_read_at_its_end(jobs: Jobs, log: Path) -> None:
    start(jobs, log)
    log.write_bytes(b"\xff\x00" * 200_000 + b"\n" + RUNS.encode())
    assert news(jobs) == [RUNS.rstrip()]


def test_a_finished_job_is_followed_no_more(jobs: Jobs, log: Path) -> None:
    start(jobs, log)
    log.write_text(RUNS)
    tell(jobs, LogEvent.JOB_FINISHED, job_id=1)
    assert not jobs.running
    assert not jobs.failed
    assert jobs.experiments == {"demo"}


def test_why_a_job_failed_and_where_to_look(jobs: Jobs, log: Path) -> None:
    start(jobs, log)
    log.write_text(f"{RUNS}error: photos/a.jpg: not a readable photo; take it out\nlast words\n")
    tell(jobs, LogEvent.JOB_ERROR, jobid=1)
    assert list(why_failed(jobs.failed.values())) == [
        "1 step failed:",
        "  demo explicit/s4k2, train_classifier",
        "    error: photos/a.jpg: not a readable photo; take it out",
        f"    {log}",
    ]


def test_of_what_an_error_lists_the_first_are_told(jobs: Jobs, log: Path) -> None:
    start(jobs, log)
    faults = [f"  photo {i}: is not there" for i in range(5)]
    log.write_text("\n".join(["error: data: 5 faults", *faults, "last words"]))
    tell(jobs, LogEvent.JOB_ERROR, jobid=1)
    told = list(why_failed(jobs.failed.values()))[2:-1]
    assert told == [f"    {line}" for line in ("error: data: 5 faults", *faults[:3], "  and 2 more")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Traceback\nValueError: odd\n\n", "its log ends with: ValueError: odd"),
        (RUNS, "00:27 left"),
        ("", "nothing in its log"),
        (None, "nothing in its log"),
    ],
)
def test_without_an_error_line_the_last_line_tells(jobs: Jobs, log: Path, text: str | None, why: str) -> None:
    start(jobs, log)
    if text is not None:
        log.write_text(text)
    tell(jobs, LogEvent.JOB_ERROR, jobid=1)
    assert why in list(why_failed(jobs.failed.values()))[2]


def test_what_is_tried_again_has_not_failed(jobs: Jobs, log: Path) -> None:
    start(jobs, log)
    tell(jobs, LogEvent.JOB_ERROR, jobid=1)
    start(jobs, log)
    tell(jobs, LogEvent.JOB_FINISHED, job_id=1)
    assert not jobs.failed


def test_events_of_another_form_are_left_out(jobs: Jobs) -> None:
    tell(jobs, LogEvent.JOB_INFO, jobid=1)
    tell(jobs, LogEvent.JOB_INFO, jobid=1, rule_name="a", wildcards=None, log=None)
    tell(jobs, LogEvent.JOB_ERROR, jobid=7)
    jobs.handle(logging.makeLogRecord({"msg": "Nothing to be done"}))
    assert not jobs.running
    assert not jobs.failed


def followed(jobs: Jobs, logs: list[Path], capsys, *, quiet: bool = False) -> str:
    """What is printed of jobs that all write a line, within a second."""
    jobs.follow(quiet=quiet)
    for number, log in enumerate(logs):
        start(jobs, log, number)
        log.write_text(RUNS)
    printed, until = "", time.monotonic() + 1
    while not printed and time.monotonic() < until:
        time.sleep(0.02)
        printed += capsys.readouterr().err
    return printed


def test_running_jobs_are_told_of(jobs: Jobs, log: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPL_PROGRESS", "0.05")
    assert followed(jobs, [log], capsys) == f"  demo explicit/s4k2  {RUNS}"


def test_it_ends_with_the_workflow(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPL_PROGRESS", "600")
    before = set(threading.enumerate())
    jobs.follow(quiet=False)
    (teller,) = set(threading.enumerate()) - before
    jobs.close()
    teller.join(timeout=10)
    assert not teller.is_alive()
    assert jobs not in logger.handlers


def test_of_many_jobs_a_few_are_shown(jobs: Jobs, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPL_PROGRESS", "0.3")
    lines = followed(jobs, [tmp_path / f"{i}.log" for i in range(20)], capsys).splitlines()
    assert len(lines) == 9
    assert lines[-1] == "  and 12 more"


@pytest.mark.parametrize(("interval", "quiet"), [("0", False), ("0.05", True)])
def test_who_wants_no_progress_gets_none(
    jobs: Jobs, log: Path, capsys, monkeypatch: pytest.MonkeyPatch, interval: str, quiet: bool
) -> None:
    monkeypatch.setenv("PPL_PROGRESS", interval)
    assert followed(jobs, [log], capsys, quiet=quiet) == ""
