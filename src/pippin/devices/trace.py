"""Energy over time: readings of a meter, so that the energy of any stretch of the past can be told."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Self

from pippin.devices.metering import Meter, MeterError


class EnergyTrace:
    """Reads a meter several times a second while it is entered.

    Between two readings the power is taken as constant, so the edges of a stretch are known to within one
    interval times the change of power. `error` says why the readings ended early, if they did.
    """

    def __init__(self, meter: Meter, clock: Callable[[], float], *, interval_seconds: float = 0.1) -> None:
        self.error = ""
        self._meter, self._clock, self._interval = meter, clock, interval_seconds
        self._times: list[float] = []
        self._joules: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="energy trace", daemon=True)

    def __enter__(self) -> Self:
        self._read()
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        self._thread.join()
        self._read()

    def joules_between(self, start: float, end: float) -> float:
        """Joules from one time of the clock to another, both within the trace."""
        return self._at(end) - self._at(start)

    def _watch(self) -> None:
        while not self.error and not self._stopped.wait(self._interval):
            self._read()

    def _read(self) -> None:
        if self.error:
            return
        try:
            before, joules, after = self._clock(), self._meter.read_joules(), self._clock()
        except MeterError as error:
            self.error = str(error)
            return
        self._times.append((before + after) / 2)
        self._joules.append(joules)

    def _at(self, moment: float) -> float:
        """The meter's reading at a moment, on a line between the readings beside it."""
        index = min(max(bisect_right(self._times, moment), 1), len(self._times) - 1)
        (t0, t1), (j0, j1) = self._times[index - 1 : index + 1], self._joules[index - 1 : index + 1]
        return j0 + (j1 - j0) * (moment - t0) / (t1 - t0) if t1 > t0 else j1
