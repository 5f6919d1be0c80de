"""Code of users' modules that a job depends on."""

import sys
from pathlib import Path

import pytest

from ppl.experiment.settings import Experiment
from ppl.jobs import code_hash
from ppl.segment.settings import Segment
from ppl.workflow.parameters import code

KEYS = ("ppl.segment.train", "segment.network", "segment.{network}")


def digest() -> str:
    for cached in (code_hash._tree, code_hash._digest, code_hash._imports):
        cached.cache_clear()
    return code(Experiment(segment=Segment(network="own/net", own={"parts": {"backbone": "own/layers"}})), *KEYS)


def test_the_code_of_a_backbone_that_own_settings_name_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("net", "layers", "helper"):
        (tmp_path / f"{name}.py").write_text("import helper\n")
    before = digest()
    for name in ("net", "layers", "helper"):
        (tmp_path / f"{name}.py").write_text("import helper  # a comment\n")
        assert digest() == before
        (tmp_path / f"{name}.py").write_text("import helper\n\nVALUE = 1\n")
        assert digest() != before, name
        (tmp_path / f"{name}.py").write_text("import helper\n")
