"""Checkpoints and weights of another kind, damaged, spoilt or with code inside: one line, and nothing is run."""

import dataclasses
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ppl.cam import export
from ppl.classify import train
from ppl.jobs.errors import UserError
from ppl.networks import backbones, checkpoints
from ppl.refine import walk_affinitynet, walk_irnet
from ppl.segment import predict_split

KINDS = ("classifier", "deeplab", "irnet", "affinitynet")


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def loading(steps: Any, kind: str) -> tuple[Callable, Any]:
    """The step that loads a checkpoint of a kind, with its settings."""
    return {
        "classifier": (export.main, steps.exporting),
        "deeplab": (predict_split.main, steps.predicting),
        "irnet": (walk_irnet.main, steps.walking["irnet"]),
        "affinitynet": (walk_affinitynet.main, steps.walking["affinitynet"]),
    }[kind]


def rewrite(path: Path, change: Callable[[dict], Any]) -> None:
    content = torch.load(path, weights_only=True)
    changed = change(content)
    torch.save(content if changed is None else changed, path)


def put(*keys_and_value: Any) -> Callable[[dict], None]:
    """Sets a nested key."""
    *sections, last, value = keys_and_value

    def change(content: dict) -> None:
        for section in sections:
            content = content[section]
        content[last] = value

    return change


def drop(*keys: str) -> Callable[[dict], None]:
    """Takes a nested key out."""
    *sections, last = keys

    def change(content: dict) -> None:
        for section in sections:
            content = content[section]
        del content[last]

    return change


def put_first(make: Callable[[torch.Tensor], Any]) -> Callable[[dict], None]:
    """Makes something else of the first weight."""

    def change(content: dict) -> None:
        name = next(iter(content["network"]))
        content["network"][name] = make(content["network"][name])

    return change


def spoil(value: float) -> Callable[[dict], None]:
    """Sets a number of the first weight."""
    return put_first(lambda weight: weight.index_fill(0, torch.tensor([0]), value))


