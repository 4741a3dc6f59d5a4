"""Reads the collectives of a compiled program: kind, mesh axes, bytes, and how often each runs.

Bytes are those of the largest array that a device has in its hands: the whole of a gather or of a scattered
sum, the operand of a sum, what travels in a permutation or an all-to-all. The text is XLA's, which has no
contract: what cannot be read off is None.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

KINDS = ("all-reduce", "reduce-scatter", "all-gather", "all-to-all", "collective-permute")
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "pred": 1, "s8": 1, "u8": 1, "f64": 8, "s64": 8}
_COLLECTIVE = re.compile(rf"= (?P<shape>\(.*?\)|\S+) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.\-]+) \(.*\) -> .* \{$")
_CALLED = re.compile(r"(?:to_apply|body|condition|calls|branch_computations)=\{?%?([\w.\-]+)")
_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_BOUND = re.compile(r"%(?P<name>[\w.\-]+) = s32\[\]\S* constant\((?P<value>\d+)\)")
_LESS = re.compile(r"ROOT .* compare\(%[\w.\-]+, %(?P<name>[\w.\-]+)\), direction=LT")

_CHAIN = re.compile(r'chain_id="([^"]*)"')

Group = tuple[int, ...]


@dataclass(frozen=True)
class Collective:
    """One exchange in a compiled program.

    Attributes:
        kind: under the compiler's own name.
        axes: the mesh axes along which it reaches; None where its groups are those of no axes.
        bytes: in the hands of one device.
        runs: how often in one step; None where it stands in a loop whose length the text does not say.
    """

    kind: str
    axes: tuple[str, ...] | None
    bytes: int
    runs: int | None


def collectives(text: str, sizes: dict[str, int]) -> list[Collective]:
    """Every collective of a program, in its order.

    Args:
        text: optimised HLO.
        sizes: devices along each axis, in the mesh's order.
    """
    bodies, entry = _computations(text)
    runs = _runs(bodies, entry)
    found: list[Collective] = []
    begun: set[str] = set()
    for name, lines in bodies.items():
        for line in lines:
            if match := _COLLECTIVE.search(line):
                # For a TPU an exchange that runs beside other work stands in each of the fusions it spans.
                chain = _CHAIN.search(line)
                if chain and chain[1] in begun:
                    continue
                begun |= {chain[1]} if chain else set()
                size = _size(match, line)
                found.append(Collective(match["kind"], _axes(line, sizes), size, runs.get(name, 0)))
    return [each for each in found if each.runs != 0]


def summed(found: Iterable[Collective]) -> list[Collective]:
    """One for each kind and axes: bytes and runs of a step added up; None where one of them is not known."""
    groups: dict[tuple[str, tuple[str, ...] | None], list[Collective]] = defaultdict(list)
    for each in found:
        groups[each.kind, each.axes].append(each)
    return [
        Collective(kind, axes, sum(each.bytes * (each.runs or 1) for each in group), _total_runs(group))
        for (kind, axes), group in groups.items()
    ]


def _total_runs(group: list[Collective]) -> int | None:
    runs = [each.runs for each in group if each.runs is not None]
    return sum(runs) if len(runs) == len(group) else None


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    bodies: dict[str, list[str]] = {}
    name = entry = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name = found["name"]
            bodies[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name:
            bodies[name].append(line)
    return bodies, entry


def _runs(bodies: dict[str, list[str]], entry: str) -> dict[str, int | None]:
    """How often each computation runs in one call of the program; None where that is not known."""
    calls: dict[str, list[tuple[str, int | None]]] = defaultdict(list)
    for name, lines in bodies.items():
        for line in lines:
            times = _trips(line, bodies) if " while(" in line else 1
            calls[name] += [(called, times) for called in _CALLED.findall(line)]
    known: Counter[str] = Counter()
    unknown: set[str] = set()

    def visit(name: str, times: int | None) -> None:
        known[name] += times or 0
        if times is None:
            unknown.add(name)
        for called, more in calls[name]:
            visit(called, None if times is None or more is None else times * more)

    visit(entry, 1)
    return {name: None if name in unknown else count for name, count in known.items()}


def _trips(line: str, bodies: dict[str, list[str]]) -> int | None:
    """How often a loop runs: as the compiler says, else as its condition compares with a constant."""
    if known := _KNOWN.search(line):
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", line)
    inside = "\n".join(bodies.get(condition[1], [])) if condition else ""
    bounds = {found["name"]: int(found["value"]) for found in _BOUND.finditer(inside)}
    less = _LESS.search(inside)
    return bounds.get(less["name"]) if less else None


def _size(match: re.Match[str], line: str) -> int:
    """Bytes of the arrays in hand; a start's shape has the operand beside the result, which is larger."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", match["shape"])
    each = [
        _BYTES.get(kind, 0) * int(np.prod([int(n) for n in dims.split(",") if n])) for kind, dims in arrays
    ]
    if match["start"] and match["kind"] != "all-reduce":
        return max(each)
    parts = max(len(group) for group in _groups(line)) if match["kind"] == "reduce-scatter" else 1
    return parts * sum(each)


