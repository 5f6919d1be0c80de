"""Faults and warnings of photos and their masks, as the modules of this package pass them on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ppl.data.findings import Finding


@dataclass(frozen=True)
class Findings:
    """Faults and warnings of some photos and their masks."""

    faults: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    mask_ids: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Ids in the readable masks, by image id."""
