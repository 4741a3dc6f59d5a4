"""Which part of the step an operation of the compiled program belongs to, by the names of `models.scopes`.

A fused operation is named after its root; one without a name, after most of what is fused in it; a copy that
the compiler put in, after what reads it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pippin.models import scopes

RECOMPUTATION, COMMUNICATION = "recomputation", "communication"
# Operations that carry no name of ours.
UNNAMED = "unnamed"

# Where several run at once, the time is that of the highest rank: what a loop does, not the loop; and only
# what of communication is not hidden behind other work.
CONTROL, HIDDEN, WORK = 0, 1, 2

_SCOPES = {value for name, value in vars(scopes).items() if name.isupper()} - {scopes.RECOMPUTED}
_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-",
)
_CONTROL = ("while", "conditional", "call")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = .*? ([a-z][\w\-]*)\((.*)")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) .*\{$")
_OPERAND = re.compile(r"%([\w.\-]+)")
_CALLS = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_NAME = re.compile(r'op_name="([^"]*)"')


@dataclass(frozen=True)
class Operation:
    """The part it belongs to (a name of `models.scopes`, or one of the above) and its rank."""

    part: str
    rank: int


@dataclass(frozen=True)
class _Line:
    """An instruction as written: `reads` are its operands, `calls` the computation that it runs or fuses."""

    name: str
    opcode: str
    op_name: str | None
    reads: tuple[str, ...]
    calls: str | None


def operations(program: str) -> dict[str, Operation]:
    """All operations by name.

    Args:
        program: the compiled program's text, as `jax.stages.Compiled.as_text` gives it.
    """
    computations = _computations(program)
    found: dict[str, Operation] = {}
    for lines in computations.values():
        readers: dict[str, str] = {}
        for line in reversed(lines):  # what reads a result stands below it
            operation = _operation(line, computations, readers.get(line.name))
            found[line.name] = operation
            if operation.part != UNNAMED:
                readers |= dict.fromkeys(line.reads, operation.part)
    return found


def part_of(op_name: str) -> str | None:
    """The part that an operation's name tells of: the bubble, recomputation, or our innermost name."""
    scope = None
    for component in op_name.split("/"):
        within = _unwrapped(component)
        if within == scopes.BUBBLE:
            return scopes.BUBBLE
        # Backward of what was computed again is backward: of it `transpose` is around the name.
        if within == scopes.RECOMPUTED and not component.startswith("transpose("):
            return RECOMPUTATION
        scope = within if within in _SCOPES else scope
    return scope


def _unwrapped(component: str) -> str:
    """`transpose(jvp(norm))` as `norm`: the name without the transformations around it."""
    while match := re.fullmatch(r"(?:transpose|jvp|vmap|shard_map|remat)\((.*)\)", component):
        component = match[1]
    return component


def _operation(line: _Line, computations: dict[str, list[_Line]], reader: str | None) -> Operation:
    opcodes = [line.opcode]
    if line.opcode.startswith("async-"):
        opcodes += [inner.opcode for inner in computations.get(line.calls or "", [])]
    if any(opcode.startswith(_COLLECTIVES) for opcode in opcodes):
        # What a pipeline sends while it fills goes with the tick that it makes longer.
        in_bubble = part_of(line.op_name or "") == scopes.BUBBLE
        return Operation(scopes.BUBBLE if in_bubble else COMMUNICATION, HIDDEN)
    own = part_of(line.op_name or "")
    if line.opcode in _CONTROL:  # what it runs is of many parts, and none of them its own
        return Operation(own or UNNAMED, CONTROL)
    return Operation(own or _most_of(line, computations) or reader or UNNAMED, WORK)


def _most_of(line: _Line, computations: dict[str, list[_Line]]) -> str | None:
    """The part that most operations belong to of those that this one runs or fuses."""
    inner = computations.get(line.calls or "", [])
    parts = Counter(part for each in inner if (part := part_of(each.op_name or "")))
    return parts.most_common(1)[0][0] if parts else None


def _computations(program: str) -> dict[str, list[_Line]]:
    found: dict[str, list[_Line]] = {}
    name = ""
    for text in program.splitlines():
        if match := _COMPUTATION.match(text):
            name = match[1]
        elif line := next(_instruction(text), None):
            found.setdefault(name, []).append(line)
    return found


def _instruction(text: str) -> Iterator[_Line]:
    if match := _INSTRUCTION.match(text):
        name, opcode, rest = match.groups()
        op_name, calls = _NAME.search(rest), _CALLS.search(rest)
        reads = _OPERAND.findall(rest.split("), ")[0])
        yield _Line(name, opcode, op_name and op_name[1], tuple(reads), calls and calls[1])
