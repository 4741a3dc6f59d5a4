"""Collectives over 1, 2, 4 ... up to all local devices: seconds and the bandwidth of each device's links.

Every device holds an array of the size named. The bandwidth counts the bytes that a device must at least
send in the best algorithm known for full-duplex links (as NCCL's tests do): with n devices and s bytes, of
the larger side, all-reduce 2 s (n-1)/n; all-gather, reduce-scatter and all-to-all s (n-1)/n; permute s.
On virtual devices of one CPU it is a rate of its memory.

A program does one after the other, each on what the one before gave, so that its launch is shared by all;
a program of a single one, from its call to its result, tells the latency. Arrays hold zeros: sums of sums
stay what they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
# A chain moves about so many bytes, within these bounds.
_CHAIN_BYTES, _SHORTEST, _LONGEST = 2**26, 4, 64


@dataclass(frozen=True)
class Collective:
    """One kind over so many devices. `bytes_each` is what a device holds, of all-gather what it ends with.

    `seconds` of one in a chain are the median with the ends of its 95 % interval (None with fewer than six
    repeats), `latency_seconds` the median of one alone from its call to its result. `bytes_per_second` is
    None for one device, which sends nothing; everything is where `reason` says why.
    """

    kind: str
    devices: int
    bytes_each: int
    seconds: float | None
    low: float | None
    high: float | None
    latency_seconds: float | None
    bytes_per_second: float | None
    chained: int
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


def chain_length(size: int) -> int:
    """How many collectives of so many bytes a program does."""
    return min(_LONGEST, max(_SHORTEST, _CHAIN_BYTES // size))


def _measure(kind: str, count: int, size: int, seconds_each: float, clock: Clock) -> Collective:
    length = chain_length(size)
    # A whole number of float32 for each pair of devices.
    elements = max(1, size // 4 // count**2) * count**2
    try:
        timed = seconds_per_call(_program(kind, count, elements, length), seconds_each, clock=clock)
        alone = seconds_per_call(_program(kind, count, elements, 1), seconds_each / 2, clock=clock)
    except (jax.errors.JaxRuntimeError, NotImplementedError, MemoryError) as error:
        return Collective(kind, count, size, None, None, None, None, None, length, 0, first_line(error))
    median, low, high = median_interval([seconds / length for seconds in timed])
    sent = KINDS[kind].share(count) * 4 * elements
    latency = median_interval(alone)[0]
    return Collective(
        kind, count, 4 * elements, median, low, high, latency, sent / median or None, length, len(timed)
    )


def _program(kind: str, count: int, elements: int, length: int) -> Runs:
    """Calls of a compiled chain, each to its result. Every device holds `elements` of the larger side."""
    mesh = Mesh(np.asarray(jax.local_devices()[:count]), (_AXIS,))
    small = kind == "all-gather"
    whole = np.zeros(elements if small else elements * count, np.float32)
    array = jax.device_put(whole, NamedSharding(mesh, PartitionSpec(_AXIS)))

    def chain(x: Array) -> Array:
        def link(x: Array, _: None) -> tuple[Array, None]:
            # No compiler may take several for one, or leave out what of the result goes no further.
            found = lax.optimization_barrier(KINDS[kind].function(x))
            return KINDS[kind].again(x, found), None

        return lax.scan(link, x, None, length=length)[0]

    spec = PartitionSpec(_AXIS)
    function = jax.shard_map(chain, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    return compile_ahead(function, array)


@dataclass(frozen=True)
class _Kind:
    function: Callable[[Array], Array]
    share: Callable[[int], float]  # of the bytes a device holds, what it must send
    # From what went in and what came out to what goes in next, of the same size.
    again: Callable[[Array, Array], Array] = lambda given, found: found


def _permute(x: Array) -> Array:
    count = lax.axis_size(_AXIS)
    moved: Array = lax.ppermute(x, _AXIS, [(place, (place + 1) % count) for place in range(count)])
    return moved


def _others(count: int) -> float:
    return (count - 1) / count


def _part(given: Array, found: Array) -> Array:
    """The first part: copying it is a device's share of what it received."""
    return found[: len(given)]


def _into(given: Array, found: Array) -> Array:
    """In the place of the first part."""
    return lax.dynamic_update_slice_in_dim(given, found, 0, 0)


KINDS = {
    "all-reduce": _Kind(lambda x: lax.psum(x, _AXIS), lambda count: 2 * _others(count)),
    "all-gather": _Kind(lambda x: lax.all_gather(x, _AXIS, tiled=True), _others, _part),
    "reduce-scatter": _Kind(lambda x: lax.psum_scatter(x, _AXIS, tiled=True), _others, _into),
    "all-to-all": _Kind(lambda x: lax.all_to_all(x, _AXIS, 0, 0, tiled=True), _others),
    "permute": _Kind(_permute, lambda count: float(count > 1)),
}
