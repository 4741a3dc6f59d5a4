"""What the host takes to hand something to the device: arrays by size, and the launch of a program."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pippin.assay.interleaved import Runs, blocking, compile_ahead
from pippin.assay.timing import Clock, median_interval, seconds_per_call

COPY_SIZES = (4096, 2**20, 2**26)


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


def measure_copies(
    sizes: Sequence[int] = COPY_SIZES, *, seconds_each: float = 0.2, clock: Clock = time.perf_counter
) -> dict[int, Timed]:
    """Copies of host arrays to the first local device, by bytes. On a CPU both are the same memory."""
    device = jax.local_devices()[0]
    found = {}
    for size in sizes:
        # A CPU takes an aligned array of the host as it is. One that is not it copies, as it would a batch.
        odd = int(device.platform == "cpu")
        host = np.random.default_rng(0).integers(0, 255, size + odd, np.uint8)[odd:]
        run = blocking(partial(jax.device_put, host, device))
        found[size] = Timed.of(seconds_per_call(run, seconds_each, clock=clock))
    return found


def launch() -> Runs:
    """A program of one addition, from its call to its result: nothing but launching."""
    one = jax.device_put(np.float32(1), jax.local_devices()[0])
    return compile_ahead(lambda x: x + jnp.float32(1), one)


def measure_launch(*, seconds: float = 0.2, clock: Clock = time.perf_counter) -> Timed:
    """The latency of that."""
    return Timed.of(seconds_per_call(launch(), seconds, clock=clock))