def _groups(line: str) -> list[Group]:
    if pairs := re.search(r"source_target_pairs=\{(.*?)\}\}", line):
        edges = [tuple(map(int, pair)) for pair in re.findall(r"(\d+),(\d+)", pairs[1] + "}")]
        return [tuple(sorted(group)) for group in _components(edges)]
    if listed := re.search(r"replica_groups=\{(\{.*?\})\}", line):
        return [tuple(map(int, group.split(","))) for group in re.findall(r"\{([\d,]+)\}", listed[1])]
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((\S+)\))? \{([^}]*)\}", line):
        return _named_groups(named[1], named[2], named[3])
    if iota := re.search(r"replica_groups=(\[[\d,]+\])<=(\S+?)(?:,? |$)", line):
        shape = _numbers(iota[1])
        return [tuple(sorted(map(int, group))) for group in _iota(iota[2].rstrip(",")).reshape(shape)]
    return []


def _named_groups(mesh: str, ids: str | None, along: str) -> list[Group]:
    """Groups along axes that the compiler named itself, of devices in an order of its own."""
    degrees = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    groups = _expected_groups(tuple(re.findall(r"'([^']+)'", along)), degrees)
    order = _iota(ids).ravel() if ids else np.arange(np.prod(list(degrees.values())))
    return [tuple(sorted(int(order[place]) for place in group)) for group in groups]


def _iota(text: str) -> np.ndarray:
    """`[4,2]T(1,0)`: the numbers from 0 on in that shape, transposed."""
    shape, _, turned = text.partition("T")
    places = np.arange(np.prod(_numbers(shape))).reshape(_numbers(shape))
    return places.transpose(_numbers(turned)) if turned else places


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _components(edges: list[Group]) -> list[set[int]]:
    groups: list[set[int]] = []
    for edge in edges:
        touching = [group for group in groups if group & set(edge)]
        groups = [group for group in groups if not group & set(edge)]
        groups.append(set(edge).union(*touching))
    return groups


def _axes(line: str, sizes: dict[str, int]) -> tuple[str, ...] | None:
    """The mesh axes along which the groups reach, in the mesh's order."""
    found = {frozenset(group) for group in _groups(line)}
    active = [axis for axis, size in sizes.items() if size > 1]
    for count in range(1, len(active) + 1):
        for axes in combinations(active, count):
            if found == _expected_groups(axes, sizes):
                return axes
    return None


def _expected_groups(axes: tuple[str, ...], sizes: dict[str, int]) -> set[frozenset[int]]:
    places = np.arange(np.prod(list(sizes.values()))).reshape(list(sizes.values()))
    groups: dict[Group, set[int]] = defaultdict(set)
    for index in product(*(range(size) for size in sizes.values())):
        rest = tuple(i for i, axis in zip(index, sizes, strict=True) if axis not in axes)
        groups[rest].add(int(places[index]))
    return {frozenset(group) for group in groups.values()}
