"""Every operation of a compiled step belongs to a part, by name; time is divided among those that run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import Array, lax

from pippin.assay.hlo import (
    COMMUNICATION,
    CONTROL,
    HIDDEN,
    RECOMPUTATION,
    UNNAMED,
    WORK,
    Operation,
    operations,
    part_of,
)
from pippin.assay.timeline import NOTHING, Ran, divided
from pippin.models import scopes

PROGRAM = """HloModule jit_step, is_scheduled=true

%fused (p.0: f32[4]) -> f32[4] {
  %p.0 = f32[4]{0} parameter(0)
  %a.1 = f32[4]{0} add(%p.0, %p.0), metadata={op_name="jit(step)/jvp(layers)/residual/add"}
  %a.2 = f32[4]{0} multiply(%a.1, %p.0), metadata={op_name="jit(step)/jvp(layers)/norm/mul"}
  ROOT %a.3 = f32[4]{0} multiply(%a.2, %p.0), metadata={op_name="jit(step)/jvp(layers)/norm/mul"}
}

%sum (p.1: f32[], p.2: f32[]) -> f32[] {
  %p.1 = f32[] parameter(0)
  %p.2 = f32[] parameter(1)
  ROOT %s.1 = f32[] add(%p.1, %p.2)
}

%scattering (p.3: f32[4]) -> f32[1] {
  %p.3 = f32[4]{0} parameter(0)
  ROOT %r.1 = f32[1]{0} reduce-scatter(%p.3), dimensions={0}, to_apply=%sum
}

