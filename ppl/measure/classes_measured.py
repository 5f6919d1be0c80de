"""Over which classes a mean is, read from the tables of measures with the standard library: the overview reads it too.

As PASCAL VOC does, a mean omits classes without ground truth; then it is no longer comparable to one over all classes,
so every place that shows it says how many there are. Over background alone there is no mean.
"""

import csv
from pathlib import Path

from ppl.jobs.errors import UserError

IOU_COLUMN = "iou_"  # of a sweep, before the name of the class
NO_MEAN = "no mIoU, as no class but background occurs in the masks"


def note_on_mean(path: Path) -> str:
    """Return over how many classes the mean of a sweep or a table of IoU is; empty if over all, or without the file.

    UserError if it is damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if "miou" in rows[0]:
            ious = {name.removeprefix(IOU_COLUMN): v for name, v in rows[0].items() if name.startswith(IOU_COLUMN)}
        else:
            ious = {row["class"]: row["iou"] for row in rows[:-1]}  # the last is the mean
    except FileNotFoundError:
        return ""
    except (IndexError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(path, f"not a table of IoU ({error})", "delete it and run again") from error
    absent = [name for name, value in ious.items() if not value]
    if not absent:
        return ""
    if all(not value for value in list(ious.values())[1:]):
        return NO_MEAN
    examples = ", ".join(absent[:3]) + ", ..." * (len(absent) > 3)
    return f"mIoU over {len(ious) - len(absent)} of {len(ious)} classes: no measured pixel is of {examples}"
