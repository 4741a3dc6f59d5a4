"""The report's contract: every null has its reason, and what is written can be read back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pippin.errors import PippinError
from pippin.report.schema import (
    SCHEMA_VERSION,
    Report,
    json_schema,
    load_report,
    null_paths,
    write_json_schema,
)

ROOT = Path(__file__).parents[2]


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(values))
    return path


def test_both_reports_come_back_as_they_were(tmp_path: Path, known: Report, unknown: Report) -> None:
    for report in (known, unknown):
        (tmp_path / "report.json").write_text(report.to_json())
        assert load_report(tmp_path / "report.json") == report


def test_json_is_json_of_the_same_values(known: Report) -> None:
    assert json.loads(known.to_json()) == known.model_dump(mode="json")


def test_json_has_one_line_for_each_point_of_a_curve(known: Report) -> None:
    lines = [line for line in known.to_json().splitlines() if '"loss":' in line]
    assert len(lines) == len(known.losses)
    assert json.loads(lines[0].strip().rstrip(",")) == known.losses[0].model_dump()


def test_a_null_needs_a_reason(values: dict[str, Any]) -> None:
    values["mfu"] = None
    with pytest.raises(ValidationError, match="no reason: mfu"):
        Report.model_validate(values)
    values["unknown"] = {"mfu": "no rated peak in the catalog"}
    assert Report.model_validate(values).mfu is None


def test_a_null_in_a_list_needs_a_reason_under_its_number(values: dict[str, Any]) -> None:
    values["matmul"][2]["low"] = None
    with pytest.raises(ValidationError, match=r"no reason: matmul\.2\.low"):
        Report.model_validate(values)
    values["unknown"] = {"matmul.2.low": "one repeat only"}
    Report.model_validate(values)


@pytest.mark.parametrize("path", ["tokens_per_second", "chip.name", "no_such_field", "matmul.99.low"])
def test_a_reason_for_what_is_not_null_is_refused(values: dict[str, Any], path: str) -> None:
    values["unknown"] = {path: "for no reason"}
    with pytest.raises(ValidationError, match="not null"):
        Report.model_validate(values)


def test_an_empty_reason_is_refused(values: dict[str, Any]) -> None:
    values |= {"mfu": None, "unknown": {"mfu": "  "}}
    with pytest.raises(ValidationError, match=r"unknown\.mfu"):
        Report.model_validate(values)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tokens_per_second", math.nan),
        ("held_out.bits_per_byte", math.inf),
        ("mfu", 1.04),
        ("goodput", 1.2),
        ("wall_seconds", -1.0),
        ("tokens", 12.5),
        ("tokens_per_second", None),
        ("job_hash", "abc"),
        ("created", "2026-08-14T13:05:42"),
        ("created", "2026-08-14T13:05:42+02:00"),
        ("schema_version", "1.0"),
        ("losses", []),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    table = values
    for parent in parents:
        table = table[parent]
    table[name] = value
    with pytest.raises(ValidationError, match=path):
        Report.model_validate(values)


def test_a_report_is_frozen(known: Report) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        known.chip.name = "another"  # type: ignore[misc]


def test_a_command_given_as_words_is_quoted_for_the_shell(known: Report) -> None:
    assert known.command == "pippin assay --minutes 3 --out 'my assay'"


def test_text_that_no_file_can_hold_is_mended(values: dict[str, Any]) -> None:
    values["workload"]["corpus"] = "a folder named \udcff"  # how Python shows a path that is not UTF-8
    assert Report.model_validate(values).workload.corpus == "a folder named ?"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": "many"}, "tokens: "),
        ({"chip": {}}, r"chip\.name: .* more"),
        ({"mfuu": 1}, r"mfuu: .*did you mean mfu\?"),
        ({"mfu": None}, "no reason: mfu"),
        ({"schema_version": "1.1"}, r"schema version '1\.1', and this Pippin reads 2\.0"),
    ],
)
def test_loading_names_the_field_at_fault(
    tmp_path: Path, values: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(PippinError, match=message) as caught:
        load_report(written(tmp_path, values | change))
    assert "report.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"<html>"])
def test_loading_what_is_no_report_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(PippinError, match=r"report\.json: "):
        load_report(path)


def test_loading_nan_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(PippinError, match=r"tokens_per_second: .*finite"):
        load_report(written(tmp_path, values | {"tokens_per_second": math.nan}))


def test_loading_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(PippinError, match="no such file"):
        load_report(tmp_path / "report.json")


trees = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(tree=st.dictionaries(st.sampled_from("xyz"), trees))
def test_null_paths_are_all_nulls_and_lead_to_them(tree: dict[str, Any]) -> None:
    paths = list(null_paths(tree))
    assert len(paths) == len(set(paths)) == json.dumps(tree).count("null")
    for path in paths:
        value: Any = tree
        for part in path.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        assert value is None


def test_published_schema_is_the_committed_one(tmp_path: Path) -> None:
    """After a change of the schema write it anew with `write_json_schema`, and think of SCHEMA_VERSION."""
    write_json_schema(tmp_path / "schema.json")
    committed = (ROOT / "docs" / "report.schema.json").read_text()
    assert json.loads(committed) == json.loads((tmp_path / "schema.json").read_text())


def test_every_field_says_how_it_is_got() -> None:
    schema = json_schema()
    for table in (schema, *schema["$defs"].values()):
        for field in table["properties"].values():
            referred = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
            assert (referred | field)["description"].endswith(".")
    assert schema["properties"]["schema_version"]["const"] == SCHEMA_VERSION
