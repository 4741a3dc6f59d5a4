"""Every number of the report with its method: the schema and the values walked side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pippin.report.schema import Report, json_schema
from pippin.report.units import describe


@dataclass(frozen=True)
class Row:
    """One field: `value` is None where it is unknown, and then `reason` says why."""

    path: str
    value: str | None
    method: str
    reason: str

    @property
    def is_code(self) -> bool:
        """Whether the value is for programs rather than for people: a hash, a command."""
        return self.path == "command" or self.path.endswith(("sha256", "hash"))


@dataclass(frozen=True)
class Group:
    """One table of the report, or what stands at its top level."""

    title: str
    method: str
    rows: list[Row]


def list_groups(report: Report) -> list[Group]:
    """All fields of the report but the curves, which have tables of their own beside their figures."""
    schema = json_schema()
    apart = {"unknown", "versions", *(["sample"] if report.sample else [])}
    values = report.model_dump(mode="json", exclude=apart)
    run = Group("Run", "What stands at the top level of report.json.", [])
    groups = [run]
    for name, value in values.items():
        field = _resolved(schema["properties"][name], schema)
        if isinstance(value, dict):
            group = Group(_title(name), field["description"], [])
            groups.append(group)
            _add(group.rows, name, value, field, schema, report)
        else:
            _add(run.rows, name, value, field, schema, report)
    listed = {row.path for group in groups for row in group.rows}
    rest = [Row(path, None, "", why) for path, why in report.unknown.items() if path not in listed]
    if rest:
        groups.append(Group("Unknown within lists", "What a row of a list lacks, numbered from 0.", rest))
    versions = [Row(name, version, "", "") for name, version in report.versions.items()]
    return [*groups, Group("Versions", "Versions of the programs underneath.", versions)]


def _add(
    rows: list[Row], path: str, value: Any, field: dict[str, Any], schema: dict[str, Any], report: Report
) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _add(rows, f"{path}.{name}", item, _resolved(field["properties"][name], schema), schema, report)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        pass  # a curve
    elif value is None:
        rows.append(Row(path, None, field["description"], report.unknown[path]))
    else:
        rows.append(Row(path, describe(value, field.get("unit")), field["description"], ""))


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The field's schema with what it refers to, or what it is when it is not null, merged in."""
    known: dict[str, Any] = next((one for one in field.get("anyOf", ()) if one.get("type") != "null"), {})
    name = (field.get("$ref") or known.get("$ref") or "").rpartition("/")[2]
    return {**(schema["$defs"][name] if name else known), **field}


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