CONTENTS: dict[str, Callable[[dict], Any]] = {
    "no kind": drop("kind"),
    "no settings": drop("settings"),
    "no classes": drop("classes"),
    "no network": drop("network"),
    "kind of a number": put("kind", 7),
    "settings of a list": put("settings", [1]),
    "empty settings": put("settings", {}),
    "settings of another network": put("settings", {"lr": 0.1}),
    "classes of a text": put("classes", "cat"),
    "classes of nothing": put("classes", None),
    "empty network": put("network", {}),
    "network of a list": put("network", []),
    "a tensor": lambda _: torch.zeros(3),
    "a list": lambda _: [1, 2],
    "a number": lambda _: 5,
    "nothing": lambda _: {},
    "a state dict": lambda content: content["network"],
    "NaN": spoil(float("nan")),
    "infinity": spoil(float("inf")),
    "negative infinity": spoil(float("-inf")),
    "a weight of text": put_first(lambda _: "text"),
    "a weight of numbers": put_first(lambda weight: weight.tolist()),
    "a turned weight": put_first(lambda weight: weight[None]),
    "a smaller weight": put_first(lambda weight: weight[:1]),
    "a sparse weight": put_first(lambda weight: weight.to_sparse()),
    "a weight less": lambda content: content["network"].popitem() and None,
    "a weight more": put("network", "more", torch.zeros(2)),
    "a weight without a name": put("network", 5, torch.zeros(2)),
}
ARCHITECTURES = {
    "classifier": {
        "no architecture": put("settings", {"method": "baseline", "grids": "plain"}),
        "a field more": put("settings", "architecture", "depth", 5),
        "a field of another type": put("settings", "architecture", "output_stride", "wide"),
        "another stride": put("settings", "architecture", "output_stride", 4),
        "another backbone": put("settings", "architecture", "backbone", "resnet18"),
        "an unknown backbone": put("settings", "architecture", "backbone", "resnet19"),
        "a backbone that cannot be": put("settings", "architecture", "backbone", ["resnet18"]),
        "another start of phi": put("settings", "architecture", "phi_init", "zeros"),
        "another method": put("settings", "method", "baseline"),
        "an unknown method": put("settings", "method", "magic"),
        "other grids": put("settings", "grids", "s4k2"),
        "impossible grids": put("settings", "grids", "s9k1"),
        "grids of a number": put("settings", "grids", 4),
        "architecture of a list": put("settings", "architecture", [1, 2]),
    },
    "deeplab": {
        "a field less": drop("settings", "architecture", "rates"),
        "no rates": put("settings", "architecture", "rates", []),
        "other rates": put("settings", "architecture", "rates", [1, 2, 3]),
        "rates of text": put("settings", "architecture", "rates", "12"),
        "no scales": put("settings", "architecture", "scales", []),
        "another backbone": put("settings", "architecture", "backbone", "resnet18"),
    },
    "irnet": {
        "no backbone": drop("settings", "backbone"),
        "another stride": put("settings", "output_stride", None),
        "another backbone": put("settings", "backbone", "resnet18"),
    },
    "affinitynet": {
        "no start": drop("settings", "trained_from"),
        "a start of text": put("settings", "trained_from", "deep"),
        "another backbone": put("settings", "backbone", "resnet18"),
    },
}
WRONG_ARCHITECTURES = [(kind, change) for kind, changes in ARCHITECTURES.items() for change in changes.values()]
NAMES = [f"{kind}, {name}" for kind, changes in ARCHITECTURES.items() for name in changes]
BYTES = {
    "empty": lambda content: b"",
    "text": lambda content: b"nothing of the kind",
    "start of a zip": lambda content: content[:100],
    "half": lambda content: content[: len(content) // 2],
    "short of a byte": lambda content: content[:-1],
    "zeros": lambda content: bytes(500),
    "a pickle": lambda content: pickle.dumps({"kind": "classifier"}),
}


@pytest.mark.parametrize("change", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("kind", ["classifier", "irnet"])
def test_another_content_is_one_line(steps, refused, kind, change):
    rewrite(steps.files[kind], change)
    text = refused(*loading(steps, kind), str(steps.files[kind]))
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(("kind", "change"), WRONG_ARCHITECTURES, ids=NAMES)
def test_other_settings_are_one_line(steps, refused, kind, change):
    rewrite(steps.files[kind], change)
    refused(*loading(steps, kind), str(steps.files[kind]), "make it again")


@pytest.mark.parametrize("change", BYTES.values(), ids=BYTES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_line(steps, refused, kind, change):
    path = steps.files[kind]
    path.write_bytes(change(path.read_bytes()))
    refused(*loading(steps, kind), str(path), "make it again")


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_another_kind_is_one_line(steps, refused, kind):
    other = KINDS[KINDS.index(kind) - 1]
    steps.files[kind].write_bytes(steps.files[other].read_bytes())
    refused(*loading(steps, kind), str(steps.files[kind]), repr(kind), repr(other))


@pytest.mark.parametrize("place", ["absent", "folder", "loop"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_one_line(steps, refused, kind, place):
    path = steps.files[kind]
    path.unlink()
    if place == "folder":
        path.mkdir()
    elif place == "loop":
        path.symlink_to(path)
    refused(*loading(steps, kind), str(path))


@pytest.mark.parametrize("classes", [["dog", "cat"], ["cat"], ["cat", "dog", "yak"], [1, 2], []], ids=str)
@pytest.mark.parametrize("kind", ["classifier", "deeplab"])
def test_other_classes_are_one_line(steps, refused, kind, classes):
    rewrite(steps.files[kind], put("classes", classes))
    refused(*loading(steps, kind), str(steps.files[kind]))


@pytest.mark.parametrize(
    "write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))], ids=["torch", "pickle"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_would_run_is_not_run(steps, refused, tmp_path, kind, write):
    marker = tmp_path / "owned"
    write(
        {"kind": kind, "settings": {}, "classes": ["cat", "dog"], "network": {"a": Payload(marker)}}, steps.files[kind]
    )
    text = refused(*loading(steps, kind), str(steps.files[kind]), "could run code")
    assert "weights_only" not in text  # no advice to run it all the same
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # it would have


@pytest.mark.parametrize("network", [nn.Linear(2, 2), nn.Sequential()], ids=["linear", "sequential"])
def test_a_whole_module_is_not_loaded(steps, refused, network):
    torch.save(network, steps.files["classifier"])
    refused(*loading(steps, "classifier"), str(steps.files["classifier"]))


START = (
    "no settings",
    "empty settings",
    "NaN",
    "empty network",
    "a tensor",
    "classes of a text",
    "a smaller weight",
)


@pytest.mark.parametrize("name", START)
def test_a_training_does_not_start_from_another_content(steps, refused, name):
    rewrite(steps.files["classifier"], CONTENTS[name])
    refused(train.main, steps.training, str(steps.files["classifier"]))


@pytest.mark.parametrize("change", [drop("classifier.weight"), put("classifier.weight", torch.zeros(5, 7, 1, 1))])
def test_a_training_does_not_start_from_another_classifier(steps, refused, change):
    rewrite(steps.files["classifier"], lambda content: change(content["network"]))
    refused(train.main, steps.training, str(steps.files["classifier"]), "make it again")


def test_a_training_does_not_take_over_the_classifier_of_other_classes(root, steps, refused):
    (root / "classes.txt").write_text("dog\ncat\n")
    refused(train.main, steps.training, str(steps.files["classifier"]), "other classes")
    afresh = dataclasses.replace(steps.training.training, keep_classifier=False)
    train.main(dataclasses.replace(steps.training, training=afresh))  # the backbone alone knows no classes


def weights_of(make: Callable[[dict], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.manual_seed(0)
        state = backbones.EfficientNetLite0().state_dict()
        changed = make(state)
        torch.save(state if changed is None else changed, path)

    return write


WEIGHTS = {
    "absent": lambda path: None,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path),
    "empty": Path.touch,
    "text": lambda path: path.write_text("weights"),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Payload(path.with_name("owned")))),
    "payload": weights_of(lambda state: {**state, "more": Payload(Path("owned"))}),
    "nested": weights_of(lambda state: {"state_dict": state}),
    "a checkpoint": weights_of(lambda state: {"kind": "classifier", "network": state}),
    "list": weights_of(lambda state: list(state.values())),
    "tensor": weights_of(lambda _: torch.zeros(3)),
    "none": weights_of(lambda _: {}),
    "numbers for names": weights_of(lambda state: dict(enumerate(state.values()))),
    "texts for weights": weights_of(lambda state: dict.fromkeys(state, "weight")),
    "a weight less": weights_of(lambda state: {k: v for k, v in state.items() if k != "_fc.bias"}),
    "turned": weights_of(lambda state: {k: v[None] for k, v in state.items()}),
    "NaN": weights_of(lambda state: state["_conv_stem.weight"].view(-1)[:1].fill_(float("nan")) and None),
    "infinity": weights_of(lambda state: state["_bn0.running_var"][:1].fill_(float("inf")) and None),
}


@pytest.mark.parametrize("write", WEIGHTS.values(), ids=WEIGHTS)
def test_other_weights_of_a_backbone_are_one_line(tmp_path, monkeypatch, one_line, write):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.pt"
    write(path)
    with pytest.raises(UserError) as error:
        backbones.build("efficientnet_lite0", weights=str(path))
    assert len(one_line(error.value, str(path)).splitlines()) == 1
    assert not (tmp_path / "owned").exists()


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\3\4", b"\x80\2", b"\x80\4"]))
@settings(max_examples=60)
def test_any_bytes_are_refused_in_a_line(tmp_path_factory, one_line, content, start):
    path = tmp_path_factory.getbasetemp() / "any.pt"
    path.write_bytes(start + content)
    with pytest.raises(UserError) as error:
        checkpoints.read_content(path, "classifier")
    one_line(error.value, str(path))
