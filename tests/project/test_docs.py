"""The documentation says what the code does: every key, default and field, and an example that runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pippin.job import Job, load_job
from pippin.models.config import ModelConfig, MoEConfig
from pippin.models.counts import num_active_parameters, num_parameters
from pippin.models.presets import ALL_PRESETS, PRESETS, preset
from pippin.report.schema import json_schema
from pippin.train.account import account
from pippin.train.ledger import CATEGORIES, Ledger, read_ledger

Rows = list[list[str]]


def table_rows(text: str) -> Rows:
    """The cells of every row of the Markdown tables whose first cell is code."""
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip(" |") for cell in row] for row in rows]


@pytest.fixture(scope="module")
def job_doc(root: Path) -> str:
    return (root / "docs/job.md").read_text(encoding="utf-8")


def job_fields() -> dict[str, FieldInfo]:
    fields = {f"model.{name}": field for name, field in ModelConfig.model_fields.items()}
    for table, model in ((name, field.annotation) for name, field in Job.model_fields.items()):
        if isinstance(model, type) and issubclass(model, BaseModel):
            fields |= {f"{table}.{name}": field for name, field in model.model_fields.items()}
    return fields


def test_every_key_of_a_job_is_documented_with_its_default(job_doc: str) -> None:
    documented = {row[0].strip("`"): row[1] for row in table_rows(job_doc) if "." in row[0]}
    documented = {
        key: default
        for key, default in documented.items()
        if key.split(".")[0] in Job.model_fields and not key.startswith("model.moe.")
    }
    fields = job_fields()
    of_no_shape = {"model.preset", "model.initial", "model.initial_sha256"}
    assert documented.keys() - of_no_shape == fields.keys()
    assert of_no_shape <= documented.keys()
    # Where the default is made from other values, the page says how.
    derived = {"model.vocab_size": "`data.vocab_size`", "model.head_dim": "`d_model / num_heads`"}
    for key, field in fields.items():
        assert documented[key] == derived.get(key, _default(field)) or _same(documented[key], field), key


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else "unset" if field.default is None else ""


def _same(cell: str, field: FieldInfo) -> bool:
    if not re.fullmatch("`[^`]+`", cell) or field.is_required():
        return False
    value: Any = tomllib.loads(f"value = {cell.strip('`')}")["value"]
    return type(value) is type(field.default) and value == field.default


def test_derived_defaults_are_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(
        "[model]\nd_model = 96\nnum_layers = 1\nnum_heads = 4\nnum_kv_heads = 2\nffn_dim = 8\n"
        "[data]\nvocab_size = 300\n[train]\nsteps = 1\n"
    )
    shape = load_job(path).shape
    assert (shape.vocab_size, shape.head_dim) == (300, 24)


def test_every_preset_is_documented_with_its_shape(job_doc: str) -> None:
    dense, _, _ = job_doc.partition("Other structures")
    rows = {row[0].strip("`"): row[1:] for row in table_rows(dense) if row[0].strip("`") in PRESETS}
    assert list(rows) == list(PRESETS)
    for name, fields in PRESETS.items():
        sizes = [fields[key] for key in ("d_model", "num_layers", "num_heads", "num_kv_heads", "ffn_dim")]
        config = ModelConfig(**{"vocab_size": 8192} | fields)
        assert rows[name] == [*map(str, sizes), f"{num_parameters(config):,}"], name


def test_every_other_preset_is_documented_with_its_counts(job_doc: str) -> None:
    others = job_doc.partition("Other structures")[2]
    rows = {row[0].strip("`"): row[1:] for row in table_rows(others) if row[0].strip("`") in ALL_PRESETS}
    for name in ALL_PRESETS.keys() - PRESETS.keys() | {"llama3.1-8b"}:
        config = ModelConfig(**{"vocab_size": 8192} | preset(name))
        if config.planned_only:
            assert f"`{name}`" in others and name not in rows, name
            continue
        active = f"{num_active_parameters(config):,}" if config.moe else ""
        assert rows[name][1:] == [str(config.num_layers), f"{num_parameters(config):,}", active], name


def test_every_key_of_experts_is_documented(job_doc: str) -> None:
    rows = {row[0].strip("`"): row[1] for row in table_rows(job_doc) if row[0].startswith("`model.moe.")}
    assert list(rows) and {f"model.moe.{name}" for name in MoEConfig.model_fields} == rows.keys()
    for name, field in MoEConfig.model_fields.items():
        cell = rows[f"model.moe.{name}"]
        assert cell == _default(field) or _same(cell, field), name


def test_the_smallest_job_on_the_page_is_a_job(job_doc: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", job_doc, re.MULTILINE | re.DOTALL)
    path = tmp_path / "job.toml"
    path.write_text(block)
    assert load_job(path).shape.num_layers > 0


def test_every_field_of_the_report_is_documented(root: Path) -> None:
    text = (root / "docs/report.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)))
    schema = json_schema()
    fields = {
        *schema["properties"],
        *(name for part in schema["$defs"].values() for name in part["properties"]),
    }
    assert len(fields) > 80
    assert sorted(fields - words - {"rules"}) == []
    assert "chip.rules" in words


def test_the_example_adds_a_ledger_up_as_pippin_does(root: Path, tmp_path: Path) -> None:
    text = (root / "docs/ledger.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    path = tmp_path / "ledger.jsonl"
    _write_ledger(path)
    command = [sys.executable, "-c", example, str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    got = {name: float(value) for name, value in (line.split() for line in printed.splitlines())}
    total = account(read_ledger(path))
    assert total.repeated_tokens == 10
    assert got == pytest.approx(
        {
            "tokens_per_second": total.tokens_per_second,
            "tokens_per_second_end_to_end": total.tokens_per_second_end_to_end,
            "goodput": total.seconds_by_category["step"] / total.wall_seconds,
        }
    )


def test_every_category_of_the_ledger_is_documented(root: Path) -> None:
    _, _, table = (root / "docs/ledger.md").read_text(encoding="utf-8").partition("| category |")
    assert [row[0].strip("`") for row in table_rows(table)] == list(CATEGORIES)


def _write_ledger(path: Path) -> None:
    """Five steps of ten tokens, the third of them done twice because the run was killed after it."""
    for steps in ((1, 2, 3), (3, 4, 5)):
        ledger = Ledger(path, begin=0.0)
        for step in steps:
            with ledger.span("data"):
                pass
            with ledger.span("step") as span:
                span.fields = {"step": step, "tokens": [10 * step - 10, 10 * step], "digest": "00"}
    ledger.close()
