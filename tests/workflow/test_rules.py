"""Parts of every rule, the files it touches, and names that are refused."""

import importlib
import json
import re
import shlex
from operator import attrgetter
from pathlib import Path

import pytest

from ppl.jobs.command import parse
from ppl.jobs.fields import Section, plain
from ppl.workflow.config import resolve


def test_every_rule_has_all_its_parts(project):
    text = "\n".join(path.read_text() for path in (project.root / "workflow" / "rules").glob("*.smk"))
    bodies = dict(re.findall(r"^rule (\w+):\n((?:(?: .*)?\n)+)", text, flags=re.MULTILINE))
    parents = dict(re.findall(r"^use rule (\w+) as (\w+) with:$", text, flags=re.MULTILINE))
    bodies |= {name: bodies[parent] for parent, name in parents.items()}
    rules = {rule.name: rule for rule in project.rules() if rule.name != "all"}
    assert rules.keys() == bodies.keys()
    missing = {}
    for name, rule in rules.items():
        parts = {
            "docstring": rule.docstring,
            "message": rule.message,
            "log": len(rule.log),
            "benchmark": rule.benchmark,
            "params.code": "code" in dict(rule.params.items()),
            "threads": "\n    threads: " in bodies[name],
            "resources.mem_mb": "mem_mb" in rule.resources,
            "resources.runtime": "runtime" in rule.resources,
            "conda": rule.conda_env,
            "shell": rule.shellcmd,
        }
        if absent := [part for part, is_there in parts.items() if not is_there]:
            missing[name] = absent
    assert missing == {}


def test_memory_grows_on_retry(project):
    """A job that a cluster has killed for its memory gets more at the next attempt."""
    text = "\n".join(path.read_text() for path in sorted((project.root / "workflow" / "rules").glob("*.smk")))
    requests = re.findall(r"mem_mb=(.*),\n", text)
    assert requests
    assert [
        r for r in requests if not re.fullmatch(r"growing\(\d+\)|lambda wildcards, attempt: attempt \* .*", r)
    ] == []


def test_the_code_of_a_job_is_that_of_the_module_it_runs(project):
    text = "\n".join(path.read_text() for path in (project.root / "workflow" / "rules").glob("*.smk"))
    bodies = re.findall(r"^(?:use )?rule (\w+)\b.*:\n((?:(?: .*)?\n)+)", text, flags=re.MULTILINE)
    assert len(bodies) > 20
    for name, body in bodies:
        digests = re.findall(r'code=(?:if_auto\()?code(?:_hash)?\(\s*"(ppl[\w.]+)"', body)
        runs = re.findall(r"python -m (ppl[\w.]+)", body) or digests  # `use rule` has the command of its parent
        assert digests == runs, name


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
        assert all(path.startswith(own) for path in job.reads) or job.rule == "prepare_data", job
    written = [path for job in plan.needs for path in job.writes]
    assert len(set(written)) == len(written)


MAIN, PLAIN = "implicit/s2k2-s3k4", "baseline/plain"  # of the experiment `drawn`


@pytest.mark.parametrize(("refine", "reading"), [
    ({}, set()),
    ({"reliable": {"scores": "margins"}}, {"label_reliable"}),
    ({"irnet": {"walk": {"background": "seed"}}}, {"walk"}),
])  # fmt: skip
def test_labels_relative_to_the_threshold_of_the_seeds_read_that_of_their_variant(project, refine, reading):
    plan = project.plan({"experiments": {"drawn": {"refine": refine}}}, targets=[f"results/drawn/{MAIN}/segmenter.pt"])
    threshold = f"results/drawn/{MAIN}/threshold.json"
    assert {job.rule for job in plan.needs if threshold in job.reads} == reading
    assert not {job for job in plan.needs for path in job.reads if "threshold" in path and path != threshold}


