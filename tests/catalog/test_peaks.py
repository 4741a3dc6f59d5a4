"""The peak of one device, and which number format it is for."""

from __future__ import annotations

import pytest

from pippin.catalog import find_chip, load_chips, peak, why_no_peak


def _peak_of(platform: str, kind: str, dtype: str, **more: str) -> tuple[float, str] | None:
    chip = find_chip(kind, platform)
    assert chip is not None
    found = peak(chip, dtype, **more)  # type: ignore[arg-type]
    return (found.tflops, found.dtype) if found else None


@pytest.mark.parametrize(
    ("platform", "kind", "dtype", "expected"),
    [
        ("cuda", "NVIDIA H100 80GB HBM3", "bfloat16", (989, "bfloat16")),
        ("cuda", "NVIDIA H100 80GB HBM3", "float32", (494.5, "tf32")),
        ("cuda", "NVIDIA H100 80GB HBM3", "float8_e4m3fn", (1979, "float8")),
        ("cuda", "NVIDIA A100-SXM4-80GB", "float32", (156, "tf32")),
        ("cuda", "NVIDIA A100-SXM4-80GB", "float8", None),
        ("rocm", "AMD Instinct MI300X", "float32", None),
        ("tpu", "TPU v5 lite", "float32", (197, "bfloat16")),
        ("tpu", "TPU7x", "bfloat16", (2307 / 2, "bfloat16")),
        ("neuron", "NC_v2", "bfloat16", (95, "bfloat16")),
        ("neuron", "NC_v3", "bfloat16", (667 / 8, "bfloat16")),
        ("neuron", "NC_v3d", "bfloat16", (667 / 4, "bfloat16")),
        ("neuron", "NC_v3d", "float32", (181 / 4, "float32")),
        ("cuda", "NVIDIA H200", "int4", None),
    ],
)
def test_peak_of_one_device(platform: str, kind: str, dtype: str, expected: tuple[float, str] | None) -> None:
    assert _peak_of(platform, kind, dtype) == expected


def test_full_precision_has_another_peak() -> None:
    assert _peak_of("cuda", "NVIDIA H100 80GB HBM3", "float32", precision="highest") == (67, "float32")
    assert _peak_of("tpu", "TPU v5p", "float32", precision="highest") is None


def test_a_peak_carries_its_basis() -> None:
    chip = find_chip("NC_v3d", "neuron")
    assert chip is not None
    found = peak(chip, "bfloat16")
    assert found is not None
    assert found.source == "AWS Neuron docs trainium2.rst; ml-engineering same"
    assert found.date.isoformat() == "2026-11-22"
    assert (found.unit, found.devices_per_chip) == ("core", 4)


def test_every_peak_has_a_source() -> None:
    for chip in load_chips().values():
        for dtype in ("float32", "tf32", "bfloat16", "float8"):
            found = peak(chip, dtype)
            assert (found is not None and found.source != "") or why_no_peak(chip, dtype)


def test_reasons_for_no_peak() -> None:
    chips = load_chips()
    assert (
        why_no_peak(None, "bfloat16", device_kind="this CPU") == "no rated peak for this CPU in the catalog"
    )
    assert why_no_peak(chips["mi300x"], "float32").startswith("the catalog does not know in which format")
    assert why_no_peak(chips["a100_40"], "float8") == "the catalog has no float8 peak for A100 SXM 40GB"
