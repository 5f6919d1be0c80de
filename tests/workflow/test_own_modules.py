"""Code of users' modules that a job depends on."""

import sys
from pathlib import Path

import pytest

from ppl.experiment.settings import Experiment
from ppl.jobs import code_hash
from ppl.segment.settings import Segment
from ppl.workflow.parameters import code

NET = """\
from dataclasses import dataclass

import helper
from ppl.jobs.fields import Section
from ppl.networks.settings import BackboneName


@dataclass(frozen=True, kw_only=True)
class Parts(Section):
    backbone: BackboneName = "own/layers"


@dataclass(frozen=True, kw_only=True)
class Settings(Section):
    parts: Parts = Parts()
"""
KEYS = ("ppl.segment.train", "segment.network", "segment.{network}")


def digest() -> str:
    for cached in (code_hash._tree, code_hash._digest, code_hash._imports):
        cached.cache_clear()
    return code(Experiment(segment=Segment(network="own/net", own={"parts": {}})), *KEYS)


def test_the_code_of_a_backbone_that_own_settings_name_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    files = {"net": NET, "layers": "", "helper": ""}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = digest()
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(f"{text}# a comment\n")
        assert digest() == before
        (tmp_path / f"{name}.py").write_text(f"{text}VALUE = 1\n")
        assert digest() != before, name
        (tmp_path / f"{name}.py").write_text(text)