@pytest.mark.parametrize("other", [f"drawn/{PLAIN}", f"drawn-seed7/{MAIN}"])
def test_a_network_learns_from_the_labels_on_which_variants_agree(project, other):
    name = other.removeprefix("drawn/")
    settings = {"refine": {"labels": {"agree": [name, MAIN]}}, "random_seeds": [0, 7]}
    targets = [f"results/drawn/{MAIN}/{file}" for file in ("segmenter.pt", "pseudo.csv")]
    plan = project.plan({"experiments": {"drawn": settings}}, targets=[*targets, "results/drawn/report.html"])
    shards = ("1of2", "2of2")
    agreed = [f"results/drawn/{MAIN}/agreed/{shard}" for shard in shards]
    learning = plan.select(lambda job: job.rule in ("train_segmenter", "measure_pseudo") and job.experiment == "drawn")
    assert learning
    for job in learning:
        assert [path for path in job.reads if "/pseudo/" in path or "/agreed/" in path] == agreed
    (page,) = plan.select(lambda job: job.rule == "write_report")
    assert set(agreed) <= set(page.reads)
    agreeing = plan.select(lambda job: job.rule == "agree_labels" and job.experiment == "drawn")
    assert {job.outputs for job in agreeing} == {(folder,) for folder in agreed}
    for job in agreeing:
        shard = job.outputs[0].rsplit("/", 1)[-1]
        read = {path for path in job.reads if "/pseudo/" in path}
        assert read == {f"results/{variant}/pseudo/{shard}" for variant in (f"drawn/{MAIN}", other)}


def test_chains_share_their_prefixes(project):
    chains = ("implicit/s2k2-s3k4-s4k6", "implicit/s2k2-s3k4-s4k2", "implicit/s2k2-s4k6")
    variants = (*chains, "explicit/s4k6", "local/s4k6")
    plan = project.plan(targets=[f"results/drawn/{variant}/sweep.csv" for variant in variants])
    trained = plan.select(lambda job: job.rule == "train_classifier")
    starts = {job.variant: {needed.variant for needed in plan.needs[job] & trained} for job in trained}
    assert starts == {
        "implicit/s2k2": set(),
        "implicit/s2k2-s3k4": {"implicit/s2k2"},
        "implicit/s2k2-s3k4-s4k6": {"implicit/s2k2-s3k4"},
        "implicit/s2k2-s3k4-s4k2": {"implicit/s2k2-s3k4"},
        "implicit/s2k2-s4k6": {"implicit/s2k2"},
        "baseline/plain": set(),
        "explicit/s4k6": {"baseline/plain"},
        "local/s4k6": {"baseline/plain"},
    }
    assert {job.variant for job in plan.rerun & trained} == set(variants)  # the shared steps are there already


def without_masks(project) -> dict:
    """A change of the configuration by which the data of one experiment have no masks."""
    folder = project.root / "no masks"
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    return {"experiments": {"own": {"data": {"folder": {"path": str(folder)}}}}}


def test_without_masks_nothing_is_measured(project):
    plan = project.plan(without_masks(project), targets=["results/own_test_preds", "results/own/report.html"])
    measuring = {
        "sweep_seeds",
        "measure_pseudo",
        "measure_predictions",
        "draw_curves",
        "measure_crf_seeds",
        "best_crf_seeds",
    }
    assert not measuring & {job.rule for job in plan.needs}


def test_seeds_share_the_data_and_nothing_else(project):
    change = {"experiments": {"drawn": {"random_seeds": [0, 7]}}}
    plan = project.plan(change, targets=["results/drawn/tables"])
    repeated = {job for job in plan.needs if job.experiment == "drawn-seed7"}
    assert {"train_classifier", "export_cams", "sweep_seeds"} <= {job.rule for job in repeated}
    assert not {"prepare_data", "check_data"} & {job.rule for job in repeated}
    assert {job.rule for job in plan.rerun if job.experiment == "drawn"} <= {"tabulate"}


def test_voc_is_downloaded_where_the_user_has_no_folder(project):
    def archives(path: str | None = None, **data) -> set[str]:
        change = {"experiments": {"published": {"data": {"source": "voc", "voc": {"path": path}, **data}}}}
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
    assert {job.rule for job in plan.needs} >= {"all", "prepare_data"}


