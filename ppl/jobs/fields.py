"""Fields of settings: the base class of all sections, types with ranges, sources of defaults, and the check.

A setting is one field of a `Section` in the `settings.py` of its step: type with range, default, source, and one line
of documentation. The schema, the tables of config/README.md, the command line, the check of the configuration and the
reader of settings.yaml are made from these fields (`ppl.experiment`). Modules of settings import no torch and no
pydantic, as worker processes import them.
"""

import difflib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Len, Lt

from ppl.jobs.errors import UserError

JsonSchema = Callable[[Any], dict[str, Any]]
"""Of pydantic: from its own schema to the JSON schema."""
MAX_MESSAGE = 200  # characters of a message, which may quote a whole section


@dataclass(frozen=True, kw_only=True)
class Section:
    """Base class of sections of settings, frozen dataclasses whose fields all have defaults."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
        "allow_inf_nan": False,
        "strict": True,  # integers are written as integers, texts are not numbers
    }

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Add the documentation of inherited fields, which pydantic looks for in the class itself only."""
        schema = handler(core_schema)
        own = handler.resolve_ref_schema(schema)["properties"]
        for base in cls.__mro__[1 : cls.__mro__.index(Section)]:
            for name, field in adapter(base).json_schema()["properties"].items():
                if "description" in field:
                    own[name].setdefault("description", field["description"])
        return schema


class Source(str):
    """The source of a default: a section of the paper, IRNet, AffinityNet, DeepLab, or ours."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: JsonSchema) -> dict[str, Any]:
        return {**handler(core_schema), "source": str(self)}


class Check(ABC):
    """A check of a field's value beyond its type and range."""

    schema: ClassVar[Mapping[str, Any]] = {}
    """Addition to the field's JSON schema."""

    @abstractmethod
    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a value of the field's type, or None."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import PydanticCustomError, core_schema  # here: see the module's docstring

        def check(value: Any) -> Any:
            if what := self.fault(value):
                raise PydanticCustomError("fault", "{what}", {"what": what})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: JsonSchema) -> dict[str, Any]:
        return {**handler(core_schema), **self.schema}


class Matches(Check):
    """A text that a regular expression matches as a whole; `form` describes it."""

    def __init__(self, pattern: str, form: str) -> None:
        self.pattern, self.form = re.compile(pattern), form
        self.schema = {"pattern": f"^(?:{pattern})$"}

    def fault(self, value: str) -> str | None:
        return None if self.pattern.fullmatch(value) else f"{value!r} is not {self.form}"


class Ordered(Check):
    """A range: a pair whose first value is not greater than the second."""

    def fault(self, value: tuple[float, float]) -> str | None:
        low, high = value
        return f"{low} is greater than {high}; write the smaller number first" if low > high else None


class Distinct(Check):
    """A list that names nothing twice."""

    schema: ClassVar[Mapping[str, Any]] = {"uniqueItems": True}

    def fault(self, value: tuple[Any, ...]) -> str | None:
        twice = [item for i, item in enumerate(value) if item in value[:i]]
        return f"{twice[0]!r} is listed twice" if twice else None


class NumberOr(Check):
    """A number or one of a few words: a field `Annotated[Share | Literal["auto"], NumberOr("auto")]`.

    Only the number is validated as such, so that messages name its range and not the alternatives of a union.
    """

    def __init__(self, *words: str) -> None:
        self.words = words

    def fault(self, value: Any) -> str | None:
        is_other_word = isinstance(value, str) and value not in self.words
        return f"{value!r} is neither a number nor {' nor '.join(self.words)}" if is_other_word else None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema  # here: see the module's docstring

        def check(value: Any, validate_number: Callable[[Any], Any]) -> Any:
            if what := self.fault(value):
                raise PydanticCustomError("fault", "{what}", {"what": what})
            return value if isinstance(value, str) else validate_number(value)

        return core_schema.no_info_wrap_validator_function(check, handler.generate_schema(get_args(source)[0]))

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: JsonSchema) -> dict[str, Any]:
        return {"anyOf": [handler(core_schema), {"enum": [*self.words]}]}


class OneOf(Check):
    """One of a few numbers."""

    def __init__(self, *values: int) -> None:
        self.values = values
        self.schema = {"enum": [*values]}

    def fault(self, value: int) -> str | None:
        return None if value in self.values else f"{value} is not one of {', '.join(map(str, self.values))}"


