"""Reads the collectives of a compiled program: kind, mesh axes and bytes, loops counted as often as they run.

Bytes are those of the largest array that a device has in its hands: the whole of a gather or of a scattered
sum, the operand of a sum, what travels in a permutation or an all-to-all. The CPU compiler writes a scattered
sum as a sum and a slice, so both are called `reduce`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import combinations, product

import numpy as np

KINDS = {
    "all-reduce": "reduce",
    "reduce-scatter": "reduce",
    "all-gather": "gather",
    "all-to-all": "all-to-all",
    "collective-permute": "permute",
}
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "pred": 1, "s8": 1, "u8": 1, "f64": 8, "s64": 8}
_NAMES = "|".join(KINDS)
_COLLECTIVE = re.compile(rf"= (?P<shape>\(.*?\)|\S+) (?P<kind>{_NAMES})(-start)?\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.\-]+) \(.*\) -> .* \{$")
_CALLED = re.compile(r"(?:to_apply|body|condition|calls|branch_computations)=\{?%?([\w.\-]+)")

Volumes = dict[tuple[str, tuple[str, ...]], int]


def volumes(text: str, sizes: dict[str, int], *, from_bytes: int) -> Volumes:
    """Bytes by kind and mesh axes, of the collectives of at least `from_bytes`.

    Args:
        text: optimised HLO.
        sizes: devices along each axis, in the mesh's order.
        from_bytes: smaller ones are left out.
    """
    bodies, entry = _computations(text)
    runs = _runs(bodies, entry)
    total: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for name, lines in bodies.items():
        for line in lines:
            if found := _COLLECTIVE.search(line):
                size = _size(found["shape"], scattered=_scatter(line, found["kind"]))
                if size >= from_bytes:
                    total[KINDS[found["kind"]], _axes(line, sizes)] += size * runs[name]
    return dict(total)


def kinds(text: str, sizes: dict[str, int]) -> set[tuple[str, tuple[str, ...]]]:
    """Which collectives there are, under the compiler's own names, and along which axes."""
    found = ((_COLLECTIVE.search(line), line) for line in text.splitlines())
    return {(match["kind"], _axes(line, sizes)) for match, line in found if match}


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


def _runs(bodies: dict[str, list[str]], entry: str) -> Counter[str]:
    """How often each computation runs in one call of the program."""
    calls: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name, lines in bodies.items():
        for line in lines:
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            if " while(" in line and not trips:
                raise AssertionError(f"a loop whose length is not known: {line[:200]}")
            times = int(trips[1]) if trips and " while(" in line else 1
            calls[name] += [(called, times) for called in _CALLED.findall(line)]
    runs: Counter[str] = Counter()

    def visit(name: str, times: int) -> None:
        runs[name] += times
        for called, more in calls[name]:
            visit(called, times * more)

    visit(entry, 1)
    return runs


def _scatter(line: str, kind: str) -> int:
    """How many parts a scattered sum leaves."""
    if kind != "reduce-scatter":
        return 1
    return max(len(group) for group in _groups(line))


def _size(shape: str, scattered: int) -> int:
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", shape)
    return scattered * sum(
        _BYTES[kind] * int(np.prod([int(n) for n in dims.split(",") if n])) for kind, dims in arrays
    )


def _groups(line: str) -> list[tuple[int, ...]]:
    if pairs := re.search(r"source_target_pairs=\{(.*?)\}\}", line):
        edges = [tuple(map(int, pair)) for pair in re.findall(r"(\d+),(\d+)", pairs[1] + "}")]
        return [tuple(sorted(group)) for group in _components(edges)]
    if listed := re.search(r"replica_groups=\{(\{.*?\})\}", line):
        return [tuple(map(int, group.split(","))) for group in re.findall(r"\{([\d,]+)\}", listed[1])]
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line):
        degrees = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", named[1])}
        along = tuple(re.findall(r"'([^']+)'", named[2]))
        return [tuple(sorted(group)) for group in _expected_groups(along, degrees)]
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line)
    assert iota, line
    shape, over = ([int(n) for n in iota[i].split(",")] for i in (1, 2))
    places = np.arange(np.prod(over)).reshape(over)
    if iota[3]:
        places = places.transpose([int(n) for n in iota[3].split(",")])
    return [tuple(sorted(map(int, group))) for group in places.reshape(shape)]


def _components(edges: list[tuple[int, ...]]) -> list[set[int]]:
    groups: list[set[int]] = []
    for edge in edges:
        touching = [group for group in groups if group & set(edge)]
        groups = [group for group in groups if not group & set(edge)]
        groups.append(set(edge).union(*touching))
    return groups


def _axes(line: str, sizes: dict[str, int]) -> tuple[str, ...]:
    """The mesh axes along which the groups reach, in the mesh's order."""
    found = {frozenset(group) for group in _groups(line)}
    active = [axis for axis, size in sizes.items() if size > 1]
    for count in range(1, len(active) + 1):
        for axes in combinations(active, count):
            if found == _expected_groups(axes, sizes):
                return axes
    raise AssertionError(f"groups that are those of no axes: {sorted(map(sorted, found))}")


def _expected_groups(axes: tuple[str, ...], sizes: dict[str, int]) -> set[frozenset[int]]:
    places = np.arange(np.prod(list(sizes.values()))).reshape(list(sizes.values()))
    groups: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for index in product(*(range(size) for size in sizes.values())):
        rest = tuple(i for i, axis in zip(index, sizes, strict=True) if axis not in axes)
        groups[rest].add(int(places[index]))
    return {frozenset(group) for group in groups.values()}
