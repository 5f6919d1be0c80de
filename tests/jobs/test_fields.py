"""Fields of settings: types, ranges, messages."""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppl.jobs.errors import UserError
from ppl.jobs.fields import (
    MAX_MESSAGE,
    Count,
    Distinct,
    Factors,
    File,
    NumberOr,
    OutputStride,
    PixelRange,
    Section,
    Share,
    SplitName,
    plain,
    read,
)


@dataclass(frozen=True, kw_only=True)
class Inner(Section):
    share: Share = 0.5
    stride: OutputStride = 16


@dataclass(frozen=True, kw_only=True)
class Outer(Section):
    count: Count = 8
    switch: bool = False
    scales: Factors = (1.0, 0.5)
    side: PixelRange = (320, 640)
    names: Annotated[tuple[Literal["a", "b"], ...], Distinct()] = ()
    file: File = "imagenet"
    split: SplitName = "train"
    level: Annotated[Share | Literal["auto"], NumberOr("auto")] = 0.5
    inner: Inner = Inner()


def refused(values: Any) -> str:
    """Return the message with which values are refused."""
    with pytest.raises(UserError) as error:
        read(Outer, values, "here", "mend it")
    line = str(error.value)
    assert line.startswith("here: ")
    assert line.endswith("; mend it")
    assert "\n" not in line
    return line.removeprefix("here: ").removesuffix("; mend it")


@pytest.mark.parametrize(("values", "message"), [
    ({"count": 8.0}, "count: 8.0 "), ({"count": "8"}, "count: '8' "), ({"count": True}, "count: True "),
    ({"count": 0}, "count: 0 should be greater than or equal to 1"), ({"count": None}, "count: None "),
    ({"switch": 1}, "switch: 1 "), ({"switch": "true"}, "switch: 'true' "),
    ({"inner": {"share": 1.1}}, "inner.share: 1.1 should be less than or equal to 1"),
    ({"inner": {"share": "1e-4"}}, "inner.share: '1e-4' .* needs a decimal point, as in 1.0e-4"),
    ({"inner": {"stride": 12}}, "inner.stride: 12 is not one of 8, 16, 32"),
    ({"inner": 3}, "inner: 3 is not a section"), ({"inner": {"other": 1}}, "inner.other: unknown key"),
    ({"contu": 1}, "contu: unknown key"),
    ({"contu": 1, "count": 0}, r"contu: unknown key; did you mean count \(and 1 more\)"),
    ({"scales": []}, "scales: "), ({"scales": [1, 5]}, "scales.1: 5 "), ({"scales": [1] * 17}, "scales: "),
    ({"side": [640, 320]}, "side: 640 is greater than 320; write the smaller number first"),
    ({"side": [320]}, "side"), ({"names": ["a", "a"]}, "names: 'a' is listed twice"),
    ({"names": ["c"]}, "names.0: 'c'"),
    ({"file": "-x"}, "file: '-x' is not a file"), ({"split": "a/b"}, "split: 'a/b' is not the name of a split"),
    ({"level": "best"}, "level: 'best' is neither a number nor auto"), ({"level": True}, "level: True "),
    ({"level": 2}, "level: 2 should be less than or equal to 1"),
    (3, "3 is not a section"), ([], r"\[\] is not a section"),
])  # fmt: skip
def test_a_wrong_value_is_one_line_with_its_key(values: Any, message: str) -> None:
    assert re.match(message, refused(values)), refused(values)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(number: float) -> None:
    assert refused({"inner": {"share": number}}).startswith("inner.share: ")


def test_values_that_contain_themselves_are_refused() -> None:
    section: dict[str, Any] = {}
    section["inner"] = section
    items: list[Any] = []
    items.append(items)
    for values in (section, {"scales": items}):
        with pytest.raises(UserError, match="here: a section or list contains itself; mend it"):
            read(Outer, values, "here", "mend it")


@given(st.text(min_size=1000, max_size=2000))
def test_messages_are_bounded(text: str) -> None:
    assert len(refused({"count": text})) < 2 * MAX_MESSAGE


@given(st.integers(1, 99), st.booleans(), st.lists(st.floats(0.01, 4), min_size=1, max_size=16))
def test_what_is_written_is_read_back(count: int, switch: bool, scales: list[float]) -> None:
    section = Outer(count=count, switch=switch, scales=tuple(scales), inner=Inner(share=1.0))
    assert read(Outer, json.loads(json.dumps(plain(section))), "here", "mend it") == section


def test_defaults_need_no_value_and_whole_numbers_are_written_as_integers() -> None:
    assert read(Outer, {}, "here", "mend it") == Outer()
    written = json.dumps(plain(Outer()))
    assert json.loads(written)["scales"] == [1, 0.5]
    assert "1.0" not in written


@pytest.mark.parametrize("level", [0, 0.3, 1, "auto"])
def test_a_field_can_be_a_number_or_a_word(level: float | str) -> None:
    section = read(Outer, {"level": level}, "here", "mend it")
    assert section.level == level
    assert read(Outer, plain(section), "here", "mend it") == section
