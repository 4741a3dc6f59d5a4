"""A lowered module as a list of operations, each with the line of our code that it comes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pippin.portability.places import Place, frames_of, scope_of

_CONSTANT = "stablehlo.constant"


@dataclass(frozen=True)
class Operation:
    """An operation of a module.

    Attributes:
        name: in its dialect, such as `stablehlo.reduce`.
        operands, results: their types, as MLIR prints them.
        called: the function or library entry that it calls, the algorithm of a generator, or the bits that a
            precision is reduced to, such as `e8m23`; else empty.
        scope: JAX's path to it.
        frames: our lines on the way to it, innermost first.
        function: the function of the module in which it stands.
        dynamic: a loop whose length is not known when it is compiled.
        times: how often the module does it at these lines, the body of a loop counted once: a function that
            several layers share stands in the module once.
    """

    name: str
    operands: tuple[str, ...]
    results: tuple[str, ...]
    called: str
    scope: str
    frames: tuple[Place, ...]
    function: str
    dynamic: bool = False
    times: int = 1

    @property
    def types(self) -> tuple[str, ...]:
        return self.operands + self.results

    @property
    def place(self) -> Place | None:
        """The line of our code that made it; None where nothing says."""
        return self.frames[0] if self.frames else None


def operations(module: Any) -> list[Operation]:
    """All operations of a module of StableHLO, in its order.

    A function that JAX lowers once and calls from several lines gives its operations once for each of them.

    Args:
        module: an MLIR module with locations, as `Lowered.compiler_ir("stablehlo")` gives it.
    """
    found = [_read(each, function) for each, function in _walk(module.operation, "")]
    callers = defaultdict(list)
    for operation in found:
        if operation.name == "func.call":
            callers[operation.called].append(operation)
    runs = _Runs(callers)
    return [placed for operation in found for placed in _placed(operation, runs)]


def _walk(operation: Any, function: str) -> Iterator[tuple[Any, str]]:
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                each = inner.operation
                inside = each.attributes["sym_name"].value if each.name == "func.func" else function
                yield each, inside
                yield from _walk(each, inside)


def _read(operation: Any, function: str) -> Operation:
    location = str(operation.location)
    return Operation(
        operation.name,
        tuple(str(value.type) for value in operation.operands),
        tuple(str(value.type) for value in operation.results),
        _called(operation),
        scope_of(location),
        frames_of(location),
        function,
        dynamic=operation.name == "stablehlo.while" and not _counts(operation),
    )


def _called(operation: Any) -> str:
    for key in ("call_target_name", "callee", "rng_algorithm"):
        if key in operation.attributes:
            return str(operation.attributes[key]).strip('"@').removeprefix("#stablehlo<").removesuffix(">")
    if "mantissa_bits" in operation.attributes:
        bits = (operation.attributes[f"{part}_bits"].value for part in ("exponent", "mantissa"))
        return "e{}m{}".format(*bits)
    return ""


class _Runs:
    """How often a module runs each of its functions, and from which lines."""

    def __init__(self, callers: dict[str, list[Operation]]) -> None:
        self._callers = callers
        self._of: dict[str, int] = {}

    def of(self, function: str) -> int:
        """Once where nothing calls it, as what the module begins with. StableHLO has no recursion."""
        if function not in self._of:
            calls = self._callers.get(function, [])
            self._of[function] = sum(self.of(call.function) for call in calls) or 1
        return self._of[function]

    def by_line(self, function: str) -> list[Operation]:
        """The calls that have a line of ours, one a line, with `times`; for others their callers' own."""
        found: dict[Place, Operation] = {}
        for call in self._callers.get(function, []):
            own = [replace(call, times=self.of(call.function))]
            for each in own if call.place else self.by_line(call.function):
                assert each.place is not None
                known = found.get(each.place)
                found[each.place] = replace(each, times=each.times + (known.times if known else 0))
        return list(found.values())


def _placed(operation: Operation, runs: _Runs) -> list[Operation]:
    """The operation, at the lines that call its function where these are what made it.

    What JAX writes itself has no line of its own, and a function of JAX's that is called from several lines
    has the first one's. A function of ours has lines of its own, which are not those of its callers.
    """
    calls = runs.by_line(operation.function)
    if calls and (operation.place is None or operation.place in {call.place for call in calls}):
        return [replace(operation, frames=call.frames, times=call.times) for call in calls]
    return [replace(operation, times=runs.of(operation.function))]


def _counts(loop: Any) -> bool:
    """Whether a loop runs a number of times that stands in the module.

    It does where it goes on while one of its values is less than a constant, and that value starts as a
    constant and grows by a constant.
    """
    condition, body = (region.blocks[0] for region in loop.regions)
    compare = _owner(_last(condition).operands[0])
    if compare is None or compare.name != "stablehlo.compare":
        return False
    counter, bound = compare.operands
    place = _argument(counter, condition)
    if place is None or not _is_constant(bound) or not _is_constant(loop.operands[place]):
        return False
    return _grows(_last(body).operands[place], body, place)


def _grows(value: Any, body: Any, place: int) -> bool:
    add = _owner(value)
    if add is None or add.name != "stablehlo.add":
        return False
    one, other = add.operands
    return (_argument(one, body) == place and _is_constant(other)) or (
        _argument(other, body) == place and _is_constant(one)
    )


def _last(block: Any) -> Any:
    return list(block.operations)[-1].operation


def _owner(value: Any) -> Any:
    """The operation that gives a value; None where it is an argument of a block."""
    owner = value.owner
    return owner.operation if hasattr(owner, "operation") else owner if hasattr(owner, "operands") else None


def _argument(value: Any, block: Any) -> int | None:
    """Which argument of the block a value is."""
    for place, argument in enumerate(block.arguments):
        if argument == value:
            return place
    return None


def _is_constant(value: Any) -> bool:
    owner = _owner(value)
    return owner is not None and owner.name == _CONSTANT
