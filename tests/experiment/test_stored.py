"""settings.yaml: written from the flags of a rule, read back as it was."""

import shlex
from pathlib import Path

from ppl.data.settings import Data, Folder
from ppl.experiment.settings import Experiment
from ppl.experiment.stored import Settings, main, read, result_settings
from ppl.jobs.command import parse
from ppl.refine.settings import Refine
from ppl.segment.settings import DeepLabV2, Prediction, Segment
from ppl.workflow.parameters import flags

SECTIONS = ("data", "classify", "cam", "refine", "segment")


def test_settings_survive_the_way_through_a_command_line(tmp_path: Path) -> None:
    experiment = Experiment(
        main="explicit/s4k2",
        compare=(),
        data=Data(folder=Folder(path='it\'s <a> "folder" \u00fc')),
        refine=Refine(network="none"),
        segment=Segment(deeplab_v2=DeepLabV2(rates=(6, 12)), prediction=Prediction(crf=False)),
    )
    out = tmp_path / "settings.yaml"
    arguments = shlex.split(flags(experiment, "main", "compare", "random_seeds", *SECTIONS))
    main(parse(Settings, ["--out", str(out), *arguments]))
    assert result_settings(read(out)) == result_settings(experiment)
