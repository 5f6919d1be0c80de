"""Functions for worker processes of bench.py, which cannot import the main module and start faster without torch."""

import numpy as np

from ppl.cam.store import Cam
from ppl.data.resize import upsample
from ppl.refine.reliable import Scores, reliable_labels
from ppl.refine.settings import Reliable


def label_reliably(task: tuple[np.ndarray, Cam]) -> np.ndarray:
    """Return the reliable labels (h, w) of a photo and its CAM."""
    photo, cam = task
    return reliable_labels([Scores(photo, upsample(cam.maps, cam.size), cam.classes)], Reliable())[0]
