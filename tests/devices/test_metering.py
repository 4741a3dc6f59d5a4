"""Counters that wrap, power that is integrated, and threads that end."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.devices.metering import Counter, CounterMeter, MeterError, PowerMeter

NEVER = 3600.0


def series(*values: float) -> Callable[[], float]:
    iterator: Iterator[float] = iter(values)
    return lambda: next(iterator)


def counter(*values: int, wraps_at: int | None = None) -> Counter:
    iterator = iter(values)
    return Counter("test counter", lambda: next(iterator), joules_per_count=0.5, wraps_at=wraps_at)


def test_joules_since_the_start() -> None:
    meter = CounterMeter("n", "s", [counter(100, 104, 110), counter(7, 7, 9)], poll_seconds=NEVER)
    assert meter.read_joules() == 2.0
    assert meter.read_joules() == 6.0
    meter.close()


def test_a_wrap_is_no_loss() -> None:
    meter = CounterMeter("n", "s", [counter(990, 10, 5, wraps_at=1000)], poll_seconds=NEVER)
    assert meter.read_joules() == 10.0  # 20 counts over the wrap
    assert meter.read_joules() == 10.0 + 497.5  # nearly a full turn
    meter.close()


@given(
    wraps_at=st.integers(2, 2**40),
    start=st.integers(0, 2**40),
    shares=st.lists(st.floats(0, 0.999), max_size=30),
)
def test_any_rise_below_a_turn_is_counted_exactly(wraps_at: int, start: int, shares: list[float]) -> None:
    rises = [int(share * wraps_at) for share in shares]
    total = list(itertools.accumulate(rises, initial=start))
    readings = [value % wraps_at for value in total]
    wrapping = Counter("c", lambda: 0, 1.0, wraps_at)
    counted = [wrapping.difference(before, now) for before, now in itertools.pairwise(readings)]
    assert counted == rises


def test_a_counter_that_goes_back_is_an_error_for_good() -> None:
    meter = CounterMeter("n", "s", [counter(10, 9, 20)], poll_seconds=NEVER)
    with pytest.raises(MeterError, match="test counter: the energy counter went back from 10 to 9"):
        meter.read_joules()
    with pytest.raises(MeterError, match="went back"):
        meter.read_joules()
    meter.close()


def test_the_thread_catches_wraps_while_nobody_asks() -> None:
    """The counter turns twice between the start and the only reading."""
    values = iter([0, 400, 800, 200, 600, 0])
    polled = threading.Semaphore(0)

    def read() -> int:
        polled.release()
        return next(values, 0)

    meter = CounterMeter("n", "s", [Counter("c", read, 1.0, wraps_at=1000)], poll_seconds=0.005)
    for _ in range(6):
        assert polled.acquire(timeout=10)
    assert meter.read_joules() == 2000.0
    meter.close()


def test_an_error_in_the_thread_is_raised_at_the_next_reading() -> None:
    failed = threading.Event()

    def read() -> int:
        if failed.is_set():
            return 5
        if threading.current_thread() is threading.main_thread():
            return 0
        failed.set()
        raise OSError("the file is gone")

    meter = CounterMeter("RAPL", "s", [Counter("c", read, 1.0)], poll_seconds=0.005)
    assert failed.wait(10)
    with pytest.raises(MeterError, match="RAPL: the energy meter stopped working: the file is gone"):
        meter.read_joules()
    meter.close()


def test_power_is_integrated_by_trapezoids() -> None:
    meter = PowerMeter("n", "s", series(100, 200, 0), interval_seconds=NEVER, clock=series(10.0, 12.0, 13.0))
    assert meter.read_joules() == 300.0
    assert meter.read_joules() == 400.0
    meter.close()


def test_power_is_sampled_in_the_background() -> None:
    """A burst that is over before anybody asks is counted; the clock ticks once a sample."""
    samples = threading.Semaphore(0)
    watts = itertools.chain([0.0, 0.0, 1000.0, 1000.0], itertools.repeat(0.0))

    def read_watts() -> float:
        samples.release()
        return next(watts)

    ticks = itertools.count()
    meter = PowerMeter("n", "s", read_watts, interval_seconds=0.002, clock=lambda: float(next(ticks)))
    for _ in range(8):
        assert samples.acquire(timeout=10)
    assert meter.read_joules() == 2000.0
    meter.close()


def test_readings_never_fall() -> None:
    meter = PowerMeter("n", "s", lambda: 50.0, interval_seconds=0.001)
    readings = []
    for _ in range(20):
        readings.append(meter.read_joules())
        time.sleep(0.001)
    meter.close()
    assert readings == sorted(readings) and readings[-1] > 0


def test_close_ends_the_thread_and_gives_the_library_back_once() -> None:
    closed = []
    meter = CounterMeter(
        "meter under test",
        "s",
        [counter(*range(1000))],
        poll_seconds=0.001,
        on_close=lambda: closed.append(1),
    )
    meter.close()
    meter.close()
    assert closed == [1]
    assert "meter under test" not in {thread.name for thread in threading.enumerate()}
