"""Tables of measured runs: a CSV's rows as models, layouts, systems and seconds.

The columns are described in docs/accuracy.md. A row that cannot be scored keeps the reason, be it a cell that
does not fit its column, a word that is not known, or an id that stands twice: the other rows count.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from pippin.catalog.chips import load_chips
from pippin.errors import PippinError
from pippin.plan.recipes import (
    Refused,
    capped,
    model_config,
    model_family,
    precision_class,
    recompute_of,
    software_year,
    stack_of,
    wrong_rows,
    yes_or_no,
)
from pippin.plan.runs import Run, model_flops
from pippin.plan.system import System

# Without these no row can be scored.
REQUIRED = ("id", "source", "chip_id", "n_chips", "model", "layers", "hidden", "heads", "seq", "gbs")
_INTEGERS = (
    "n_chips",
    "layers",
    "hidden",
    "ffn",
    "heads",
    "kv_heads",
    "head_dim",
    "vocab",
    "n_experts",
    "topk",
    "moe_ffn",
    "seq",
    "gbs",
    "mbs",
    "tp",
    "pp",
    "vp",
    "cp",
    "dp",
    "ep",
    "zero",
)
_NUMBERS = ("year", "params_b", "tok_s_chip", "tflops_chip", "step_s", "peak_mem_gib")


def read_runs(path: Path) -> list[Run]:
    """The rows of a CSV file.

    Raises:
        PippinError: it cannot be read, is not CSV, lacks a column or has no rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PippinError("cannot be read", where=path, fix=str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise PippinError("not UTF-8 text", where=path) from error
    return parse_runs(text, str(path))


def shipped_runs() -> tuple[Run, ...]:
    """The rows that ship with this package, for calibration: published runs, and vTrain's sweep."""
    return published_runs() + _shipped("vtrain_single_node.csv")


def published_runs() -> tuple[Run, ...]:
    """The published runs that ship with this package."""
    return _shipped("published.csv")


@cache
def _shipped(name: str) -> tuple[Run, ...]:
    text = files("pippin.plan").joinpath("data", name).read_text(encoding="utf-8")
    return tuple(parse_runs(text, name))


def parse_runs(text: str, where: str) -> list[Run]:
    """The rows of a CSV text; `where` names it in errors."""
    reader, rows = csv.DictReader(io.StringIO(text), strict=True), list[Run]()
    try:
        header = reader.fieldnames or ()
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            raise PippinError(
                f"no column '{missing[0]}'", where=where, fix="the columns are in docs/accuracy.md"
            )
        for row in reader:
            rows.append(_run(row, len(rows) + 2))
    except csv.Error as error:
        raise PippinError(f"not CSV: {error}", where=f"{where}, row {len(rows) + 2}") from error
    if not rows:
        raise PippinError("no rows", where=where)
    return _first_of_each_id(rows)


def _first_of_each_id(rows: list[Run]) -> list[Run]:
    """The rows; of several with one id those after the first are refused, under ids of their own."""
    seen: set[str] = set()
    kept: list[Run] = []
    for place, run in enumerate(rows, start=2):
        if run.id in seen:
            run = replace(run, id=f"{run.id} (row {place})", refused=f"the id '{run.id}' stands twice")
        seen.add(run.id)
        kept.append(run)
    return kept


def _run(row: dict[str, Any], place: int) -> Run:
    cells = {str(key): (value or "").strip() for key, value in row.items() if key is not None}
    run = Run(
        id=cells["id"] or f"row {place}",
        source=cells["source"],
        model=cells["model"],
        family=model_family(cells["model"]),
        chip_id=cells["chip_id"],
        precision=precision_class(cells) or cells.get("precision", ""),
        tier=cells.get("tier", ""),
        task=cells.get("task", "") or "pretrain",
        cells=cells,
        wrong=wrong_rows().get(cells["id"]),
    )
    try:
        if None in row or None in row.values():
            raise Refused("more or fewer cells than columns: quote cells with commas")
        if not cells["id"]:
            raise Refused("no id")
        numbers = {name: _number(cells, name) for name in (*_INTEGERS, *_NUMBERS)}
        return _scorable(replace(run, order=(software_year(cells, numbers), 0)), cells, numbers)
    except Refused as reason:
        return replace(run, refused=str(reason))


def _number(cells: dict[str, str], name: str) -> float | None:
    text = cells.get(name, "")
    if not text:
        return None
    whole = name in _INTEGERS
    try:
        value = float(text)
        fits = np.isfinite(value) and value >= 0 and (not whole or value == int(value))
    except ValueError:
        fits = False
    if not fits:
        kind = "a whole number" if whole else "a number"
        raise Refused(f"column '{name}': '{text}' is not {kind} of zero or more")
    return value


def _scorable(run: Run, cells: dict[str, str], n: dict[str, float | None]) -> Run:
    """The run with model, layout, system and seconds. Raises `Refused`."""
    if run.task.lower() not in ("pretrain", "pretraining", "pre-train", "pre-training"):
        raise Refused(f"task {run.task}: only pretraining is modelled")
    if not run.chip_id:
        raise Refused("chip not in the catalog")
    if run.chip_id not in load_chips():
        raise Refused(f"chip {run.chip_id} not in the catalog")
    if not precision_class(cells):
        raise Refused(f"precision '{cells.get('precision', '')}' not known")
    shape = _shape(cells, n)
    layout = _layout(cells, n)
    stack = stack_of(cells)
    try:
        system = System.of(
            run.chip_id, precision_class(cells) or "bf16", stack=stack, year=software_year(cells, n)
        )
    except PippinError as error:
        raise Refused(error.what) from error
    system = capped(cells, system)
    layout |= recompute_of(cells, shape, layout, system)
    layout |= _habits(cells, n, system)
    run = replace(run, shape=shape, layout=layout, system=system)
    return replace(run, step_seconds=_seconds(run, n))


def _shape(cells: dict[str, str], n: dict[str, float | None]) -> Any:
    missing = [name for name in ("layers", "hidden", "heads") if not n[name]]
    if missing:
        raise Refused("model shape not given")
    try:
        return model_config(cells, n)
    except ValidationError as error:
        raise Refused(f"not a shape: {error.errors()[0]['msg']}") from error


def _layout(cells: dict[str, str], n: dict[str, float | None]) -> dict[str, Any]:
    """Degrees in chips. A Trainium chip of the first generation is two ranks."""
    for name, what in (("n_chips", "chips"), ("seq", "sequence length"), ("gbs", "global batch")):
        if not n[name]:
            raise Refused(f"{what} not given")
    chips, gbs = int(n["n_chips"] or 0), int(n["gbs"] or 0)
    if chips > 1 and (n["tp"] is None or n["pp"] is None):
        raise Refused("layout not given")
    tensor, stage, context = (max(int(n[name] or 1), 1) for name in ("tp", "pp", "cp"))
    if cells["chip_id"].startswith("trn1"):
        tensor = max(tensor // 2, 1)
    model_ranks = tensor * stage * context
    if chips % model_ranks:
        raise Refused("layout does not multiply to the chips")
    data = chips // model_ranks
    expert = max(int(n["ep"] or 1), 1)
    if expert > data * context * tensor:
        expert = data * context * tensor
    micro = int(n["mbs"] or 1)
    if gbs < data:
        raise Refused("fewer sequences than data ranks")
    passes = -(-gbs // (micro * data))
    return {
        "tensor": tensor,
        "context": context,
        "stage": stage,
        "interleave": max(int(n["vp"] or 1), 1),
        "data": data,
        "expert": expert,
        "zero": _zero(cells, n),
        # A batch that does not divide leaves the last micro-batch smaller; on average all are.
        "micro_batch": gbs / (data * passes) * (1 + 1e-12),
        "global_batch": gbs,
        "sequence_length": int(n["seq"] or 0),
    }


def _zero(cells: dict[str, str], n: dict[str, float | None]) -> int:
    if n["zero"] is not None:
        if n["zero"] > 3:
            raise Refused(f"no ZeRO stage {n['zero']:g}")
        return int(n["zero"])
    text = cells.get("fsdp", "").lower()
    if text and text not in ("no", "n/a", "none"):
        return 3
    # Megatron's distributed optimizer is what its published recipes use; JAX shards over the rest axis.
    return 3 if stack_of(cells) in ("jax", "fsdp") else 1


def _habits(cells: dict[str, str], n: dict[str, float | None], system: System) -> dict[str, Any]:
    """What the row's software does unless the row says otherwise."""
    overlaps = system.stack not in ("megatron2", "plain")
    old = system.stack == "megatron2"
    return {
        "sequence_parallel": yes_or_no(cells, "sp", not old),
        "flash": yes_or_no(cells, "flash", not old),
        "tensor_overlap": overlaps,
        "data_overlap": overlaps,
    }


def _seconds(run: Run, n: dict[str, float | None]) -> float:
    """Measured seconds: as printed, from tokens/s, or from FLOP/s by the source's own definition."""
    if n["step_s"]:
        return float(n["step_s"])
    tokens = run.layout["global_batch"] * run.layout["sequence_length"]
    chips = int(n["n_chips"] or 1)
    if n["tok_s_chip"]:
        return float(tokens / (n["tok_s_chip"] * chips))
    if n["tflops_chip"]:
        kind = run.cells.get("tflops_kind", "").lower()
        flops = model_flops(run, causal=counts_causal(kind))
        if "hardware" in kind and "model" not in kind:
            flops *= 4 / 3  # four forward passes' worth, recomputation included
        return flops / (n["tflops_chip"] * 1e12 * chips)
    raise Refused("nothing measured")


def counts_causal(kind: str) -> bool:
    """Whether a source's FLOP definition halves attention for the causal mask."""
    full = ("non-causal", "not halved", "full attention", "full-attention", "pre pr1988", "predate")
    return "causal" in kind and not any(word in kind for word in full)
