"""Write the settings of an experiment that its results depend on beside them: settings.yaml; and read them, typed."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ppl.cam.settings import Cam
from ppl.classify.settings import Classify
from ppl.data.settings import Data
from ppl.experiment.settings import Experiment
from ppl.jobs.command import command
from ppl.jobs.errors import UserError, reason
from ppl.jobs.fields import read as read_section
from ppl.jobs.files import write_text
from ppl.jobs.settings import ExperimentHardware
from ppl.jobs.slots import used
from ppl.refine.settings import Refine
from ppl.segment.settings import Segment

SETTINGS = "settings.yaml"
REMEDY = "name the settings.yaml of an experiment's results"
UNUSED = {"tables", "figures"}
"""Settings on which none of an experiment's own results depends."""
UNUSED_HARDWARE = {"gpu", "workers", "compile", "require_gpu"}


@dataclass(frozen=True)
class Settings:
    out: Path
    main: str
    random_seeds: tuple[int, ...]
    """The one of this experiment, or of this repetition."""
    compare: tuple[str, ...] = ()
    data: Data = Data()
    hardware: ExperimentHardware = ExperimentHardware()
    classify: Classify = Classify()
    cam: Cam = Cam()
    refine: Refine = Refine()
    segment: Segment = Segment()


def main(settings: Settings) -> None:
    sections = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name != "out"}
    values = result_settings(Experiment(**sections))
    write_text(settings.out, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def result_settings(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that results depend on, as nested plain values.

    Omitted are those of tables and devices, and those of entries that no slot names.
    """
    values = {key: value for key, value in used(experiment).items() if key not in UNUSED}
    hardware = {key: value for key, value in values["hardware"].items() if key not in UNUSED_HARDWARE}
    return {**values, "hardware": hardware}


def read(path: Path) -> Experiment:
    """Return the settings of a settings.yaml; UserError for a file that cannot be read or holds no settings."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(path, f"{error.strerror}", REMEDY) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(path, f"not the settings of an experiment ({reason(error)})", REMEDY) from error
    if not isinstance(content, dict) or not content:
        raise UserError(path, "not the settings of an experiment (no keys)", REMEDY)
    return read_section(Experiment, content, path, REMEDY)


if __name__ == "__main__":
    command(main, Settings)
