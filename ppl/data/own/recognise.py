"""The choice of a format of labels or masks: by the name that the user gives, or the one that fits."""

from collections.abc import Mapping
from pathlib import Path

from ppl.jobs.errors import UserError
from ppl.jobs.slots import OWN, Entries, family

AUTO = "auto"
"""Value of `--label-format` and of `--mask-format`: the format is recognised."""


def several_fit(path: Path, readings: Mapping[str, str], option: str) -> UserError:
    """Return the error for a file or folder of several formats; `readings` describes them by the value of `option`."""
    ways = "two" if len(readings) == 2 else len(readings)
    what = f"can be read in {ways} ways: as {', or as '.join(readings.values())}"
    return UserError(path, what, f"choose by {option} {' or '.join(readings)}")


def refuse_unknown(name: str, entries: Entries, option: str) -> None:
    """Raise UserError for the value of `option` if it is neither `auto`, nor a format, nor a user's own module."""
    try:
        family({AUTO: None, **entries, OWN: None}, name)
    except UserError as error:
        raise UserError(option, error.what, error.remedy) from error