ENTRY %main (x.1: f32[4]) -> (f32[4], f32[1]) {
  %x.1 = f32[4]{0} parameter(0), metadata={op_name="x"}
  %copy.1 = f32[4]{0} copy(%x.1)
  %fusion.1 = f32[4]{0} fusion(%copy.1), kind=kLoop, calls=%fused
  %dot.1 = f32[4]{0} custom-call(%fusion.1), metadata={op_name="jit(step)/transpose(jvp(layers))/product/dot"}
  %all-reduce-start.1 = f32[4]{0} all-reduce-start(%dot.1), to_apply=%sum, metadata={op_name="product/psum"}
  %collective-permute.1 = f32[4]{0} collective-permute(%dot.1), metadata={op_name="bubble/while/ppermute"}
  %all-reduce-done.1 = f32[4]{0} all-reduce-done(%all-reduce-start.1)
  %async-start.1 = ((f32[4]{0}), f32[1]{0}) async-start(%dot.1), calls=%scattering
  %while.1 = (s32[], /*index=1*/f32[4]{0:T(128)}) while(%t.0), body=%b, metadata={op_name="jvp(layers)/while"}
  %lost.1 = f32[4]{0} copy(%all-reduce-done.1)
  ROOT %t.1 = (f32[4]{0}, f32[1]{0}) tuple(%lost.1, %all-reduce-done.1)
}
"""


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("jit(step)/jvp(layers)/while/body/closed_call/norm/mul", scopes.NORM),
        ("jit(step)/transpose(jvp(layers))/closed_call/attention/cos", scopes.ATTENTION),
        ("jit(step)/transpose(jvp(vocabulary))/norm/mul", scopes.NORM),
        ("jit(step)/transpose(jvp(layers))/gate/product/bse,ef->bsf/dot_general", scopes.PRODUCT),
        ("jit(step)/transpose(jvp(layers))/checkpoint/rematted_computation/norm/mul", RECOMPUTATION),
        ("jit(step)/transpose(jvp(layers))/checkpoint/norm/mul", scopes.NORM),
        ("jit(step)/jvp(rematted_computation)/layers/norm/mul", RECOMPUTATION),
        ("jit(step)/transpose(jvp(rematted_computation))/layers/norm/mul", scopes.NORM),
        ("jit(step)/shard_map/bubble/while/body/rematted_computation/layers/norm/mul", scopes.BUBBLE),
        ("jit(step)/jvp(layers)/experts/expert_product/dot_general", scopes.EXPERT_PRODUCT),
        ("jit(step)/jit(norm)/reduce_sum", None),
        ("reduce_sum", None),
    ],
)
def test_a_name_tells_the_part(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_operations_of_a_program_as_written() -> None:
    found = operations(PROGRAM)
    assert {name: found[name] for name in ("copy.1", "fusion.1", "dot.1", "while.1", "lost.1")} == {
        "copy.1": Operation(scopes.NORM, WORK),  # what reads it
        "fusion.1": Operation(scopes.NORM, WORK),  # most of what is in it
        "dot.1": Operation(scopes.PRODUCT, WORK),
        "while.1": Operation(scopes.LAYERS, CONTROL),
        "lost.1": Operation(UNNAMED, WORK),
    }
    for name in ("all-reduce-start.1", "all-reduce-done.1", "async-start.1", "r.1"):
        assert found[name] == Operation(COMMUNICATION, HIDDEN)
    assert found["collective-permute.1"] == Operation(scopes.BUBBLE, HIDDEN)


def test_operations_of_a_program_that_is_compiled_here() -> None:
    """The names survive the compiler, forward and backward, in a loop that computes again."""

    def layer(x: Array, weights: Array) -> tuple[Array, None]:
        with jax.named_scope(scopes.PRODUCT):
            y = x @ weights
        with jax.named_scope(scopes.GATE):
            return x + jax.nn.silu(y), None

    def loss(weights: Array, x: Array) -> Array:
        with jax.named_scope(scopes.LAYERS):
            x, _ = lax.scan(jax.checkpoint(layer), x, weights)
        with jax.named_scope(scopes.VOCABULARY):
            return jnp.sum(x**2)

    program = jax.jit(jax.grad(loss)).lower(jnp.ones((3, 64, 64)), jnp.ones((32, 64))).compile()
    found = {operation.part for operation in operations(str(program.as_text())).values()}
    expected = {scopes.PRODUCT, scopes.GATE, scopes.LAYERS, scopes.VOCABULARY, RECOMPUTATION}
    assert expected <= found


A, B = Operation("a", WORK), Operation("b", WORK)
SEND, LOOP = Operation(COMMUNICATION, HIDDEN), Operation("loop", CONTROL)


@pytest.mark.parametrize(
    ("ran", "expected"),
    [
        ([], {NOTHING: 10}),
        ([Ran(2, 5, A)], {"a": 3, NOTHING: 7}),
        ([Ran(-5, 5, A), Ran(8, 90, B)], {"a": 5, "b": 2, NOTHING: 3}),
        ([Ran(0, 10, A), Ran(4, 6, B)], {"a": 9, "b": 1, NOTHING: 0}),
        ([Ran(0, 10, A), Ran(0, 10, A), Ran(0, 10, B)], {"a": 20 / 3, "b": 10 / 3, NOTHING: 0}),
        ([Ran(0, 10, LOOP), Ran(2, 4, A), Ran(5, 9, B)], {"a": 2, "b": 4, "loop": 4, NOTHING: 0}),
        (
            [Ran(0, 6, SEND), Ran(2, 4, A), Ran(0, 10, LOOP)],
            {COMMUNICATION: 4, "a": 2, "loop": 4, NOTHING: 0},
        ),
    ],
)
def test_time_is_divided_by_hand(ran: list[Ran], expected: dict[str, float]) -> None:
    assert divided(ran, 0, 10) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(-20, 120), st.integers(0, 90), st.sampled_from((A, B, SEND, LOOP)))))
def test_all_time_is_somebodys_or_nobodys(given: list[tuple[int, int, Operation]]) -> None:
    ran = [Ran(start, start + length, operation) for start, length, operation in given]
    found = divided(ran, 0, 100)
    assert sum(found.values()) == pytest.approx(100)
    assert all(value >= 0 for value in found.values())
    covered = {moment for each in ran for moment in range(max(0, int(each.start)), min(100, int(each.stop)))}
    assert found[NOTHING] == pytest.approx(100 - len(covered))
