"""Compares lowered modules: where two begin to differ, and what lies outside of attention."""

from __future__ import annotations

import re
from collections import Counter
from itertools import zip_longest

from pippin.portability.lowering import Module
from pippin.portability.operations import Operation
from pippin.portability.places import Place

_ATTENTION = "models/attention/"
# What moves data about, or holds what does: where attention keeps other arrays, these have other ones too.
# Whatever is not among them is compared.
_MOVES = {
    "func.call", "func.func", "func.return", "sdy.mesh", "stablehlo.broadcast_in_dim", "stablehlo.constant",
    "stablehlo.dynamic_slice", "stablehlo.dynamic_update_slice", "stablehlo.optimization_barrier",
    "stablehlo.reshape", "stablehlo.return", "stablehlo.while",
}  # fmt: skip
# The loop over layers, written out, takes a layer's part of what is stacked and stacks what backward needs
# with these; as a loop it does so with dynamic slices.
_STACKS = ("parallel/layers.py", {"stablehlo.concatenate", "stablehlo.slice"})


def difference(first: Module, second: Module) -> Operation:
    """The first operation of the second module that is not the first one's."""
    pairs = zip_longest(first.operations, second.operations)
    differing = next(((a, b) for a, b in pairs if a is None or b is None or _written(a) != _written(b)), None)
    if differing is None:  # alike but for attributes that are not read
        return second.operations[-1]
    return differing[1] or differing[0] or second.operations[-1]


def attention_lines(evaluation: Module) -> set[Place]:
    """The lines that call attention, from a module that nothing differentiates: there each operation has its
    own line. Under differentiation what a function with a derivative of its own does has its caller's."""
    lines = set()
    for each in evaluation.operations:
        inside = [place for place in each.frames if place.shown.startswith(_ATTENTION)]
        if inside and each.frames[-1] not in inside:
            lines.add(each.frames[each.frames.index(inside[-1]) + 1])
    return lines


def outside_attention(module: Module, calls: set[Place]) -> Counter[tuple[str, tuple[str, ...], str]]:
    """What is computed outside of attention: name, types and line of each operation, counted as often
    as it is done.

    An operation that has no line of ours is taken to be outside.

    Args:
        module: a step.
        calls: the lines that call attention.
    """
    found: Counter[tuple[str, tuple[str, ...], str]] = Counter()
    for each in module.operations:
        if not _moves(each) and not _in_attention(each, calls):
            found[each.name, each.types, str(each.place)] += each.times
    return found


def _moves(operation: Operation) -> bool:
    """Whether it computes nothing on arrays. Numbers alone are added inside reductions, whose own
    line counts."""
    file, names = _STACKS
    stacks = operation.name in names and operation.place is not None and operation.place.shown == file
    numbers = not any(re.search(r"\dx", kind) for kind in operation.types)
    return operation.name in _MOVES or stacks or numbers


def _in_attention(operation: Operation, calls: set[Place]) -> bool:
    inside = any(place.shown.startswith(_ATTENTION) for place in operation.frames)
    return inside or operation.place in calls


def _written(operation: Operation) -> tuple[str, tuple[str, ...], str]:
    return operation.name, operation.types, operation.called
