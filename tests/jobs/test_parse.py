"""The command line: its flags are the keys of the configuration."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ppl.cam.settings import Cam, Maps
from ppl.jobs.command import parse
from ppl.jobs.errors import UserError
from ppl.jobs.settings import Hardware


@dataclass(frozen=True)
class Settings:
    out: Path
    cam: Cam = Cam()
    hardware: Hardware = Hardware()


def test_without_flags_a_section_has_its_defaults() -> None:
    assert parse(Settings, ["--out", "a"]) == Settings(Path("a"))


def test_a_flag_is_the_key() -> None:
    line = "--out a --cam.maps.scales 1 0.5 --cam.maps.cam_exponent 0.5 --cam.method scorecam --hardware.gpu 0"
    cam = Cam(method="scorecam", maps=Maps(scales=(1, 0.5), cam_exponent=0.5))
    assert parse(Settings, line.split()) == Settings(Path("a"), cam, Hardware(gpu=0))


@pytest.mark.parametrize(("key", "value"), [
    ("cam.maps.batch_size", "0"), ("cam.maps.scales", "5"), ("cam.method", "gradcam"), ("cam.threshold", "nan"),
    ("hardware.gpu", "-1"),
])  # fmt: skip
def test_a_value_out_of_range_is_one_line_with_its_key(key: str, value: str) -> None:
    section, _, rest = key.partition(".")
    with pytest.raises(UserError, match=rf"^command line, --{section}: {rest}[^\n]*; --help lists all options$"):
        parse(Settings, ["--out", "a", f"--{key}", value])


def test_settings_of_an_own_module_are_json() -> None:
    line = ["--out", "a", "--cam.method", "own/json", "--cam.own", '{"size": 3, "names": ["x"]}']
    assert parse(Settings, line).cam.own == {"size": 3, "names": ["x"]}
