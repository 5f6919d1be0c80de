"""Photos and masks without a file: nothing is there, or a link to a file that is gone."""

import os.path
from pathlib import Path

from ppl.data.findings import Finding
from ppl.data.links import missing_target


def missing_file(path: Path, place: str, kind: str, *, copied: bool, remedy: str) -> Finding | None:
    """Return the finding for a photo or mask, as `kind` says, without a file; None if there is one.

    `remedy` is that of a file that is not there; links have their own. With `copied` each photo of the source is linked
    or copied by itself, so that the workflow has to run again.
    """
    if target := missing_target(path):
        what = f"the {kind} it links to ({target}) is not there"
        remedy = "moved or renamed? run ppl.data.new again, or put it back"
        if copied:
            remedy = "moved or renamed? put it back, or run ppl.data.new again, then the workflow"
        return Finding(place, what, remedy, f"{kind}s are links to files that are not there")
    return None if os.path.exists(path) else Finding(place, "no such file", remedy, f"{kind}s are missing")
