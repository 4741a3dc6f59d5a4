"""Collectives over 1, 2, 4 ... up to all local devices: seconds and the bandwidth of each device's links.

Every device holds an array of the size named. The bandwidth counts the bytes that a device must at least
send in the best algorithm known for full-duplex links (as NCCL's tests do): with n devices and s bytes, of
the larger side, all-reduce 2 s (n-1)/n; all-gather, reduce-scatter and all-to-all s (n-1)/n; permute s.
On virtual devices of one CPU it is a rate of its memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pippin.assay.interleaved import Runs, compile_ahead
from pippin.assay.timing import Clock, median_interval, seconds_per_call
from pippin.errors import first_line

_AXIS = "devices"
# Latency, and two sizes at which bandwidth counts.
SIZES = (4096, 2**20, 2**25)


@dataclass(frozen=True)
class Collective:
    """One kind over so many devices. `bytes_each` is what a device holds, of all-gather what it ends with.

    Seconds are the median with the ends of its 95 % interval (None with fewer than six repeats);
    `bytes_per_second` is None for one device, which sends nothing, and where `reason` says why.
    """

    kind: str
    devices: int
    bytes_each: int
    seconds: float | None
    low: float | None
    high: float | None
    bytes_per_second: float | None
    repeats: int
    reason: str | None = None


def measure_collectives(
    sizes: Sequence[int] = SIZES, *, seconds_each: float = 0.05, clock: Clock = time.perf_counter
) -> list[Collective]:
    """All kinds, over 1, 2, 4 ... devices and all of them."""
    devices = jax.local_devices()
    counts = sorted({2**power for power in range(len(devices).bit_length())} | {len(devices)})
    return [
        _measure(kind, count, size, seconds_each, clock)
        for kind in KINDS
        for count in counts
        if count <= len(devices)
        for size in sizes
    ]


def _measure(kind: str, count: int, size: int, seconds_each: float, clock: Clock) -> Collective:
    try:
        run, bytes_each = _program(kind, count, size)
        timed = seconds_per_call(run, seconds_each, clock=clock)
    except (jax.errors.JaxRuntimeError, NotImplementedError, MemoryError) as error:
        return Collective(kind, count, size, None, None, None, None, 0, first_line(error))
    median, low, high = median_interval(timed)
    sent = KINDS[kind].share(count) * bytes_each
    return Collective(kind, count, bytes_each, median, low, high, sent / median or None, len(timed))


def _program(kind: str, count: int, size: int) -> tuple[Runs, int]:
    """Calls of the compiled collective, and the bytes that a device holds of the larger side."""
    # A whole number of float32 for each pair of devices.
    elements = max(1, size // 4 // count**2) * count**2
    mesh = Mesh(np.asarray(jax.local_devices()[:count]), (_AXIS,))
    split = NamedSharding(mesh, PartitionSpec(_AXIS))
    small = kind == "all-gather"
    whole = np.ones(elements if small else elements * count, np.float32)
    array = jax.device_put(whole, split)
    function = jax.shard_map(
        KINDS[kind].function,
        mesh=mesh,
        in_specs=PartitionSpec(_AXIS),
        out_specs=PartitionSpec(_AXIS),
        check_vma=False,
    )
    return compile_ahead(function, array), 4 * elements


@dataclass(frozen=True)
class _Kind:
    function: Callable[[Array], Any]
    share: Callable[[int], float]  # of the bytes a device holds, what it must send


def _permute(x: Array) -> Any:
    count = lax.axis_size(_AXIS)
    return lax.ppermute(x, _AXIS, [(place, (place + 1) % count) for place in range(count)])


def _others(count: int) -> float:
    return (count - 1) / count


KINDS = {
    "all-reduce": _Kind(lambda x: lax.psum(x, _AXIS), lambda count: 2 * _others(count)),
    "all-gather": _Kind(lambda x: lax.all_gather(x, _AXIS, tiled=True), _others),
    "reduce-scatter": _Kind(lambda x: lax.psum_scatter(x, _AXIS, tiled=True), _others),
    "all-to-all": _Kind(lambda x: lax.all_to_all(x, _AXIS, 0, 0, tiled=True), _others),
    "permute": _Kind(_permute, lambda count: float(count > 1)),
}
