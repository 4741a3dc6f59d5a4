"""Meters: counters that wrap, and power that has to be integrated.

Both kinds are looked at by a background thread, because nobody may ask for minutes: a counter must be read
more often than it wraps, and power as often as it changes. The thread costs a few file reads or library
calls a turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pippin.errors import PippinError


class MeterError(PippinError):
    """A meter that worked stopped working; the energy of the run is then unknown."""


class Meter(Protocol):
    """Energy since the meter was made."""

    @property
    def name(self) -> str:
        """What is read: "RAPL", "NVML energy counter", "NVML power"."""

    @property
    def scope(self) -> str:
        """What the energy covers, and what it does not."""

    def read_joules(self) -> float:
        """Joules since the meter was made; never less than at an earlier call.

        Raises:
            MeterError: the meter stopped working.
        """

    def close(self) -> None:
        """Ends the background thread and gives the hardware library back."""


@dataclass(frozen=True)
class Counter:
    """An energy counter. `wraps_at` is in counts; None is a counter that does not wrap."""

    label: str
    read: Callable[[], int]
    joules_per_count: float
    wraps_at: int | None = None

    def difference(self, before: int, now: int) -> int:
        """Counts from one reading to the next, at most one wrap apart.

        Raises:
            MeterError: a counter that does not wrap went back.
        """
        if now >= before:
            return now - before
        if self.wraps_at is None or before > self.wraps_at:
            raise MeterError(f"the energy counter went back from {before} to {now}", where=self.label)
        return now + self.wraps_at - before


class _BackgroundMeter:
    """Calls `_update` every so many seconds, and on every reading. The first error ends it."""

    def __init__(self, name: str, scope: str, seconds: float, on_close: Callable[[], None] | None) -> None:
        self.name = name
        self.scope = scope
        self._on_close = on_close
        self._joules = 0.0
        self._error: MeterError | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(seconds,), name=name, daemon=True)

    def _update(self) -> None:
        """Adds to `_joules` what was used since the last call."""
        raise NotImplementedError

    def _watch(self, seconds: float) -> None:
        while not self._stopped.wait(seconds):
            try:
                self.poll()
            except MeterError:
                return  # kept in _error, raised at the next reading

    def poll(self) -> None:
        """Looks at the hardware now.

        Raises:
            MeterError: the meter stopped working, now or earlier.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            try:
                self._update()
            except MeterError as error:
                self._error = error
                raise
            except (OSError, ValueError, RuntimeError) as error:
                self._error = MeterError(f"the energy meter stopped working: {error}", where=self.name)
                raise self._error from error

    def read_joules(self) -> float:
        self.poll()
        return self._joules

    def close(self) -> None:
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._thread.join()
        if self._on_close is not None:
            self._on_close()


class CounterMeter(_BackgroundMeter):
    """The sum of hardware counters."""

    def __init__(
        self,
        name: str,
        scope: str,
        counters: Sequence[Counter],
        *,
        poll_seconds: float = 20.0,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Takes the first reading and starts the thread.

        Args:
            name, scope: see `Meter`.
            counters: what to add up.
            poll_seconds: must be less than the shortest time in which a counter wraps.
            on_close: called once, when the meter is closed.
        """
        super().__init__(name, scope, poll_seconds, on_close)
        self._counters = tuple(counters)
        self._last = [counter.read() for counter in self._counters]
        self._thread.start()

    def _update(self) -> None:
        now = [counter.read() for counter in self._counters]
        self._joules += sum(
            counter.difference(before, after) * counter.joules_per_count
            for counter, before, after in zip(self._counters, self._last, now, strict=True)
        )
        self._last = now


class PowerMeter(_BackgroundMeter):
    """Power, integrated by the trapezoid rule over samples."""

    def __init__(
        self,
        name: str,
        scope: str,
        read_watts: Callable[[], float],
        *,
        interval_seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Takes the first sample and starts the thread.

        Args:
            name, scope: see `Meter`.
            read_watts: the power now, of all that the scope names.
            interval_seconds: time between samples.
            clock: seconds, never going back.
            on_close: called once, when the meter is closed.
        """
        super().__init__(name, scope, interval_seconds, on_close)
        self._read_watts = read_watts
        self._clock = clock
        self._last = (clock(), read_watts())
        self._thread.start()

    def _update(self) -> None:
        now, watts = self._clock(), self._read_watts()
        before, watts_before = self._last
        self._joules += (now - before) * (watts + watts_before) / 2
        self._last = (now, watts)
