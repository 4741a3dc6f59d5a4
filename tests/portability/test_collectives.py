"""What the compilers for CPUs and TPUs write of an exchange, and what is read of it."""

from __future__ import annotations

from pippin.portability.collectives import Collective, collectives, summed

SIZES = {"data": 1, "fsdp": 4, "tensor": 2}
ACROSS, ALONG = "{{0,2,4,6},{1,3,5,7}}", "{{0,1},{2,3},{4,5},{6,7}}"
IDS = "device_ids=([4,2]T(1,0))"
TPU = f"""
%start (p: bf16[1,128]) -> bf16[1,512] {{
  %ag.1 = bf16[1,512]{{1,0:T(8,128)}} all-gather(%p), replica_groups={ACROSS}, {{chain_id="7"}}
}}
%beside (p: bf16[1,128]) -> bf16[1,512] {{
  %ag.2 = bf16[1,512]{{1,0:T(8,128)}} all-gather(%p), replica_groups={ACROSS}, {{chain_id="7"}}
}}
%condition (p: (s32[], f32[8])) -> pred[] {{
  %n = s32[]{{:T(128)}} constant(5), metadata={{}}
  ROOT %lt = pred[]{{:T(512)}} compare(%i, %n), direction=LT
}}
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {{
  %f1 = bf16[1,512] fusion(%x), kind=kCustom, calls=%start
  %f2 = bf16[1,512] fusion(%x), kind=kCustom, calls=%beside
  %rs = f32[64,256]{{1,0:T(8,128)}} reduce-scatter(%x), replica_groups={ACROSS}, to_apply=%add
}}
ENTRY %main (a: f32[8]) -> f32[8] {{
  %w = (s32[], f32[8]) while(%t), condition=%condition, body=%body
  %ar = (f32[], f32[]) all-reduce(%y, %z), replica_groups=mesh['a'=2,'b'=4], {IDS} {{'a','b'}}
  %some = f32[4] all-reduce(%y), replica_groups=mesh['a'=2,'b'=4], {IDS} {{'b'}}
  %odd = f32[4] all-reduce(%y), replica_groups={{{{0,3}},{{1,2}}}}, to_apply=%add
}}
"""


def test_a_step_compiled_for_a_tpu() -> None:
    gather = Collective("all-gather", ("fsdp",), 1024, 5)  # one exchange, though it spans two fusions
    assert collectives(TPU, SIZES) == [
        gather,
        Collective("reduce-scatter", ("fsdp",), 4 * 64 * 256 * 4, 5),
        Collective("all-reduce", ("fsdp", "tensor"), 8, 1),
        Collective("all-reduce", ("fsdp",), 16, 1),
        Collective("all-reduce", None, 16, 1),
    ]


def test_a_loop_whose_length_is_not_told() -> None:
    text = TPU.replace("direction=LT", "direction=NE")
    assert [each.runs for each in collectives(text, SIZES)] == [None, None, 1, 1, 1]


def test_sums_by_kind_and_axes() -> None:
    found = collectives(TPU, SIZES)
    assert summed(found + found)[0] == Collective("all-gather", ("fsdp",), 2 * 5 * 1024, 10)
    assert summed([found[0], Collective("all-gather", ("fsdp",), 8, None)])[0].runs is None
