"""What every rule has, which files it touches, and which names it refuses."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import tyro


def test_every_rule_says_what_it_does_and_what_it_takes(project):
    lacking = {
        rule.name: missing
        for rule in project.rules()
        if rule.name != "all"
        and (
            missing := [
                name
                for name, there in {
                    "docstring": rule.docstring,
                    "message": rule.message,
                    "log": len(rule.log),
                    "benchmark": rule.benchmark,
                    "params.code": "code" in dict(rule.params.items()),
                    "resources.mem_mb": "mem_mb" in rule.resources,
                    "resources.runtime": "runtime" in rule.resources,
                    "conda": rule.conda_env,
                    "shell": rule.shellcmd,
                }.items()
                if not there
            ]
        )
    }
    assert lacking == {}


def test_every_rule_says_how_many_threads_it_takes(project):
    text = "\n".join(path.read_text() for path in (project.root / "workflow" / "rules").glob("*.smk"))
    rules = dict(re.findall(r"^rule (\w+):\n((?:(?: .*)?\n)+)", text, flags=re.MULTILINE))
    inherited = re.findall(r"^use rule \w+ as (\w+) with:$", text, flags=re.MULTILINE)
    assert {rule.name for rule in project.rules()} == {*rules, *inherited, "all"}
    assert [name for name, body in rules.items() if "\n    threads: " not in body] == []


def test_snakemake_has_nothing_to_complain_about(project):
    done = project.command("--lint")
    assert done.returncode == 0, done.stdout


def test_a_shard_reads_the_cams_of_its_own_shard_only(project):
    sharded = 0
    for job in project.plan().needs:
        shards = {match[0] for path in job.writes if (match := re.search(r"\d+of\d+$", path))}
        cams = [path for path in job.reads if "/cams/" in path]
        if shards and cams:
            assert [re.search(r"(\d+of\d+)\.h5$", path)[1] for path in cams] == sorted(shards), job
            sharded += "1of2" in shards
    assert sharded


def test_a_job_touches_the_files_of_its_own_experiment_only(project):
    plan = project.plan()
    for job in plan.needs:
        own = (f"results/{job.experiment}/", f"results/{job.experiment}_test_preds")
        assert all(path.startswith(own) for path in job.writes), job
        assert all(path.startswith(own) for path in job.reads) or job.rule == "link_folder", job
    written = [path for job in plan.needs for path in job.writes]
    assert len(set(written)) == len(written)


def classifiers(plan) -> dict[str, set[str]]:
    """Variants that are trained, and those that each of them starts from."""
    return {
        job.variant: {needed.variant for needed in needs if needed.rule == "train_classifier"}
        for job, needs in plan.needs.items()
        if job.rule == "train_classifier"
    }


def test_chains_share_their_prefixes(project):
    variants = (
        "implicit/s2k2-s3k4-s4k6",
        "implicit/s2k2-s3k4-s4k2",
        "implicit/s2k2-s4k6",
        "explicit/s4k6",
        "local/s4k6",
    )
    plan = project.plan(targets=[f"results/drawn/{variant}/sweep.csv" for variant in variants])
    assert classifiers(plan) == {
        "implicit/s2k2": set(),
        "implicit/s2k2-s3k4": {"implicit/s2k2"},
        "implicit/s2k2-s3k4-s4k6": {"implicit/s2k2-s3k4"},
        "implicit/s2k2-s3k4-s4k2": {"implicit/s2k2-s3k4"},
        "implicit/s2k2-s4k6": {"implicit/s2k2"},
        "baseline/plain": set(),
        "explicit/s4k6": {"baseline/plain"},
        "local/s4k6": {"baseline/plain"},
    }
    trained = {job.variant for job in plan.rerun if job.rule == "train_classifier"}
    assert trained == set(variants)  # the shared steps are there already


def test_without_masks_nothing_is_measured(project):
    folder = project.root / "no masks"
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    plan = project.plan(
        {"experiments": {"own": {"data": {"path": str(folder)}}}},
        targets=["results/own_test_preds", "results/own/report.html"],
    )
    measuring = {"sweep_seeds", "measure_pseudo", "measure_predictions", "draw_curves", "measure_crf_seeds"}
    assert not measuring & {job.rule for job in plan.needs}


def test_tables_without_masks_are_refused(project):
    folder = project.root / "no masks"
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    change = project.root / "unmeasured.yaml"
    change.write_text(json.dumps({"experiments": {"own": {"data": {"path": str(folder)}}}}))
    done = project.command("--dry-run", "results/own/tables", "--configfile", str(change))
    assert done.returncode != 0
    assert "error: results/own/tables: there are no masks to measure with" in done.stdout
    assert "Traceback" not in done.stdout


def test_tables_that_nobody_named_are_refused(project):
    done = project.command("--dry-run", "results/own/tables")
    assert done.returncode != 0
    assert "results/own/tables: experiments.own names no tables" in done.stdout


def test_seeds_share_the_data_and_nothing_else(project):
    change = {"experiments": {"drawn": {"seeds": [0, 7]}}}
    plan = project.plan(change, targets=["results/drawn/tables"])
    repeated = {job for job in plan.needs if job.experiment == "drawn-seed7"}
    assert {"train_classifier", "export_cams", "sweep_seeds"} <= {job.rule for job in repeated}
    assert not {"compose_demo", "check_data"} & {job.rule for job in repeated}
    assert not {job for job in plan.rerun if job.experiment == "drawn"} - plan.select(
        lambda job: job.rule == "tabulate"
    )


def test_voc_is_downloaded_where_the_user_has_no_folder(project):
    def archives(**data) -> set[str]:
        change = {"experiments": {"published": {"data": {"source": "voc", **data}}}}
        plan = project.plan(change, targets=["results/published_test_preds"])
        return {job.outputs[0].rsplit("/", 1)[-1] for job in plan.rerun if job.rule == "download_archive"}

    published = {"VOCtrainval_11-May-2012.tar", "benchmark.tgz", "VOC2012test.tar"}
    assert archives() == published
    assert archives(test_split="val") == published - {"VOC2012test.tar"}  # behind a login: only where it is needed
    assert archives(path="/mine") == set()


def test_without_a_target_nothing_is_downloaded(project):
    change = {"experiments": {"published": {"data": {"source": "voc"}}}}
    plan = project.plan(change, targets=[])
    assert {job.experiment for job in plan.needs} == {"", "drawn", "own", "public"}
    assert {job.rule for job in plan.needs} >= {"all", "compose_demo", "link_folder", "prepare_coco"}


def test_commands_of_voc_are_those_that_their_steps_understand(project):
    (project.root / "voc.yaml").write_text("experiments: {published: {data: {source: voc}}}")
    wanted = ("--configfile", "voc.yaml", "--", "results/published/check.json")
    done = project.command("--dry-run", "--printshellcmds", *wanted)
    commands = re.findall(r"python -m (ppl\.data\.\w+) (.*) > ", done.stdout)
    assert sorted(step for step, _ in commands) == [
        *("ppl.data.check", *["ppl.data.sources.download"] * 3, "ppl.data.sources.unpack", "ppl.data.sources.voc")
    ]
    for step, arguments in commands:
        settings = importlib.import_module(step).Settings
        assert isinstance(tyro.cli(settings, args=shlex.split(arguments)), settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results/drawn/explicit/s9k1/sweep.csv"], "'s9k1' is no grid"),
        (["results/unknown_test_preds"], "experiment 'unknown_test_preds' is unknown; there are drawn, own, public"),
        (["--configfile", "impossible.yaml"], "experiments.drawn.cam.threshold: 2 is greater than the maximum of 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(project, arguments, message):
    (project.root / "impossible.yaml").write_text("experiments: {drawn: {cam: {threshold: 2}}}")
    done = project.command("--dry-run", *arguments)
    assert done.returncode != 0
    notices = ("Using workflow specific profile", "Config file")  # Snakemake's own
    lines = [line for line in done.stdout.splitlines() if not line.startswith(notices)]
    assert len(lines) == 1
    assert message in lines[0]


def executed(project) -> list[list[str]]:
    """Arguments of every command of the real run."""
    text = (project.root / "arguments").read_text()
    return [words.rstrip("\0").split("\0") for words in text.split("\n\0") if words]


def test_no_value_reaches_the_shell_as_code(project):
    assert not list(Path(project.root).rglob("injected"))
    commands = executed(project)
    (link,) = [words for words in commands if "ppl.data.sources.folder" in words]
    assert link[link.index("--path") + 1] == "the user's $(touch injected) photos; touch injected"
    weights = [w[w.index("--training.weights") + 1] for w in commands if "ppl.segment.train" in w]
    assert "weights $(touch injected) 'of' mine.pt" in weights
    (settings,) = [w for w in commands if "ppl.report.settings" in w and "results/own/settings.yaml" in w]
    assert json.loads(settings[settings.index("--json") + 1])["data"]["path"].endswith("touch injected")


def test_every_command_line_is_one_that_its_step_understands(project):
    commands = executed(project)
    steps = {words[1] for words in commands}
    assert all(words[0] == "-m" for words in commands)
    assert len(steps) >= 15
    for step in sorted(steps):
        settings = importlib.import_module(step).Settings
        for words in commands:
            if words[1] == step:
                assert isinstance(tyro.cli(settings, args=words[2:]), settings)
