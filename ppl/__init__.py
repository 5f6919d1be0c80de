"""Progressive Patch Learning: semantic segmentation from image-level labels (Li et al.).

`ppl.load` opens a trained network for scripts and notebooks; ppl/predict/api.py shows how.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppl.predict.api import load

__version__ = "0.1.0"
# Drives without locks (some NFS and SMB) fail HDF5's; each file has one writer and appears when complete.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import `load` on first access, as it imports torch and every step imports this module."""
    if name == "load":
        from ppl.predict.api import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "load"]
