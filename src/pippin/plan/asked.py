"""A layout of the user's: read, checked; and the memory of each of a layout's stages."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import numpy as np

from pippin.errors import PippinError, nearest
from pippin.plan.layout import Layouts, single
from pippin.plan.memory import Memory, stage_memory
from pippin.plan.ranked import RankedLayout
from pippin.plan.request import Request
from pippin.plan.search import Task
from pippin.plan.shape import Shapes

_WHERE = "--layout"
_GIVEN_ELSEWHERE = ("global_batch", "sequence_length")


def read_layout(text: str, request: Request, chips: int) -> Layouts:
    """A layout as text: `tensor=8,stage=16,data=32,micro_batch=1`; what is left out is as `single` has it.

    Raises:
        PippinError: an unknown field (the nearest is named), or degrees that do not suit chips or batch.
    """
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(single).parameters.items()
        if name not in _GIVEN_ELSEWHERE
    }
    values: dict[str, Any] = {"flash": request.flash}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, word = (piece.strip() for piece in part.partition("="))
        if name not in defaults or not equals:
            close = nearest(name, defaults)
            fix = f"did you mean '{close}'?" if close else f"fields: {', '.join(defaults)}"
            raise PippinError(f"'{part}' is not field=value", where=_WHERE, fix=fix)
        values[name] = _value(name, word, defaults[name])
    layout = single(**values, global_batch=request.global_batch, sequence_length=request.sequence_length)
    return check_layout(layout, request, chips)


def _value(name: str, word: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                word.lower()
            ]
        value = float(word) if isinstance(default, float) else int(word)
    except (ValueError, KeyError) as error:
        raise PippinError(f"{name} cannot be '{word}'", where=_WHERE) from error
    most = {"zero": 3, "recompute_layers": 1.0}.get(name)
    least = 0 if most else 1
    if value < least or (most and value > most):
        raise PippinError(f"{name} cannot be {word}", where=_WHERE)
    return value


def check_layout(layout: Layouts, request: Request, chips: int) -> Layouts:
    """The layout, where it can be.

    Raises:
        PippinError: its degrees do not suit chips, model or batch.
    """
    one = {f.name: np.ravel(getattr(layout, f.name))[0].item() for f in fields(layout)}
    config, used = request.config, int(layout.chips[0])
    ranks = one["tensor"] * one["context"] * one["data"]
    experts = config.moe.num_experts if config.moe else 1
    problems = [
        (used > chips, f"it takes {used:,} chips of {chips:,}"),
        (config.num_heads % one["tensor"], f"{config.num_heads} heads do not divide by tensor"),
        (
            one["stage"] * one["interleave"] > config.num_layers,
            f"more stages than {config.num_layers} layers",
        ),
        (request.sequence_length % one["context"], "the sequence does not divide by context"),
        (
            request.global_batch % (one["data"] * one["micro_batch"]),
            f"a batch of {request.global_batch} does not divide by data x micro_batch",
        ),
        (experts % one["expert"] or ranks % one["expert"], "expert must divide the experts and the ranks"),
    ]
    for wrong, what in problems:
        if wrong:
            raise PippinError(what, where=_WHERE)
    return layout


def stages_of(task: Task, ranked: RankedLayout) -> list[dict[str, Any]]:
    """Bytes of each stage's parts; stages in a row that are alike are one entry, `stages` says which."""
    layout, shapes = single(**ranked.layout), Shapes.of(task.config)
    found: list[dict[str, Any]] = []
    for stage in range(ranked.layout["stage"]):
        held = stage_memory(shapes, layout, stage, task.framework, task.slice_chips)
        parts = {f.name: float(np.ravel(getattr(held, f.name))[0]) for f in fields(Memory)}
        if found and found[-1]["parts"] == parts:
            found[-1]["stages"][1] = stage
        else:
            found.append({"stages": [stage, stage], "parts": parts, "total": sum(parts.values())})
    return found
