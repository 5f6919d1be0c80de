"""The background threshold of a variant's seeds and where it comes from: threshold.json.

Separate from the rule that chooses it (`ppl.cam.separation`): steps that read a threshold do not depend on that code.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ppl.jobs.errors import UserError, reason
from ppl.jobs.fields import Section, Share, plain, read
from ppl.jobs.files import write_json

THRESHOLD = "threshold.json"
"""Name of the file in the folder of a variant."""
REMEDY = "delete it and run again"


@dataclass(frozen=True, kw_only=True)
class Threshold(Section):
    """A background threshold: `fixed` in the configuration, or `auto`, chosen without masks."""

    threshold: Share
    rule: Literal["fixed", "auto"]
    photos: int | None = None
    """With `auto`, the number of photos that were compared."""
    shallow: tuple[float, ...] = ()
    """With `auto`, of each photo the threshold at which seed and rest differ most in shallow features, if they do."""
    deep: tuple[float, ...] = ()
    """The same in deep features; the threshold is the higher of both means."""

    def __str__(self) -> str:
        if self.rule == "auto":
            return f"threshold {self.threshold:.2f}, chosen without masks"
        return f"fixed threshold {self.threshold:.2f}"


def write_threshold(path: Path, threshold: Threshold) -> None:
    """Write a threshold.json; of a fixed threshold it holds only `threshold` and `rule`."""
    write_json(path, {key: value for key, value in plain(threshold).items() if value not in (None, [])})


def read_threshold(path: Path) -> float:
    """Return the background threshold of a threshold.json; UserError as `read_whole`."""
    return read_whole(path).threshold


def read_whole(path: Path) -> Threshold:
    """Return a threshold.json with its origin; UserError if it cannot be read or holds no threshold."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(path, f"not a threshold ({reason(error)})", REMEDY) from error
    return read(Threshold, content, path, REMEDY)
