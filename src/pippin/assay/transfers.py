"""What the host takes to hand something to the device: arrays by size, and the launch of a program."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pippin.assay.interleaved import Runs, blocking, compile_ahead
from pippin.assay.refusals import attempted
from pippin.assay.timing import Clock, median_interval, seconds_per_call

COPY_SIZES = (4096, 2**20, 2**26)
# Copies on their way at once: as many as fill this, within these bounds.
_BYTES_ON_THE_WAY, _FEWEST, _MOST = 2**27, 2, 64


@dataclass(frozen=True)
class Timed:
    """A median of seconds with the ends of its 95 % interval, None with fewer than six repeats."""

    seconds: float
    low: float | None
    high: float | None
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Timed:
        return cls(*median_interval(values), len(values))


@dataclass(frozen=True)
class Copied:
    """One of many copies that are under way together, and one alone from its call until it is there."""

    one: Timed
    latency_seconds: float


def measure_copies(
    sizes: Sequence[int] = COPY_SIZES, *, seconds_each: float = 0.2, clock: Clock = time.perf_counter
) -> dict[int, Copied | str]:
    """Copies of host arrays to the first local device, by bytes, or why the device refused them. On a CPU
    both are the same memory."""
    return {size: attempted(partial(_copied, size, seconds_each, clock)) for size in sizes}


def _copied(size: int, seconds: float, clock: Clock) -> Copied:
    device = jax.local_devices()[0]
    # A CPU takes an aligned array of the host as it is. One that is not it copies, as it would a batch.
    odd = int(device.platform == "cpu")
    host = np.random.default_rng(0).integers(0, 255, size + odd, np.uint8)[odd:]

    def copy() -> Any:
        return jax.device_put(host, device)

    together = burst(copy, min(_MOST, max(_FEWEST, _BYTES_ON_THE_WAY // size)))
    one = Timed.of(seconds_per_call(together, seconds, clock=clock))
    alone = seconds_per_call(blocking(copy), seconds / 2, clock=clock)
    return Copied(one, median_interval(alone)[0])


def burst(call: Callable[[], Any], most: int) -> Runs:
    """Calls that follow one another without waiting, at most so many under way at once; the last ones are
    waited for."""

    def run(calls: int) -> None:
        under_way: deque[Any] = deque()
        for _ in range(calls):
            if len(under_way) == most:
                jax.block_until_ready(under_way.popleft())
            under_way.append(call())
        jax.block_until_ready(list(under_way))

    return run


def launch() -> Runs:
    """A program of one addition, from its call to its result: nothing but launching."""
    one = jax.device_put(np.float32(1), jax.local_devices()[0])
    return compile_ahead(lambda x: x + jnp.float32(1), one)


def measure_launch(*, seconds: float = 0.2, clock: Clock = time.perf_counter) -> Timed | str:
    """The latency of that, or why the device refused it."""
    return attempted(lambda: Timed.of(seconds_per_call(launch(), seconds, clock=clock)))
