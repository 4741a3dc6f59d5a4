"""Which rule a chip gets."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.catalog import select_rules
from pippin.catalog.rules import load_rules
from pippin.models.presets import PRESETS

GB = 10**9


@pytest.mark.parametrize(
    ("platform", "simd", "cores", "memory_bytes", "rule_name"),
    [
        ("cpu", ("avx2", "fma"), 2, 8 * GB, "cpu"),
        ("cpu", ("avx512f", "avx512_bf16"), 15, 64 * GB, "cpu-avx512"),
        ("cpu", ("avx512f", "avx512_bf16"), 16, 64 * GB, "cpu-large"),
        ("cpu", ("neon", "sve", "bf16"), 64, 128 * GB, "cpu-large"),
        ("cpu", ("avx512f", "amx_tile", "amx_bf16"), 2, 8 * GB, "cpu-amx"),
        ("cpu", ("amx_tile", "amx_bf16"), 16, None, "cpu-amx-large"),
        ("cpu", ("amx_tile", "amx_int8"), 4, None, "cpu"),
        ("cuda", (), 8, 63 * GB, "gpu-large"),
        ("cuda", (), 8, 40 * GB, "gpu-large"),
        ("cuda", (), 8, 40 * GB - 1, "gpu"),
        ("cuda", (), 8, 9 * GB, "gpu-small"),
        ("cuda", (), 8, None, "gpu"),
        ("rocm", (), 8, 140 * GB, "gpu-large"),
        ("tpu", (), 8, 16 * GB, "tpu"),
        ("tpu", (), 8, 95 * GB, "tpu-large"),
        ("neuron", (), 8, 24 * GB, "neuron"),
        ("neuron", (), 8, None, "neuron"),
        ("neuron", (), 8, 48 * GB, "neuron-large"),
        ("metal", ("neon",), 8, 16 * GB, "generic"),
        ("", (), 0, None, "generic"),
    ],
)
def test_rule(
    platform: str, simd: tuple[str, ...], cores: int, memory_bytes: int | None, rule_name: str
) -> None:
    assert select_rules(platform, simd, cores, memory_bytes).rule_name == rule_name


@pytest.mark.parametrize(
    ("platform", "device_kind", "fnuz"),
    [
        ("rocm", "AMD Instinct MI300X", True),
        ("rocm", "AMD Instinct MI325X", True),
        ("rocm", "AMD Instinct MI355X", False),
        ("cuda", "NVIDIA H100 80GB HBM3", False),
        ("cpu", "cpu", False),
        ("tpu", "TPU v5p", False),
    ],
)
def test_the_fnuz_forms_of_fp8_are_tried_where_a_chip_has_them(
    platform: str, device_kind: str, fnuz: bool
) -> None:
    fp8 = select_rules(platform, (), 8, 140 * GB, device_kind=device_kind).fp8
    assert fp8[:2] == ("float8_e4m3fn", "float8_e5m2")
    assert fp8[2:] == (("float8_e4m3fnuz", "float8_e5m2fnuz") if fnuz else ())
    assert all(jnp.dtype(name).itemsize == 1 for name in fp8)


def test_what_the_rules_choose() -> None:
    chosen = {
        rule.rule_name: (rule.scan_layers, rule.compute_dtype, rule.default_preset)
        for _, rule in load_rules()
    }
    assert chosen == {
        "cpu-amx-large": (False, "bfloat16", "pippin-30m"),
        "cpu-amx": (False, "bfloat16", "pippin-3m"),
        "cpu-large": (False, "float32", "pippin-30m"),
        "cpu-avx512": (False, "float32", "pippin-3m"),
        "cpu": (False, "float32", "pippin-3m"),
        "cuda-before-ampere": (True, "float32", "pippin-125m"),
        "gpu-cdna3": (True, "bfloat16", "pippin-1b"),
        "gpu-large": (True, "bfloat16", "pippin-1b"),
        "gpu-small": (True, "bfloat16", "pippin-125m"),
        "gpu": (True, "bfloat16", "pippin-350m"),
        "tpu-large": (True, "bfloat16", "pippin-1b"),
        "tpu": (True, "bfloat16", "pippin-350m"),
        "neuron-large": (False, "bfloat16", "pippin-1b"),
        "neuron": (False, "bfloat16", "pippin-350m"),
        "generic": (True, "float32", "pippin-3m"),
    }


@pytest.mark.parametrize(
    ("device_kind", "old"),
    [
        ("Tesla V100-SXM2-16GB", True),
        ("Tesla T4", True),
        ("Quadro RTX 6000", True),
        ("NVIDIA TITAN V", True),
        ("NVIDIA GeForce RTX 2080 Ti", True),
        ("NVIDIA GeForce GTX 1080", True),
        ("NVIDIA GeForce RTX 3090", False),
        ("NVIDIA GeForce RTX 4090", False),
        ("NVIDIA RTX 6000 Ada Generation", False),
        ("NVIDIA H100 PCIe", False),
        ("NVIDIA Thor", False),
    ],
)
def test_gpus_without_bfloat16_units_train_in_float32(device_kind: str, old: bool) -> None:
    rules = select_rules("cuda", (), 8, 12 * GB, device_kind=device_kind)
    assert rules.compute_dtype == ("float32" if old else "bfloat16")


def test_every_preset_exists_and_every_rule_says_why() -> None:
    for _, rule in load_rules():
        assert rule.default_preset in PRESETS, rule.rule_name
        assert len(rule.why) > 20


@given(
    platform=st.sampled_from(["cpu", "cuda", "rocm", "tpu", "neuron", "other"]),
    simd=st.sets(st.sampled_from(["avx2", "amx_bf16", "sve"])),
    cores=st.integers(0, 512),
    memory_bytes=st.none() | st.integers(0, 2**40),
    device_kind=st.text(max_size=20),
)
def test_any_chip_gets_a_rule(
    platform: str, simd: set[str], cores: int, memory_bytes: int | None, device_kind: str
) -> None:
    rules = select_rules(platform, simd, cores, memory_bytes, device_kind=device_kind)
    assert rules.prng == "rbg"
    assert (rules.rule_name == "generic") == (platform == "other")


@given(platform=st.sampled_from(["cpu", "cuda", "tpu", "neuron"]), data=st.data())
def test_more_of_a_chip_never_means_a_smaller_model(platform: str, data: st.DataObject) -> None:
    order = list(PRESETS)
    cores = sorted(data.draw(st.tuples(st.integers(1, 256), st.integers(1, 256))))
    memory = sorted(data.draw(st.tuples(st.integers(1, 200 * GB), st.integers(1, 200 * GB))))
    small, large = (
        order.index(select_rules(platform, (), count, size).default_preset)
        for count, size in zip(cores, memory, strict=True)
    )
    assert small <= large


def test_options_of_the_compiler_are_for_what_they_were_measured_on() -> None:
    assert select_rules("cpu", ("avx2", "avx512f"), 2, 8 * GB).compiler_options["xla_cpu_use_onednn"] is True
    for others in (("avx2",), ("neon",), ("avx512f", "amx_bf16")):
        assert select_rules("cpu", others, 2, 8 * GB).compiler_options == {}
    assert select_rules("cpu", ("avx512f",), 16, 8 * GB).compiler_options == {}
    assert select_rules("cuda", (), 2, 80 * GB).compiler_options == {}
