"""Keep the classes of an image's labels in its label map: a CRF or a walk can remove all pixels of the weaker ones.

An image-level label states that its class is in the photo. Maps are normalised by class, so of two classes that occur
together the one with the wider map can be the strongest everywhere, and smoothing then removes what is left of the
other. Worker processes import this module, so it does not import torch.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ppl.data.masks import IGNORE

LOST_SHARE = 0.1
"""A class is lost if fewer pixels than this share of its seed have its label: a CRF that sharpens the boundary of a
small object may remove half of its seed, but hardly nine tenths."""
PEAK = 0.9
"""A class without a seed gets the pixels where its map exceeds this share of its maximum: its core alone, as the
pixels belong to a stronger class so far."""
IDS = 256


def keep_classes(
    labels: np.ndarray, seed: np.ndarray, maps: np.ndarray, classes: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Return `labels` with the pixels of lost classes: those of their seed, else those around the peak of their map.

    Classes that are left with less than LOST_SHARE of their seed, or with no pixel, are lost. Seeds return first, then
    peaks, which take at most half of the pixels of any other class and none of a class of one pixel. A class that loses
    too much by this is lost as well. Without a lost class the labels are returned as they are. A class stays lost if
    its map is zero, or positive only at pixels that cannot be taken.

    labels (h, w) uint8, 255 where undecided; seed (h, w) uint8, the label map before the CRF or the walk; maps
    (K, h, w) >= 0 of the image's classes (K,) in 1..254, whose order does not matter -> (h, w) uint8. Raises ValueError
    for inconsistent shapes.
    """
    ids = [int(c) for c in classes]
    if labels.shape != seed.shape or maps.shape != (len(ids), *labels.shape):
        raise ValueError(f"labels {labels.shape}, seed {seed.shape} and maps {maps.shape} of {len(ids)} classes")
    map_of = dict(sorted(zip(ids, maps, strict=True)))
    of_seed = _counts(seed)
    kept, lost = labels, set()
    while more := {c for c in map_of if _is_lost(_counts(kept)[c], of_seed[c])} - lost:
        lost |= more  # only grows, so this ends
        kept = _put_back(labels, seed, map_of, [c for c in map_of if c in lost])
    return kept


def _is_lost(pixels: int, of_seed: int) -> bool:
    return pixels == 0 or pixels < LOST_SHARE * of_seed


def _put_back(
    labels: np.ndarray, seed: np.ndarray, map_of: Mapping[int, np.ndarray], lost: Sequence[int]
) -> np.ndarray:
    """Return labels (h, w) with the seeds of lost classes, then with the peaks of those that have no seed."""
    kept = np.where(np.isin(seed, lost), seed, labels)
    seeded = _counts(seed)
    for c in lost:
        if not seeded[c] and map_of[c].max(initial=0) > 0:
            kept.flat[_peak(kept, map_of, c)] = c
    return kept


def _peak(labels: np.ndarray, map_of: Mapping[int, np.ndarray], c: int) -> np.ndarray:
    """Return flat indices of the pixels around the peak of a class that other classes can spare.

    If they can spare none, return the strongest pixel elsewhere that they can; empty if there is none.
    """
    scores, holders = map_of[c].ravel(), labels.ravel()
    spare = _counts(labels) // 2
    spare[[0, c, IGNORE]] = holders.size
    near = np.flatnonzero(scores >= PEAK * scores.max())
    taken = []
    for holder in np.unique(holders[near]):
        pixels = near[holders[near] == holder]
        # The holder keeps the pixels where its map has the largest lead.
        lead = scores[pixels] - map_of[holder].ravel()[pixels] if holder in map_of else scores[pixels]
        taken.append(pixels[np.argsort(-lead, kind="stable")[: spare[holder]]])
    pixels = np.concatenate(taken)
    if len(pixels):
        return pixels
    elsewhere = np.flatnonzero((scores > 0) & (spare[holders] > 0))
    return elsewhere[np.argsort(-scores[elsewhere], kind="stable")[:1]]


def _counts(labels: np.ndarray) -> np.ndarray:
    """Return the number of pixels of each id 0..255 of a label map, (256,) int64."""
    return np.bincount(labels.ravel(), minlength=IDS)
