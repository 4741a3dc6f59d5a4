"""A compiled step exchanges what its layout should cost, by kind, mesh axes and bytes, and nothing else.

The program comes from `collectives.py`, the expectation from `volume.py`, which share no code.
"""

from __future__ import annotations

from typing import Any

import pytest
from hlo import volumes
from layouts import EXCHANGES, FROM_BYTES, LENGTH, ROWS, shape_of
from volume import Expected

TOLERANCE = 0.1


@pytest.fixture(scope="session")
def compiled(child: Any) -> dict[str, dict[str, Any]]:
    return {found["case"]: found["volumes"] for found in child("collectives.py")}


def expected(name: str) -> dict[str, int]:
    mesh, kind = EXCHANGES[name]
    wanted = Expected(shape_of(kind), mesh, ROWS, LENGTH).volumes()
    return {" ".join((kind, *axes)): size for (kind, axes), size in wanted.items() if size >= FROM_BYTES}


def differences(found: dict[str, int], wanted: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Bytes found and wanted where they are not the same."""
    both = {key: (found.get(key, 0), wanted.get(key, 0)) for key in found | wanted}
    return {key: pair for key, pair in both.items() if abs(pair[0] - pair[1]) > TOLERANCE * pair[1]}


@pytest.mark.parametrize("name", EXCHANGES)
def test_the_step_exchanges_what_it_should(compiled: dict[str, dict[str, Any]], name: str) -> None:
    wanted = expected(name)
    assert wanted
    assert differences(compiled[name], wanted) == {}


def test_a_broken_rule_is_noticed(compiled: dict[str, dict[str, Any]]) -> None:
    """Parameters that fsdp no longer splits; a feed-forward part that tensor no longer splits."""
    wanted = expected("fsdp 4 x tensor 2")
    unsplit = differences(compiled["broken: embed"], wanted)
    assert "gather fsdp" in unsplit
    assert differences(compiled["broken: ffn"], wanted)


HLO = """
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %ar = f32[8]{0} all-reduce(%x), replica_groups={{0,1},{2,3}}, to_apply=%add
}
%cond (p: (s32[], f32[8])) -> pred[] {
  %c = pred[] compare(%i, %n)
}
ENTRY %main (a: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]) while(%t), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %ag = f32[16]{0} all-gather(%y), replica_groups=[2,2]<=[2,2]T(1,0), dimensions={0}
  %rs = f32[4]{0} reduce-scatter(%y), replica_groups={{0,1,2,3}}, to_apply=%add
  %cp = f32[4]{0} collective-permute(%y), source_target_pairs={{0,1},{1,0},{2,3},{3,2}}
  %mesh = f32[8]{0} all-reduce(%y), replica_groups=mesh['a'=2,'b'=2] {'a'}, to_apply=%add
  %small = f32[] all-reduce(%z), replica_groups={{0,1},{2,3}}, to_apply=%add
}
"""


def test_the_reader_counts_loops_groups_and_parts() -> None:
    assert volumes(HLO, {"data": 2, "tensor": 2}, from_bytes=16) == {
        ("reduce", ("tensor",)): 3 * 32,
        ("gather", ("data",)): 64,
        ("reduce", ("data",)): 32,
        ("reduce", ("data", "tensor")): 4 * 16,
        ("permute", ("tensor",)): 16,
    }
    with pytest.raises(AssertionError, match="length is not known"):
        volumes(HLO.replace("known_trip_count", "other"), {"data": 2, "tensor": 2}, from_bytes=16)
