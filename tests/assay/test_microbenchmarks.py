"""The arithmetic of the microbenchmarks with a clock that obeys, and one small real run."""

import dataclasses
import inspect

import jax
import pytest

from pippin.assay import microbenchmarks
from pippin.assay.findings import Unknown
from pippin.assay.microbenchmarks import (
    MatmulRate,
    best_rate,
    large_squares,
    last_level_cache_bytes,
    matmul_rate,
    measure_matmul,
    measure_memory_bandwidth,
    triad_array_bytes,
    triad_method,
)
from pippin.assay.rates import bandwidth_section
from pippin.report.sections import MemoryBandwidth

MIB = 2**20


class FakeKernel:
    """Takes `call_seconds` a call, by its own clock."""

    def __init__(self, call_seconds: float) -> None:
        self.now = 0.0
        self.call_seconds = call_seconds

    def clock(self) -> float:
        return self.now

    def run(self, calls: int) -> None:
        self.now += calls * self.call_seconds


def test_matmul_rate_counts_two_flops_a_multiply_add():
    rate = matmul_rate("float32", (2, 3, 5), [0.5, 0.25, 1.0, 0.5, 0.5, 0.5])
    assert rate == MatmulRate("float32", 2, 3, 5, 120.0, 60.0, 240.0, 6)
    few = matmul_rate("float32", (2, 3, 5), [0.5])
    assert (few.flops_per_second, few.low, few.high, few.repeats) == (120.0, None, None, 1)
    assert "1 of 6" in few.reason


def test_best_rate():
    rates = [
        MatmulRate("bfloat16", 1, 1, 1, 5.0, 4.0, 6.0, 9),
        MatmulRate("bfloat16", 2, 2, 2, 7.0, 6.0, 8.0, 9),
        MatmulRate("float32", 2, 2, 2, 9.0, 8.0, 9.5, 9),
        MatmulRate("float16", 2, 2, 2, None, None, None, 0, "not here"),
    ]
    assert best_rate(rates, "bfloat16") is rates[1]
    assert best_rate(rates, "float16") is None
    assert best_rate(rates, "int8") is None
    assert best_rate([], "float32") is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_real_product(dtype):
    calls = []
    rates = measure_matmul(
        [dtype],
        [(32, 64, 16), (16, 16, 16), (32, 64, 16)],
        seconds_each=0.15,
        progress=lambda *told: calls.append(told),
    )
    assert [(rate.m, rate.k, rate.n) for rate in rates] == [(32, 64, 16), (16, 16, 16)]
    for rate in rates:
        assert rate.dtype == dtype and rate.repeats >= 1
        assert 0 < rate.flops_per_second < 1e18
    assert calls == [(0, 2, f"{dtype} 32 x 64 x 16"), (1, 2, f"{dtype} 16 x 16 x 16"), (2, 2, "")]
    with pytest.raises(dataclasses.FrozenInstanceError):
        rates[0].repeats = 0


def test_the_kernel_computes_the_product_in_place():
    captured = {}

    def capture(kernel, output, *inputs):
        captured.update(kernel=kernel, output=output, inputs=inputs)
        return lambda calls: None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(microbenchmarks, "_in_place", capture)
        microbenchmarks._product("bfloat16", (48, 32, 24))
    left, right = captured["inputs"]
    assert (left.shape, right.shape) == ((48, 32), (32, 24))
    assert abs(float(left.astype("float32").std()) - 1) < 0.1
    assert not (left[:24, :24] == right[:24, :24]).all()

    result = captured["kernel"](captured["output"], left, right)
    assert result.dtype == "float32" and result.shape == (48, 24)
    assert float(abs(result - left.astype("float32") @ right.astype("float32")).max()) < 0.2


def test_repeats_reuse_the_output_memory():
    """Else each repeat would also pay for fresh pages."""
    inputs = jax.numpy.ones((256, 256), "float32")
    run = microbenchmarks._in_place(lambda _, values: values + 1, jax.numpy.zeros_like(inputs), inputs)

    def output() -> jax.Array:
        return inspect.getclosurevars(run).nonlocals["output"]

    run(1)
    first, address = output(), output().unsafe_buffer_pointer()
    run(3)
    assert first.is_deleted()
    assert output().unsafe_buffer_pointer() == address
    assert (output() == 2).all()


