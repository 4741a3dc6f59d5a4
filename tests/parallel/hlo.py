"""What a compiled program exchanges, added up by kind and mesh axes.

The CPU compiler writes a scattered sum as a sum and a slice, so both are called `reduce`.
"""

from __future__ import annotations

from collections import Counter

from pippin.portability.collectives import collectives

KINDS = {
    "all-reduce": "reduce",
    "reduce-scatter": "reduce",
    "all-gather": "gather",
    "all-to-all": "all-to-all",
    "collective-permute": "permute",
}

Volumes = dict[tuple[str, tuple[str, ...]], int]


def volumes(text: str, sizes: dict[str, int], *, from_bytes: int) -> Volumes:
    """Bytes by kind and mesh axes, of the collectives of at least `from_bytes`.

    Args:
        text: optimised HLO.
        sizes: devices along each axis, in the mesh's order.
        from_bytes: smaller ones are left out.
    """
    total: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for each in collectives(text, sizes):
        if each.bytes < from_bytes:
            continue
        assert each.axes is not None, f"groups that are those of no axes: {each}"
        assert each.runs is not None, f"in a loop whose length is not known: {each}"
        total[KINDS[each.kind], each.axes] += each.bytes * each.runs
    return dict(total)
