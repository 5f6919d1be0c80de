"""Write the resolved settings of an experiment beside its results."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.files import write_text


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
        raise UserError("--json", f"not valid JSON ({error})", "pass the settings as one quoted argument") from error
    write_text(settings.out, yaml.safe_dump(resolved, allow_unicode=True))


if __name__ == "__main__":
    command(main, Settings)
