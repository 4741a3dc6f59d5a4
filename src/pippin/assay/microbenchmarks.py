"""What one device sustains: the matrix-product rate of each dtype, and the memory bandwidth.

Everything runs on the first local device. Kernels write into a donated buffer, so that a repeat allocates
nothing, touches no fresh page and cannot overlap the one before it. Inputs are random arguments: nothing is
constant-folded, and the power drawn is that of real data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pippin.assay.timing import Clock, median_interval, seconds_per_call, why_no_interval
from pippin.devices import compile_program
from pippin.errors import first_line

Shape = tuple[int, int, int]

_GIB = 2**30
_RANDOM_BLOCK = 2**18
# What JAX raises for a dtype, shape or size that the backend does not run.
_UNSUPPORTED = (jax.errors.JaxRuntimeError, NotImplementedError, TypeError, ValueError, MemoryError)


@dataclass(frozen=True)
class MatmulRate:
    """The rate of a [m, k] x [k, n] product with float32 output, at 2 m k n FLOP.

    Args:
        dtype: of the inputs.
        m: rows of the left input.
        k: the contracted dimension.
        n: columns of the right input.
        flops_per_second: median over the repeats; None where the backend does not run it.
        low: lower end of the median's 95 % interval; None with fewer than six repeats.
        high: its upper end.
        repeats: how many were timed.
        reason: why a number above is None.
    """

    dtype: str
    m: int
    k: int
    n: int
    flops_per_second: float | None
    low: float | None
    high: float | None
    repeats: int
    reason: str | None = None


@dataclass(frozen=True)
class Bandwidth:
    """Memory bandwidth by the triad a = b + s * c in float32: two reads and one write an element.

    Args:
        bytes_per_second: median over the repeats; None where the backend does not run it.
        low: lower end of the median's 95 % interval; None with fewer than six repeats.
        high: its upper end.
        repeats: how many were timed.
        array_bytes: size of each of the three arrays.
        method: what was done, in words, and whether caches take part.
        reason: why a number above is None.
    """

    bytes_per_second: float | None
    low: float | None
    high: float | None
    repeats: int
    array_bytes: int
    method: str
    reason: str | None = None


def measure_matmul(
    dtypes: Sequence[str],
    shapes: Sequence[Shape] | None = None,
    *,
    seconds_each: float = 0.5,
    progress: Callable[[int, int, str], None] | None = None,
    clock: Clock = time.perf_counter,
) -> list[MatmulRate]:
    """Measures every dtype at every shape.

    Products run at JAX's default precision, as in training: on GPUs "float32" may be TF32, on TPUs a bfloat16
    pass. The output is float32 whatever the inputs are; CPUs with AMX are far slower with bfloat16 output.

    Args:
        dtypes: of the inputs, by JAX's names ("float32", "bfloat16", "float16", "float8_e4m3fn").
        shapes: (m, k, n) each; by default `large_squares()`. Repeated shapes are measured once.
        seconds_each: time for one dtype at one shape, compilation aside.
        progress: called with the number measured, the number in all, and what comes next ("" at the end).
        clock: monotonic seconds.

    Returns:
        One rate for each dtype and shape. What the backend does not run has no rate but a reason.
    """
    cases = [(dtype, shape) for dtype in dtypes for shape in dict.fromkeys(shapes or large_squares())]
    rates = []
    for index, (dtype, shape) in enumerate(cases):
        if progress:
            progress(index, len(cases), f"{dtype} {shape[0]} x {shape[1]} x {shape[2]}")
        try:
            run = _product(dtype, shape)
            seconds = seconds_per_call(run, seconds_each, clock=clock)
        except _UNSUPPORTED as error:
            rates.append(MatmulRate(dtype, *shape, None, None, None, 0, first_line(error)))
        else:
            rates.append(matmul_rate(dtype, shape, seconds))
    if progress:
        progress(len(cases), len(cases), "")
    return rates


def best_rate(rates: Sequence[MatmulRate], dtype: str) -> MatmulRate | None:
    """The fastest of the dtype's rates, or None where it has none."""
    known = [(rate.flops_per_second, rate) for rate in rates if rate.dtype == dtype and rate.flops_per_second]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def matmul_rate(dtype: str, shape: Shape, seconds: Sequence[float]) -> MatmulRate:
    """The rate from the seconds of single products."""
    m, k, n = shape
    median, low, high = median_interval([2 * m * k * n / value for value in seconds])
    return MatmulRate(dtype, m, k, n, median, low, high, len(seconds), why_no_interval(len(seconds)))


