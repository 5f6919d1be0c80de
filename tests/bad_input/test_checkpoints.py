"""Readers of checkpoints and weights: other content, damaged files and files with code are refused in one line."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import ppl
from ppl.cam import export
from ppl.classify import train
from ppl.networks import backbones, checkpoints
from ppl.networks.efficientnet_lite0 import EfficientNetLite0
from ppl.refine import walk_split
from ppl.segment import predict_split

KINDS = {"classifier": "classifier", "segmenter": "segmenter", "irnet": "refiner", "affinitynet": "refiner"}
"""Kinds of checkpoints by network."""
NETWORKS = [*KINDS]
AGAIN = "make it again"


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def reader(steps: Any, network: str) -> tuple[Callable, Any]:
    """The step that reads the checkpoint of a network, and its settings."""
    if network in steps.walking:
        return walk_split.main, steps.walking[network]
    others = {"classifier": (export.main, steps.exporting), "segmenter": (predict_split.main, steps.predicting)}
    return others[network]


def content(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    """A change of the stored content, in place or by a returned one."""

    def apply(path: Path) -> None:
        stored = torch.load(path, weights_only=True)
        changed = change(stored)
        torch.save(stored if changed is None else changed, path)

    return apply


def put(*keys: Any) -> Callable[[Path], None]:
    """Sets the value at the end of a path of keys."""
    *sections, last, value = keys
    return content(lambda stored: reduce(getitem, sections, stored).update({last: value}))


def drop(*keys: str) -> Callable[[Path], None]:
    *sections, last = keys
    return content(lambda stored: reduce(getitem, sections, stored).__delitem__(last))


def first_weight(make: Callable[[torch.Tensor], Any]) -> Callable[[Path], None]:
    def change(stored: dict) -> None:
        name, weight = next(iter(stored["network"].items()))
        stored["network"][name] = make(weight)

    return content(change)


def raw(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


CONTENTS = {
    **{f"without {key}": drop(key) for key in ("kind", "settings", "classes", "network")},
    "kind is a number": put("kind", 7), "settings are a list": put("settings", [1]),
    "settings are empty": put("settings", {}),
    "settings of another network": put("settings", {"lr": 0.1}), "classes are a text": put("classes", "cat"),
    "classes are None": put("classes", None), "network is empty": put("network", {}),
    "network is a list": put("network", []),
    "a tensor": content(lambda _: torch.zeros(3)), "a list": content(lambda _: [1, 2]),
    "a number": content(lambda _: 5),
    "an empty dict": content(lambda _: {}), "a state dict": content(lambda stored: stored["network"]),
    **{name: first_weight(lambda weight, value=float(name): weight.index_fill(0, torch.tensor([0]), value))
       for name in ("nan", "inf", "-inf")},
    "weight is a text": first_weight(lambda _: "text"), "weight is a list": first_weight(torch.Tensor.tolist),
    "weight has an axis more": first_weight(lambda weight: weight[None]),
    "weight is smaller": first_weight(lambda weight: weight[:1]),
    "weight is sparse": first_weight(torch.Tensor.to_sparse),
    "a weight less": content(lambda stored: stored["network"].popitem() and None),
    "a weight more": put("network", "more", torch.zeros(2)), "name is a number": put("network", 5, torch.zeros(2)),
    **{f"classes {c}": put("classes", c) for c in (["dog", "cat"], ["cat"], ["cat", "dog", "yak"], [1, 2], [])},
    "a whole module": lambda path: torch.save(nn.Linear(2, 2), path),
}  # fmt: skip
BYTES = {
    "empty": raw(lambda _: b""), "text": raw(lambda _: b"nothing of the kind"),
    "start": raw(lambda stored: stored[:100]),
    "half": raw(lambda stored: stored[: len(stored) // 2]), "one byte short": raw(lambda stored: stored[:-1]),
    "zeros": raw(lambda _: bytes(500)), "a pickle": raw(lambda _: pickle.dumps({"kind": "classifier"})),
}  # fmt: skip
OTHER_CLASSES = put("classes", ["cat"])
ARCHITECTURES = {
    "classifier": [
        put("settings", {"method": "baseline", "grids": "plain"}), put("settings", "architecture", [1, 2]),
        *(put("settings", "architecture", key, value) for key, value in (
            ("depth", 5), ("output_stride", "wide"), ("output_stride", 4), ("backbone", "resnet18"),
            ("backbone", "resnet19"), ("backbone", ["resnet18"]), ("phi_init", "zeros"))),
        *(put("settings", "method", value) for value in ("baseline", "magic")),
        *(put("settings", "grids", value) for value in ("s4k2", "s9k1", 4)),
    ],
    "segmenter": [
        *(drop("settings", key) for key in ("network", "settings")), drop("settings", "settings", "rates"),
        *(put("settings", "network", value) for value in ("smp/FPN", "magic", None)),
        *(put("settings", "settings", "rates", value) for value in ([], [1, 2, 3], "12")),
        put("settings", "settings", "scales", []), put("settings", "settings", "backbone", "resnet18"), OTHER_CLASSES,
    ],
    **{refiner: [
        *(drop("settings", key) for key in ("network", "settings")),
        *(put("settings", "network", value) for value in ("none", "magic", 4)),
        put("settings", "settings", [1]), put("settings", "settings", "training", key, value),
        put("settings", "settings", "training", "backbone", "resnet18"),
    ] for refiner, key, value in (("irnet", "output_stride", None), ("affinitynet", "frozen_stages", "deep"))},
}  # fmt: skip


@pytest.mark.parametrize("change", [*CONTENTS.values(), *BYTES.values()], ids=[*CONTENTS, *BYTES])
def test_a_broken_checkpoint_is_refused(steps, refused, change):
    change(steps.files["classifier"])
    refused(*reader(steps, "classifier"), str(steps.files["classifier"]), lines=1)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("broken", ["half", "nan", "absent", "folder", "loop"])
def test_every_step_refuses_broken_checkpoints(steps, refused, spoil, kind, broken):
    change = (CONTENTS | BYTES).get(broken) or partial(spoil, kind=broken)
    change(steps.files[kind])
    refused(*reader(steps, kind), str(steps.files[kind]))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_step_refuses_the_checkpoint_of_another_step(steps, refused, network):
    path, other = steps.files[network], NETWORKS[NETWORKS.index(network) - 1]
    path.write_bytes(steps.files[other].read_bytes())
    kinds = (KINDS[network], KINDS[other])
    differing = kinds if len({*kinds}) > 1 else (network, other)
    refused(*reader(steps, network), str(path), *map(repr, differing))


@pytest.mark.parametrize(("kind", "change"), [(kind, c) for kind, changes in ARCHITECTURES.items() for c in changes])
def test_settings_of_another_network_or_classes_are_refused(steps, refused, kind, change):
    change(steps.files[kind])
    refused(*reader(steps, kind), str(steps.files[kind]), "" if change is OTHER_CLASSES else AGAIN)


@pytest.mark.parametrize(
    "write", [torch.save, lambda stored, path: path.write_bytes(pickle.dumps(stored))], ids=["torch", "pickle"]
)
@pytest.mark.parametrize("kind", NETWORKS)
def test_code_in_a_checkpoint_is_not_executed(steps, refused, tmp_path, kind, write):
    marker = tmp_path / "owned"
    write(
        {"kind": KINDS[kind], "settings": {}, "classes": ["cat"], "network": {"a": Payload(marker)}}, steps.files[kind]
    )
    text = refused(*reader(steps, kind), str(steps.files[kind]), "could run code")
    assert "weights_only" not in text  # torch's own message advises to execute it
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # the payload works


@pytest.mark.parametrize(
    "change",
    [CONTENTS["without settings"], CONTENTS["nan"], CONTENTS["a tensor"], drop("network", "classifier.weight"),
     put("network", "classifier.weight", torch.zeros(5, 7, 1, 1))],
)  # fmt: skip
def test_a_training_refuses_a_broken_start(steps, refused, change):
    change(steps.files["classifier"])
    refused(train.main, steps.training, str(steps.files["classifier"]))


def test_a_training_refuses_the_classifier_layer_of_other_classes(root, steps, refused):
    (root / "classes.txt").write_text("dog\ncat\n")
    refused(train.main, steps.training, str(steps.files["classifier"]), "other classes")
    afresh = replace(steps.training.classify.patch_training, keep_classifier=())
    classify = replace(steps.training.classify, patch_training=afresh)
    train.main(replace(steps.training, classify=classify))  # the backbone does not depend on classes


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("training", [None, {"crop": "wide", "scale": [0.5], "long_side": []}], ids=str)
def test_inference_refuses_a_checkpoint_without_training_settings_or_for_another_use(steps, refused, kind, training):
    put("settings", "training", training)(steps.files[kind])
    remedy = AGAIN if kind in ("segmenter", "classifier") else "segmenter.pt or classifier.pt"
    refused(ppl.load, steps.files[kind], str(steps.files[kind]), remedy)


def weights(make: Callable[[dict], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.manual_seed(0)
        torch.save(EfficientNetLite0().state_dict(), path)
        content(make)(path)

    return write


WEIGHTS = {
    "empty": Path.touch, "text": lambda path: path.write_text("weights"),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Payload(path.with_name("owned")))),
    "payload": lambda path: torch.save({"a": Payload(path.with_name("owned"))}, path),
    "nested": weights(lambda state: {"state_dict": state}),
    "a checkpoint": weights(lambda state: {"kind": "classifier", "network": state}),
    "list": weights(lambda state: list(state.values())), "tensor": weights(lambda _: torch.zeros(3)),
    "empty dict": weights(lambda _: {}), "names are numbers": weights(lambda state: dict(enumerate(state.values()))),
    "weights are texts": weights(lambda state: dict.fromkeys(state, "weight")),
    "a weight less": weights(lambda state: {k: v for k, v in state.items() if k != "_fc.bias"}),
    "an axis more": weights(lambda state: {k: v[None] for k, v in state.items()}),
    "NaN": weights(lambda state: state["_conv_stem.weight"].view(-1)[:1].fill_(float("nan")) and None),
    "infinity": weights(lambda state: state["_bn0.running_var"][:1].fill_(float("inf")) and None),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*WEIGHTS, "absent", "folder", "loop"])
def test_broken_weights_of_a_backbone_are_refused(tmp_path, refused, spoil, kind):
    path = tmp_path / "own.pt"
    WEIGHTS[kind](path) if kind in WEIGHTS else spoil(path, kind)
    refused(lambda path: backbones.build("efficientnet_lite0", weights=str(path)), path, str(path), lines=1)
    assert not (tmp_path / "owned").exists()


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\3\4", b"\x80\2", b"\x80\4"]))
@settings(max_examples=60)
def test_arbitrary_bytes_are_refused(valid_or_one_line, stored, start):
    assert valid_or_one_line(lambda path: checkpoints.read_content(path, "classifier"), start + stored) is None
