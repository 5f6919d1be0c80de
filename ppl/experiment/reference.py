"""Write what is made from the fields of settings: the schema of the configuration, and the tables of config/README.md.

    python -m ppl.experiment.reference

A test says when they are out of date.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ppl.experiment.settings import Experiment
from ppl.jobs.command import command
from ppl.jobs.errors import UserError
from ppl.jobs.fields import MOST, adapter
from ppl.jobs.files import write_text

HEAD = """\
# Types and ranges of all keys of a configuration, for editors. Made by `python -m ppl.experiment.reference` from the
# settings.py of each step, by which the workflow itself checks them; do not edit.
"""
MARK = re.compile(r"(<!-- settings of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = ("key", "meaning", "default", "values", "source")
PLAIN_TYPES = {"string": "text", "boolean": "`true`, `false`", "integer": "integer"}

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    schema: Path = Path("workflow/schemas/config.schema.yaml")
    readme: Path = Path("config/README.md")


def main(settings: Settings) -> None:
    write_text(settings.schema, schema_text())
    write_text(settings.readme, with_tables(settings.readme.read_text(encoding="utf-8")))


def schema_text() -> str:
    """Return the JSON schema of a configuration file, as YAML."""
    experiment = _compact(adapter(Experiment).json_schema())
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "defaults": {"$ref": "#/$defs/Experiment"},
            "experiments": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Experiment"}},
        },
        "$defs": {**experiment.pop("$defs"), "Experiment": experiment},
    }
    return HEAD + yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=120)


def with_tables(text: str) -> str:
    """Return a Markdown text with the table between each `<!-- settings of KEY -->` and `<!-- end -->` made anew.

    `KEY` is a dotted key of a section or of a setting, NAME standing for any name, or `-` for the keys of an experiment
    that are no section.
    """
    whole = adapter(Experiment).json_schema()
    return MARK.sub(lambda match: f"{match[1]}{_table(whole, match[2])}{match[3]}", text)


def _table(whole: Schema, key: str) -> str:
    section: Schema = whole
    for part in [] if key == "-" else key.split("."):
        try:
            section = _resolved(whole, _of_any_name(section) if part == "NAME" else section["properties"][part])
        except KeyError as error:
            raise UserError(f"<!-- settings of {key} -->", f"no key {part!r}", "name a section") from error
    leaves = _leaves(whole, section, nested=key != "-") if "properties" in section else [(key, section)]
    rows = [_row(name, field) for name, field in leaves]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _leaves(whole: Schema, section: Schema, *, nested: bool, above: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield the fields of a section, and, if `nested`, of those within it, by their dotted names."""
    for name, field in section["properties"].items():
        resolved = _resolved(whole, field)
        if "properties" not in resolved:
            yield above + name, resolved
        elif nested:
            yield from _leaves(whole, resolved, nested=True, above=f"{above}{name}.")


def _resolved(whole: Schema, field: Schema) -> Schema:
    """Return a field with the definition that it refers to."""
    if "$ref" not in field:
        return field
    return {**whole["$defs"][field["$ref"].rpartition("/")[2]], **field}


def _of_any_name(field: Schema) -> Schema:
    """Return the section that a field holds by any name; empty if it holds plain values."""
    return next(iter(field.get("patternProperties", {}).values()), {})


def _row(name: str, field: Schema) -> tuple[str, ...]:
    default = field.get("default")
    text = "-" if default in (None, {}) else f"`{_inline(default)}`"
    meaning = " ".join(field.get("description", "").split())
    return f"`{name}`", meaning, text, values(field), field.get("source", "-")


def _inline(value: Any) -> str:
    """Return a value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def values(field: Schema) -> str:
    """Return in words which values a field may have."""
    if "anyOf" in field:
        return ", or ".join(values(choice) for choice in field["anyOf"] if choice.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{_inline(value)}`" for value in field["enum"])
    if field.get("type") == "object":
        return "sections by name" if _of_any_name(field) else "keys of the module"
    if "pattern" in field and "|" in field["pattern"]:
        names = field["pattern"].strip("^()$").replace("own/.+", "own/MODULE").replace(".+", "NAME").split("|")
        return ", ".join(f"`{name}`" for name in names)
    if field.get("type") == "array":
        items = field.get("items") or field["prefixItems"][0]
        return f"{'two' if 'prefixItems' in field else 'list'}: {values(items)}"
    bounds = _bounds(field)
    if field.get("type") == "number":
        return bounds or "number"
    return ", ".join(filter(None, [PLAIN_TYPES.get(field.get("type", ""), ""), bounds])) or "-"


def _bounds(field: Schema) -> str:
    """Return the range of a number in words."""
    parts = []
    if "minimum" in field:
        parts.append(f"at least {field['minimum']:g}")
    if "exclusiveMinimum" in field:
        parts.append(f"above {field['exclusiveMinimum']:g}")
    if field.get("maximum", MOST) < MOST:
        parts.append(f"at most {field['maximum']:.10g}")
    if "exclusiveMaximum" in field:
        parts.append(f"below {field['exclusiveMaximum']:g}")
    return ", ".join(parts)


def _compact(schema: Any) -> Any:
    """Return a schema without titles, which repeat names, and defaults of sections, which their keys repeat."""
    if isinstance(schema, list):
        return [_compact(part) for part in schema]
    if not isinstance(schema, dict):
        return " ".join(schema.split()) if isinstance(schema, str) else schema
    is_reference = "$ref" in schema
    return {
        key: _compact(part)
        for key, part in schema.items()
        if not (key == "title" and isinstance(part, str)) and not (key == "default" and is_reference)
    }


if __name__ == "__main__":
    command(main, Settings)