MOST = 1_000_000
Positive = Annotated[float, Gt(0), Le(MOST)]
NotNegative = Annotated[float, Ge(0), Le(MOST)]
Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1), Le(MOST)]
Factor = Annotated[float, Gt(0), Le(4)]
Factors = Annotated[tuple[Factor, ...], Len(1, 16)]
FactorRange = Annotated[tuple[Factor, Factor], Ordered()]
Pixels = Annotated[int, Ge(32), Le(4096)]
PixelRange = Annotated[tuple[Pixels, Pixels], Ordered()]
OutputStride = Annotated[int, OneOf(8, 16, 32)]
FrozenStages = Annotated[int, Ge(-1), Le(4)]
"""Stages of a backbone that keep their weights: -1 none, 0 the stem, n the stem and stages 1 to n."""
Momentum = Annotated[float, Ge(0), Lt(1)]
RandomSeed = Annotated[int, Ge(0), Le(4294967295)]
File = Annotated[str, Matches(r"[^-\0\n][^\0\n]*", "a file")]
SplitName = Annotated[str, Len(1, 100), Matches(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "the name of a split")]

Kind = TypeVar("Kind")


def read(kind: type[Kind], values: Any, where: object, remedy: str, above: str = "") -> Kind:
    """Return the section `kind` of nested plain values, as YAML and JSON hold them.

    UserError with `where` and `remedy` for the first value that is unknown, of another type or outside of its range; it
    names the value's key, after `above`.
    """
    from pydantic import ValidationError

    try:
        _check_keys(values, where, remedy, above)
        return adapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise UserError(where, above + message(kind, error.errors(include_url=False)), remedy) from error
    except (RecursionError, ValueError) as error:  # an anchor of YAML within itself
        raise UserError(where, "a section or list contains itself", remedy) from error


def _check_keys(values: Any, where: object, remedy: str, above: str) -> None:
    """Raise UserError if a key is no text: YAML reads `1`, `yes` and `null` as others, which JSON makes texts of."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if not isinstance(key, str):
                raise UserError(where, f"{above}{key!r}: keys must be text", remedy)
            _check_keys(value, where, remedy, f"{above}{key}.")


@cache
def adapter(kind: type[Kind]) -> Any:
    """Return pydantic's validator of a section."""
    from pydantic import TypeAdapter  # here: see the module's docstring

    return TypeAdapter(kind)


def message(kind: type, faults: Sequence[Mapping[str, Any]]) -> str:
    """Return the first of pydantic's faults of a section as one line: the key, and what is wrong with its value."""
    # An invalid item makes its list too short as well: of nested places only the inner one is at fault.
    places = [fault["loc"] for fault in faults]
    inner = [f for f in faults if not any(p != f["loc"] and p[: len(f["loc"])] == f["loc"] for p in places)]
    fault = min(inner, key=lambda fault: [str(part) for part in fault["loc"]])
    others = len(inner) - 1
    value, key = fault["input"], " ".join(".".join(map(str, fault["loc"])).split())
    match fault["type"]:
        case "unexpected_keyword_argument" | "extra_forbidden":
            close = difflib.get_close_matches(str(fault["loc"][-1]), _keys(kind, fault["loc"][:-1]), n=1)
            what = f"unknown key; did you mean {close[0]}" if close else "unknown key"
        case "missing":
            what = "missing"
        case "dataclass_type" | "dict_type":
            what = f"{bounded(repr(value))} is not a section"
        case "fault" | "value_error":
            what = fault["msg"].removeprefix("Value error, ")
        case _:
            what = f"{bounded(repr(value))} {fault['msg'].removeprefix('Input ').removeprefix('Tuple ')}"
    number = isinstance(value, str) and re.fullmatch(r"[-+.\d]+e[-+]?\d+", value, re.IGNORECASE)
    hint = " (in YAML, a number with an exponent needs a decimal point, as in 1.0e-4)" if number else ""
    more = f" (and {others} more)" if others > 0 else ""
    return f"{key}: {' '.join(what.split())}{hint}{more}" if key else f"{' '.join(what.split())}{more}"


def _keys(kind: Any, place: Sequence[str | int]) -> list[str]:
    """Return the keys of the section at a place within `kind`."""
    for part in place:
        kind = get_type_hints(kind)[part] if is_dataclass(kind) else get_args(kind)[-1]  # else sections by name
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []


def bounded(text: str) -> str:
    """Return a text with its middle omitted if it is long."""
    half = MAX_MESSAGE // 2
    return text if len(text) <= MAX_MESSAGE else f"{text[:half]} ... {text[-half:]}"


def plain(value: Any) -> Any:
    """Return a section as nested dicts and lists, as YAML and JSON hold them; 1.0 becomes 1."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