def large_squares(memory_bytes: int | None = None) -> tuple[Shape, ...]:
    """Square products large enough for a device's best rate, small enough for its memory.

    Args:
        memory_bytes: the device's memory; 4 GiB are assumed where it is not known.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return ((1024, 1024, 1024), (2048, 2048, 2048))
    # Three float32 arrays of 8192^2 take 0.8 GB; at most an eighth of the memory is used.
    memory = memory_bytes or 4 * _GIB
    side = next(side for side in (8192, 4096, 2048, 1024) if 12 * side**2 <= memory / 8 or side == 1024)
    return ((side, side, side),)


def measure_memory_bandwidth(
    *,
    memory_bytes: int | None = None,
    array_bytes: int | None = None,
    seconds: float = 1.0,
    clock: Clock = time.perf_counter,
) -> Bandwidth:
    """Measures the triad on the first local device.

    Args:
        memory_bytes: the device's memory; None where it is not known.
        array_bytes: size of each of the three arrays, at least 4; by default four times the last-level cache
            (the rule of the STREAM benchmark), within a sixteenth of the memory and 1 GiB.
        seconds: time to repeat for; filling the arrays comes on top.
        clock: monotonic seconds.
    """
    device = jax.local_devices()[0]
    cache_bytes = last_level_cache_bytes() if device.platform == "cpu" else None
    if array_bytes is None:
        array_bytes = triad_array_bytes(memory_bytes, cache_bytes)
    elements = array_bytes // 4
    array_bytes = 4 * elements
    method = triad_method(array_bytes, cache_bytes)
    try:
        timed = seconds_per_call(_triad(elements), seconds, clock=clock)
    except _UNSUPPORTED as error:
        return Bandwidth(None, None, None, 0, array_bytes, method, first_line(error))
    median, low, high = median_interval([3 * array_bytes / value for value in timed])
    return Bandwidth(median, low, high, len(timed), array_bytes, method, why_no_interval(len(timed)))


def triad_array_bytes(memory_bytes: int | None, cache_bytes: int | None) -> int:
    """Four times the cache and at least 64 MiB, within a sixteenth of the memory and 1 GiB."""
    largest = min(_GIB, memory_bytes // 16) if memory_bytes else _GIB // 4
    return min(max(4 * cache_bytes, _GIB // 16), largest) if cache_bytes else largest


def triad_method(array_bytes: int, cache_bytes: int | None) -> str:
    """Says how the bandwidth was measured and what part the caches have in it."""
    triad = (
        f"triad a = b + s * c, three float32 arrays of {array_bytes / 1e6:,.0f} MB, two reads and one write"
        " counted, write-allocate traffic not counted"
    )
    if cache_bytes is None:
        return f"{triad}; cache size not known"
    times = f"{array_bytes / cache_bytes:.1f} times the last-level cache of {cache_bytes / 1e6:,.0f} MB"
    if array_bytes <= cache_bytes:
        return f"{triad}; each array is {times}: partly a rate of the cache, not of the memory"
    if array_bytes < 4 * cache_bytes:
        return f"{triad}; each array is only {times}: some of it may come from the cache"
    return f"{triad}; each array is {times}"


def last_level_cache_bytes(root: Path = Path("/sys/devices/system/cpu")) -> int | None:
    """All last-level caches of this machine's CPUs together, as Linux reports them; None elsewhere."""
    caches: dict[tuple[int, str], int] = {}
    for folder in root.glob("cpu[0-9]*/cache/index*"):
        try:
            level, size, sharing = (
                (folder / name).read_text().strip() for name in ("level", "size", "shared_cpu_list")
            )
            kibibytes = int(size.removesuffix("K"))
            caches[int(level), sharing] = 1024 * kibibytes
        except (OSError, ValueError):  # a virtual machine may leave out a file or its content
            continue
    last = max((level for level, _ in caches), default=0)
    return sum(size for (level, _), size in caches.items() if level == last) or None


def _product(dtype: str, shape: Shape) -> Callable[[int], None]:
    """A compiled product of random inputs."""
    m, k, n = shape
    left, right = _random((m, k), dtype, seed=0), _random((k, n), dtype, seed=1)

    def product(_: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
        return jnp.matmul(left, right, preferred_element_type=jnp.float32)

    return _in_place(product, _random((m, n), "float32", seed=2), left, right)


def _triad(elements: int) -> Callable[[int], None]:
    """A compiled triad of random arrays."""
    output, first, second = (_random((elements,), "float32", seed=seed) for seed in range(3))

    def triad(_: jax.Array, first: jax.Array, second: jax.Array, factor: jax.Array) -> jax.Array:
        return first + factor * second

    factor = jax.device_put(np.float32(1.5), jax.local_devices()[0])
    return _in_place(triad, output, first, second, factor)


def _random(shape: tuple[int, ...], dtype: str, *, seed: int) -> jax.Array:
    """Normal numbers on the device: one block over and over, since drawing them all would take seconds."""
    size = math.prod(shape)
    drawn = np.random.default_rng(seed).standard_normal(min(size, _RANDOM_BLOCK), np.float32)
    block = jax.device_put(drawn.astype(jnp.dtype(dtype)), jax.local_devices()[0])
    if block.dtype != jnp.dtype(dtype):
        raise TypeError(f"JAX turns {dtype} into {block.dtype}")
    repeats = math.ceil(size / len(drawn))

    def fill(block: jax.Array) -> jax.Array:
        return jnp.tile(block, repeats)[:size].reshape(shape)

    filled: jax.Array = jax.jit(fill)(block)
    return filled


def _in_place(kernel: Callable[..., jax.Array], output: jax.Array, *inputs: Any) -> Callable[[int], None]:
    """Calls that each write into the memory of the one before; `kernel` takes that as its first argument."""
    jitted = jax.jit(kernel, donate_argnums=0, keep_unused=True)
    compiled = compile_program(jitted.lower(output, *inputs))

    def run(calls: int) -> None:
        nonlocal output
        for _ in range(calls):
            output = compiled(output, *inputs)
        output.block_until_ready()

    return run
