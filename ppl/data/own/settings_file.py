"""The settings file of a new experiment: those for a GPU or for CPU cores, with epochs for the number of photos."""

import math
import re
import shutil
import subprocess
from importlib import resources
from textwrap import indent

ENOUGH = {"gpu": 10_000, "cpu": 1_000}
"""Photos for which the epochs of the settings files suffice."""
MAX_EPOCHS = 12  # more epochs did not improve results on a hundred photos (docs/own-data.md)


def settings_text(name: str, *, gpu: bool, photos: int, workers: int) -> str:
    """Return the settings file of one experiment on the dataset folder `name`, with epochs for that many photos.

    Without a GPU it contains all of config/small.yaml.
    """
    kind = "gpu" if gpu else "cpu"
    text = shipped_settings(kind)
    if not gpu:
        text += indent(shipped_settings("small").partition("\ndefaults:\n")[2], "  ")
    text = re.sub(r"(?<=\bepochs: )\d+", lambda least: str(epochs(int(least[0]), ENOUGH[kind], photos)), text)
    return re.sub(r"(?<=\bworkers: )\d+", str(workers), text).replace("NAME", name)


def shipped_settings(name: str) -> str:
    """Return the text of a settings file of this package."""
    return (resources.files("ppl.data.own") / "settings" / f"{name}.yaml").read_text(encoding="utf-8")


def epochs(least: int, enough: int, photos: int) -> int:
    """Return the epochs with as many iterations as `least` epochs of `enough` photos, from `least` to MAX_EPOCHS."""
    return min(MAX_EPOCHS, max(least, math.ceil(least * enough / max(1, photos))))


def has_gpu() -> bool:
    """Return whether NVIDIA's driver lists a GPU; importing torch would take seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and "GPU 0" in listing.stdout
