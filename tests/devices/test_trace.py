"""Energy over time: what lies between two moments, and what becomes of a meter that fails."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

import pytest

from pippin.devices.metering import MeterError
from pippin.devices.trace import EnergyTrace


@dataclass
class FakeMeter:
    """Uses `watts` of the clock that the trace reads; breaks at a reading if told to."""

    watts: float = 50.0
    fails_at: int = -1
    name: str = "fake"
    scope: str = "nothing"
    readings: itertools.count[int] = field(default_factory=itertools.count)

    def read_joules(self) -> float:
        if next(self.readings) == self.fails_at:
            raise MeterError("gone", where="fake")
        return self.watts * time.perf_counter()

    def close(self) -> None:
        pass


def test_the_energy_of_any_stretch_is_known_afterwards() -> None:
    with EnergyTrace(FakeMeter(), time.perf_counter, interval_seconds=0.005) as trace:
        begun = time.perf_counter()
        time.sleep(0.06)
        ended = time.perf_counter()
    assert trace.joules_between(begun, ended) == pytest.approx(50 * (ended - begun), rel=0.05)
    middle = (begun + ended) / 2
    parts = trace.joules_between(begun, middle) + trace.joules_between(middle, ended)
    assert parts == pytest.approx(trace.joules_between(begun, ended))


def test_a_stretch_between_two_readings_gets_its_share() -> None:
    times, joules = iter([0.0, 0.0, 10.0, 10.0]), iter([0.0, 100.0])
    meter = FakeMeter()
    meter.read_joules = lambda: next(joules)  # type: ignore[method-assign]
    with EnergyTrace(meter, lambda: next(times), interval_seconds=60) as trace:
        pass
    assert trace.joules_between(2.0, 5.0) == pytest.approx(30.0)


def test_a_meter_that_fails_ends_the_trace_with_its_reason() -> None:
    with EnergyTrace(FakeMeter(fails_at=1), time.perf_counter, interval_seconds=0.001) as trace:
        time.sleep(0.02)
    assert "gone" in trace.error
