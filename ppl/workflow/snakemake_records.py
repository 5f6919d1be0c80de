"""Snakemake's own records of outputs, and what follows from them for copied projects and for results without them."""

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ppl.jobs import provenance
from ppl.jobs.errors import UserError
from ppl.jobs.files import write_text
from ppl.jobs.slots import used
from ppl.workflow.config import Experiment

FOLDER = Path(".snakemake")
METADATA = FOLDER / "metadata"
PLACE = FOLDER / "ppl-place"
"""Holds device and inode of the folder: in a copy they differ."""
TIMESTAMP = ".snakemake_timestamp"  # holds the time of a folder that is an output
OUTPUTS = ("", "*/*/", "*/*/*/")  # folders of outputs, below that of an experiment
NOT_COMPARED = ("hardware.gpu", "hardware.workers", "hardware.compile", "keep_classifier")
"""Settings that decide no result, and one that a job has only as far as it concerns its variant."""
MAX_LISTED = 8
MAX_NAME = 254  # characters of a name in that folder; longer ones are divided


def record_of(output: str) -> dict[str, Any]:
    """Return Snakemake's record of an output; empty if there is none."""
    name = urlsafe_b64encode(output.encode()).decode()
    parts = [name[start : start + MAX_NAME] for start in range(0, len(name), MAX_NAME)]
    path = METADATA.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def params_of(output: str) -> set[str]:
    """Return the parameters of the job that wrote an output, as their `repr`; empty without a record."""
    return set(map(str, record_of(output).get("params") or ()))


def restore_times() -> int:
    """Give outputs in a copied project the times of their records again; return how many.

    A copy has the time of copying, in the order of names. Only outputs whose content is that of their provenance are
    changed.
    """
    place, restored = _place(), 0
    try:
        before = PLACE.read_text(encoding="utf-8")
    except (OSError, ValueError):
        before = place
    if place and before != place:
        restored = sum(_restore_time(Path(output)) for output in _outputs())
    return restored


def remember_place() -> None:
    """Record where the project is; nothing is recorded in a read-only folder."""
    with suppress(OSError, UserError):
        if (place := _place()) and not (PLACE.is_file() and PLACE.read_text(encoding="utf-8") == place):
            write_text(PLACE, place)


def refuse_changed_settings(experiment: Experiment) -> None:
    """Raise UserError if results of which Snakemake has no record were computed with other settings."""
    outputs, changes = [], {}
    for output, recorded in _without_metadata(Path(experiment.folder)):
        now = {**used(experiment.settings), "random_seed": experiment.random_seed}
        if differing := list(_differing(recorded, now)):
            outputs.append(str(output))
            changes |= dict(differing)
    if outputs:
        key, text = sorted(changes.items())[0]
        more = f" and {len(changes) - 1} more settings" if len(changes) > 1 else ""
        what = f"computed with {key} {text}{more}, and .snakemake, by which Snakemake notices it, was not copied"
        names = " ".join(outputs) if len(outputs) <= MAX_LISTED else experiment.folder
        raise UserError(experiment.folder, what, f"copy .snakemake too, or delete what to compute again: rm -r {names}")


def _place() -> str:
    """Return device and inode of Snakemake's folder; empty if there is none."""
    try:
        state = FOLDER.stat()
    except OSError:
        return ""
    return f"{state.st_dev} {state.st_ino}"


def _outputs() -> Iterator[str]:
    """Yield the outputs of which Snakemake has a record."""
    for folder, _, names in os.walk(METADATA):
        above = Path(folder).relative_to(METADATA).parts
        for name in names:
            with suppress(Error, ValueError):
                yield urlsafe_b64decode("".join([*(part[1:] for part in above), name])).decode()


def _restore_time(output: Path) -> bool:
    """Set the time of an output to that of its record; return whether its content is as recorded."""
    end, recorded = record_of(str(output)).get("endtime"), provenance.read(output)
    carrier = output / TIMESTAMP if (output / TIMESTAMP).is_file() else output
    if end is None or recorded is None or not output.exists() or carrier.lstat().st_mtime == end:
        return False
    if provenance.content(output).sha256 != recorded["sha256"]:
        return False
    with suppress(OSError):
        os.utime(carrier, (end, end), follow_symlinks=False)
        return True
    return False


def _without_metadata(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the outputs of an experiment of which Snakemake has no record, and the settings in their provenance."""
    for below in OUTPUTS:
        for path in folder.glob(f"{below}.*.provenance.json"):
            output = path.with_name(path.name[1:].removesuffix(".provenance.json"))
            if output.exists() and not record_of(str(output)):
                yield output, (provenance.read(output) or {}).get("settings", {})


def _differing(recorded: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of settings that differ, each with the values before and now."""
    for name, before in recorded.items():
        key = f"{above}{name}"
        if name not in now or key in NOT_COMPARED or name in NOT_COMPARED:
            continue
        value = now[name]
        if isinstance(before, dict) and isinstance(value, Mapping):
            yield from _differing(before, value, f"{key}.")
        elif json.dumps(before) != json.dumps(value):
            yield key, f"{before} (now {value})"
