"""Writes the resolved settings of an experiment, as they reached its steps."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from ppl.command import command
from ppl.files import UserError, write_text


@dataclass(frozen=True)
class Settings:
    json: str
    """The settings, a JSON object."""
    out: Path
    """YAML, keys sorted."""


def main(settings: Settings) -> None:
    try:
        resolved = json.loads(settings.json)
    except json.JSONDecodeError as error:
        raise UserError(f"--json: not valid JSON ({error}); pass the settings as one quoted argument") from None
    write_text(settings.out, yaml.safe_dump(resolved, allow_unicode=True))


if __name__ == "__main__":
    command(main, Settings)