@pytest.mark.parametrize(("change", "target", "message"), [
    ({}, "results/drawn/explicit/s9k1/sweep.csv", "'s9k1' is not a grid"),
    ({}, "results/unknown_test_preds", "unknown experiment 'unknown'; choose one of drawn, own, public"),
    ({}, "results/own/tables", "results/own/tables: experiments.own has no tables"),
    (without_masks, "results/own/tables", "results/own/tables: the dataset has no masks to measure with"),
    ({"experiments": {"drawn": {"cam": {"threshold": 2}}}}, "results/drawn/report.html",
     "experiments.drawn.cam.threshold: 2 should be less than or equal to 1"),
])  # fmt: skip
def test_a_wrong_target_or_setting_is_refused_in_one_line(project, change, target, message):
    file = project.root / "change.yaml"
    file.write_text(json.dumps(change(project) if callable(change) else change))
    done = project.command("--dry-run", target, "--configfile", str(file))
    assert done.returncode != 0
    notices = ("Using workflow specific profile", "Config file")  # Snakemake's own
    (line,) = [line for line in done.stdout.splitlines() if not line.startswith(notices)]
    assert line.startswith("error: ")
    assert message in line


def executed(project) -> list[list[str]]:
    """Return the arguments of every command of the real run."""
    text = (project.root / "arguments").read_text()
    return [words.rstrip("\0").split("\0") for words in text.split("\n\0") if words]


def planned(project) -> list[list[str]]:
    """Return the arguments of the commands that would prepare VOC."""
    (project.root / "voc.yaml").write_text("experiments: {published: {data: {source: voc}}}")
    target = ("--configfile", "voc.yaml", "--", "results/published/check.json")
    done = project.command("--dry-run", "--printshellcmds", *target)
    return [shlex.split(f"-m {command}") for command in re.findall(r"python -m (ppl\..*) > ", done.stdout)]


def test_no_value_reaches_the_shell_as_code(project):
    assert not list(Path(project.root).rglob("injected"))
    commands = executed(project)
    (link,) = [words for words in commands if "ppl.data.prepare" in words and "folder" in words]
    assert link[link.index("--data.folder.path") + 1] == "the user's $(touch injected) photos; touch injected"
    weights = [w[w.index("--segment.training.weights") + 1] for w in commands if "ppl.segment.train" in w]
    assert "weights $(touch injected) 'of' mine.pt" in weights
    (stored,) = [w for w in commands if "ppl.experiment.stored" in w and "results/own/settings.yaml" in w]
    assert stored[stored.index("--data.folder.path") + 1].endswith("touch injected")


def partial(project) -> list[list[str]]:
    """Return the arguments of the commands that would write partial pseudo labels, by CRF and by walk."""
    labels = {"labels": {"margins": {"foreground": 0.1, "background": 0.1}, "agree": [PLAIN]}, "keep_classes": True}
    walked = {"reliable": {"scores": "margins"}, "irnet": {"walk": {"background": "seed"}}}
    change = {"drawn": {"refine": labels | {"network": "none"}}, "own": {"refine": labels | walked}}
    (project.root / "partial.yaml").write_text(json.dumps({"experiments": change}))
    targets = [f"results/drawn/{MAIN}/pseudo.csv", "results/own/explicit/s4k2/pseudo.csv"]
    done = project.command("--dry-run", "--printshellcmds", "--configfile", "partial.yaml", "--", *targets)
    return [shlex.split(f"-m {command}") for command in re.findall(r"python -m (ppl\..*) > ", done.stdout)]


@pytest.mark.parametrize(("commands", "count"), [(executed, 15), (planned, 4), (partial, 5)])
def test_every_command_line_is_valid_for_its_step(project, commands, count):
    lines = commands(project)
    assert len({words[1] for words in lines}) >= count
    for words in lines:
        assert words[0] == "-m"
        settings = importlib.import_module(words[1]).Settings
        assert isinstance(parse(settings, words[2:]), settings)


def test_a_step_gets_the_settings_of_its_experiment(project):
    """Every section that a command names holds the experiment's values: no rule leaves one out."""
    experiments = resolve({"experiments": project.experiments})
    checked = 0
    for words in executed(project):
        settings = parse(importlib.import_module(words[1]).Settings, words[2:])
        (name,) = {match[1] for word in words if (match := re.match(r"results/(drawn|own|public)\b", word))}
        resolved = experiments[name].settings
        for section in ("cam", "refine", "segment", "data"):
            if not isinstance(getattr(settings, section, None), Section):
                continue
            flags = [word[2:] for word in words if word.startswith(f"--{section}.")]
            for key in flags:
                assert plain(attrgetter(key)(settings)) == plain(attrgetter(key)(resolved)), (words[1], key)
                checked += 1
    assert checked > 200
