"""Snakemake's own records of outputs: the parameters and the time with which a job has finished."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

METADATA = Path(".snakemake", "metadata")
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