def test_what_the_backend_lacks_is_absent_with_a_reason():
    unknown, wide, plain = measure_matmul(["float3", "float64", "float32"], [(8, 8, 8)], seconds_each=0.01)
    assert unknown.flops_per_second is None and unknown.repeats == 0 and "float3" in unknown.reason
    assert wide.flops_per_second is None and "float64 into float32" in wide.reason
    assert plain.flops_per_second > 0


def test_an_error_of_the_backend_is_one_short_line(monkeypatch):
    def fail(dtype, shape):
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: no fp8 here\n" + "details\n" * 100)

    monkeypatch.setattr(microbenchmarks, "_product", fail)
    (rate,) = measure_matmul(["float8_e4m3fn"], [(8, 8, 8)])
    assert rate.reason == "UNIMPLEMENTED: no fp8 here"


def test_large_squares_are_square():
    for m, k, n in large_squares():
        assert m == k == n >= 1024


def test_a_real_triad():
    bandwidth = measure_memory_bandwidth(array_bytes=2 * MIB + 3, seconds=0.1)
    assert bandwidth.array_bytes == 2 * MIB
    assert 0 < bandwidth.bytes_per_second < 1e15
    assert bandwidth.repeats >= 1 and "triad" in bandwidth.method and "2 MB" in bandwidth.method


def test_the_triad_counts_three_arrays(monkeypatch):
    kernel = FakeKernel(0.125)
    monkeypatch.setattr(microbenchmarks, "_triad", lambda elements: kernel.run)
    bandwidth = measure_memory_bandwidth(array_bytes=400, seconds=2, clock=kernel.clock)
    assert bandwidth.bytes_per_second == bandwidth.low == bandwidth.high == 3 * 400 / 0.125
    slow = FakeKernel(10)
    monkeypatch.setattr(microbenchmarks, "_triad", lambda elements: slow.run)
    bandwidth = measure_memory_bandwidth(array_bytes=400, seconds=1, clock=slow.clock)
    assert bandwidth.low is None and "1 of 6" in bandwidth.reason


def test_a_bandwidth_that_the_device_refuses_is_absent_with_the_reason(monkeypatch):
    def refuse(elements):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room\ndetails")

    monkeypatch.setattr(microbenchmarks, "_triad", refuse)
    bandwidth = measure_memory_bandwidth(array_bytes=400)
    assert (bandwidth.bytes_per_second, bandwidth.low, bandwidth.high) == (None, None, None)
    unknown = Unknown()
    section = MemoryBandwidth.model_validate(bandwidth_section(bandwidth, unknown))
    assert section.array_bytes == 400 and "triad" in str(section.method)
    why = "RESOURCE_EXHAUSTED: no room"
    assert unknown == {f"memory_bandwidth.{name}": why for name in ("bytes_per_second", "low", "high")}


def test_triad_array_bytes():
    gib = 1024 * MIB
    assert triad_array_bytes(64 * gib, 480 * MIB) == gib  # four times the cache would be too much
    assert triad_array_bytes(64 * gib, 32 * MIB) == 128 * MIB
    assert triad_array_bytes(64 * gib, 4 * MIB) == 64 * MIB
    assert triad_array_bytes(4 * gib, 480 * MIB) == 256 * MIB  # a sixteenth of the memory
    assert triad_array_bytes(64 * gib, None) == gib
    assert triad_array_bytes(None, None) == 256 * MIB


def test_the_method_says_what_part_the_cache_has():
    assert "cache size not known" in triad_method(10, None)
    assert "partly a rate of the cache" in triad_method(480 * MIB, 480 * MIB)
    assert "some of it may come from the cache" in triad_method(481 * MIB, 480 * MIB)
    enough = triad_method(128 * MIB, 32 * MIB)
    assert enough.endswith("4.0 times the last-level cache of 34 MB")
    assert "two reads and one write" in enough and "write-allocate traffic not counted" in enough


def test_last_level_cache_sums_over_the_sockets(tmp_path):
    def write(cpu, index, level, size, sharing):
        folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        for name, content in (("level", level), ("size", size), ("shared_cpu_list", sharing)):
            (folder / name).write_text(f"{content}\n")

    for cpu in range(4):
        write(cpu, 0, 1, "48K", cpu)
        write(cpu, 1, 2, "2048K", cpu)
        write(cpu, 2, 3, "32768K", "0-1" if cpu < 2 else "2-3")
    (tmp_path / "cpu9" / "cache" / "index0").mkdir(parents=True)  # a CPU that tells nothing
    assert last_level_cache_bytes(tmp_path) == 2 * 32 * MIB
    assert last_level_cache_bytes(tmp_path / "none") is None
