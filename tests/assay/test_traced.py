"""Steps of a run that are traced: which, what is found in them, and what keeps them from being traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.assay.timeline import NOTHING
from pippin.assay.traced import GROUPS, TRACE, StepTraces, Traced, group_bounds
from pippin.models import scopes

STEPS = 9


class Spans:
    """A ledger that remembers the names alone."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @contextmanager
    def span(self, category: str, name: str) -> Iterator[None]:
        assert category == "evaluation"
        self.names.append(name)
        yield


@pytest.fixture(scope="module")
def compiled() -> Any:
    def step(x: jax.Array) -> jax.Array:
        with jax.named_scope(scopes.PRODUCT):
            x = x @ x
        with jax.named_scope(scopes.NORM):
            return x / jnp.max(x)

    return jax.jit(step).lower(jnp.ones((256, 256))).compile()


def traces_of(text: str, ledger: Any) -> StepTraces:
    program: Any = SimpleNamespace(step_text=text)
    return StepTraces(program, ledger, STEPS, 0.1)


def traced(compiled: Any, ledger: Any, text: str) -> Traced:
    argument = jnp.ones((256, 256))
    with traces_of(text, ledger) as traces:
        for step in range(1, STEPS + 1):
            traces.begin(step)
            jax.block_until_ready(compiled(argument))
            traces.end(step)
        return traces.traced


def test_the_time_of_traced_steps_is_divided(compiled: Any) -> None:
    ledger = Spans()
    found = traced(compiled, ledger, compiled.as_text())
    assert [(group.first, group.stop) for group in found.groups] == [(2, 4), (6, 8)]
    assert ledger.names == [TRACE] * 4
    assert found.reason is None
    for group in found.groups:
        assert sum(group.parts.values()) == pytest.approx(group.seconds)
        assert set(group.parts) == {scopes.PRODUCT, scopes.NORM, NOTHING}
        assert group.share(*group.parts) == pytest.approx(1.0)


def test_where_no_operation_has_a_name_there_is_a_reason(compiled: Any) -> None:
    ledger = Spans()
    found = traced(compiled, ledger, "")
    assert found == Traced((), "the profiler of this device names no operation of the step")
    assert ledger.names == [TRACE] * 2


def test_a_trace_that_is_open_already_is_a_reason(compiled: Any, tmp_path: Path) -> None:
    with jax.profiler.trace(tmp_path):
        found = traced(compiled, Spans(), compiled.as_text())
    assert found.groups == () and found.reason is not None
    assert found.reason.startswith("no step could be traced: ")


def test_a_run_that_ends_early_leaves_no_trace_open(compiled: Any) -> None:
    with pytest.raises(KeyboardInterrupt), traces_of(compiled.as_text(), Spans()) as traces:
        traces.begin(2)
        raise KeyboardInterrupt
    assert traced(compiled, Spans(), compiled.as_text()).groups


@given(st.integers(1, 5000), st.floats(1e-4, 100))
def test_groups_are_apart_and_spread_over_the_run(steps: int, step_seconds: float) -> None:
    bounds = list(group_bounds(steps, step_seconds))
    assert len(bounds) <= GROUPS
    free = 2  # the first step that may be traced
    for first, stop in bounds:
        assert free <= first < stop <= steps + 1
        free = stop + (stop - first)
    if steps >= 18:
        assert bounds
    if steps >= 16 * GROUPS + 1:
        assert len(bounds) == GROUPS and bounds[-1][1] > 0.9 * steps
