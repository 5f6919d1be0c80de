"""benchmarks/gpu.sh: parts within time limits, one failure loses no other, a second call continues the first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
STAND_IN = """#!/bin/sh
case "$*" in
  *gpu_report.py*) exec {python} "$@" ;;
  *--compile*) out=compiled-segment; kind=True ;;
  *rates.py*) out=rates; kind=False ;;
  *bench.py*) echo "no photos" >&2; exit 3 ;;
  *) echo "2 passed in 1.0s"; exit 0 ;;
esac
echo run >> {calls}
while [ $# -gt 0 ]; do if [ "$1" = --out ]; then file=$2; fi; shift; done
echo "step,on,images_per_second,tflops,share_of_peak,first_seconds,compiled" > "$file"
echo "train DeepLab,device,$(test $kind = True && echo 150 || echo 60),1,0.05,40,$kind" >> "$file"
echo "sweep,core,100,,,1,False" >> "$file"
"""


def gpu_sh(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script at toy sizes with a stand-in for `python`, results in `folder/gpu`."""
    python = folder / "python"
    python.write_text(STAND_IN.format(python=sys.executable, calls=folder / "calls"))
    python.chmod(0o755)
    command = ["sh", str(REPOSITORY / "benchmarks" / "gpu.sh"), "--toy", *options, str(folder / "gpu")]
    return subprocess.run(
        command,
        env=os.environ | {"PYTHON": str(python), "GPU_COMMIT": "abc"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_dry_run_lists_the_parts_and_writes_nothing(tmp_path: Path) -> None:
    done = gpu_sh(tmp_path, "--dry-run")
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["tests", "rates", "compiled-segment", "bench"]
    assert not (tmp_path / "gpu").exists()
    assert not (tmp_path / "calls").exists()


def test_the_limits_of_the_real_parts_are_less_than_nine_minutes() -> None:
    script = REPOSITORY / "benchmarks" / "gpu.sh"
    lines = subprocess.run(["sh", str(script), "--dry-run"], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert sum(int(line.split("at most ")[1].split(" s:")[0]) for line in lines if line) <= 530


def test_results_of_the_parts_are_one_report_and_one_failure_loses_no_other(tmp_path: Path) -> None:
    done = gpu_sh(tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text(), parse_constant=pytest.fail)
    assert {name: part["status"] for name, part in results["parts"].items()} == {
        "tests": 0, "compiled-segment": 0, "rates": 0, "bench": 3
    }  # fmt: skip
    assert results["parts"]["tests"]["last_line"] == "2 passed in 1.0s"
    assert results["parts"]["bench"]["last_line"] == "no photos"
    assert results["machine"]["commit"].startswith("abc")
    assert results["machine"]["torch"]
    (deeplab, sweep) = results["rates"]
    assert (deeplab["step"], deeplab["ratio"], deeplab["is_compiled"]) == ("train DeepLab", 2.5, True)
    assert (sweep["share_of_peak"], sweep["is_compiled"]) == (None, False)
    text = (tmp_path / "gpu.md").read_text()
    assert "| train DeepLab | 60 | 5 | 150 | 2.5 | 40 |" in text
    assert "| sweep | 100 | - | - | - | - |" in text


def test_a_second_call_runs_only_what_did_not_end(tmp_path: Path) -> None:
    gpu_sh(tmp_path)
    (tmp_path / "gpu" / "compiled-segment.seconds").write_text("130 124\n")  # its time was over
    gpu_sh(tmp_path)
    assert (tmp_path / "calls").read_text().splitlines() == ["run"] * 3
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["compiled-segment"]["status"] == 0


def test_results_of_another_commit_are_not_mixed(tmp_path: Path) -> None:
    gpu_sh(tmp_path)
    machine = tmp_path / "gpu" / "machine.json"
    machine.write_text(json.dumps(json.loads(machine.read_text()) | {"commit": "def"}))
    done = gpu_sh(tmp_path)
    assert done.returncode == 1
    assert "measured with commit def, now abc" in done.stderr
    assert (tmp_path / "calls").read_text().splitlines() == ["run"] * 2
