"""Copies and collectives follow one another without a wait for each: the launch is a figure of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from pippin.assay import collectives, full_sections, transfers
from pippin.assay.collectives import KINDS, chain_length, measure_collectives
from pippin.assay.findings import Unknown
from pippin.assay.in_full import InFull
from pippin.assay.transfers import burst, measure_copies, measure_launch
from pippin.report.microbenchmarks import CollectiveRate, HostCopy

REFUSED = "the device's memory does not hold it: RESOURCE_EXHAUSTED: no room"
LAUNCH, EACH = 0.5, 0.125


def refuse(*_: Any, **__: Any) -> Any:
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room\ndetails")


class Waited:
    """What is under way; a wait for it is counted."""

    def __init__(self) -> None:
        self.under_way, self.most, self.waits = 0, 0, 0

    def call(self) -> Waited:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        return self

    def wait(self, what: Any) -> None:
        self.waits += 1
        self.under_way -= len(what) if isinstance(what, list) else 1


@pytest.mark.parametrize(("calls", "most", "waits"), [(1, 4, 1), (4, 4, 1), (9, 4, 6)])
def test_calls_of_a_burst_do_not_wait_for_one_another(
    calls: int, most: int, waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Waited()
    monkeypatch.setattr(transfers.jax, "block_until_ready", watched.wait)
    burst(watched.call, most)(calls)
    assert watched.under_way == 0  # all are there when the clock is read
    assert watched.most == min(calls, most) and watched.waits == waits


def test_real_copies_of_two_sizes() -> None:
    found = measure_copies((4096, 2**16), seconds_each=0.02)
    for copied in found.values():
        assert not isinstance(copied, str)
        assert copied.one.seconds > 0 and copied.latency_seconds > 0


def test_the_launch_of_a_chain_is_shared_by_its_collectives(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def program(kind: str, count: int, elements: int, length: int) -> Callable[[int], None]:
        def run(calls: int) -> None:
            nonlocal now
            now += calls * (LAUNCH + length * EACH)

        return run

    monkeypatch.setattr(collectives, "_program", program)
    for row in measure_collectives((4096, 2**26), clock=lambda: now):
        assert row.chained == chain_length(row.bytes_each) == {4096: 64, 2**26: 4}[row.bytes_each]
        assert row.seconds == pytest.approx(EACH + LAUNCH / row.chained)
        assert row.latency_seconds == pytest.approx(EACH + LAUNCH)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_runs_and_is_as_long_as_it_says(kind: str) -> None:
    """On one device; `test_devices` has them on four."""
    programs: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collectives, "compile_ahead", lambda *given: programs.append(given))
        collectives._program(kind, 1, 16, 5)
    ((function, array),) = programs
    traced = str(jax.make_jaxpr(function)(array))
    assert "length=5" in traced and "optimization_barrier" in traced
    assert np.asarray(jax.jit(function)(array)).shape == array.shape


def test_what_is_refused_of_them_is_null_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "seconds_per_call", refuse)
    monkeypatch.setattr(collectives, "_program", refuse)
    monkeypatch.setattr(full_sections, "_operations", lambda *_: [])
    parts: Any = dict.fromkeys(InFull.__dataclass_fields__)
    full = InFull(
        **parts
        | {
            "products": [],
            "copies": measure_copies((4096,)),
            "collectives": measure_collectives((4096,)),
            "launch": measure_launch(),
        }
    )
    unknown = Unknown()
    found: Any = SimpleNamespace(in_full=full)
    section = full_sections.microbenchmarks_section(found, unknown)
    assert section is not None
    assert HostCopy.model_validate(section["copies"][0]).seconds is None
    assert CollectiveRate.model_validate(section["collectives"][0]).latency_seconds is None
    assert section["launch_seconds"] is None and section["launch_repeats"] == 0
    names = ("launch_seconds", "copies.0.latency_seconds", "copies.0.bytes_per_second")
    assert {unknown[f"microbenchmarks.{name}"] for name in names} == {REFUSED}
    assert "RESOURCE_EXHAUSTED" in unknown["microbenchmarks.collectives.0.seconds"]
