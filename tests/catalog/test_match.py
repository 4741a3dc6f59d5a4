"""A device is found exactly or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pippin.catalog import find_chip, load_chips
from pippin.catalog.match import DeviceKind, load_kinds

KNOWN = [
    ("cuda", "NVIDIA A100-SXM4-40GB", "a100_40", 1),
    ("cuda", "NVIDIA A100-SXM4-80GB", "a100_80", 1),
    ("cuda", "NVIDIA H100 80GB HBM3", "h100_sxm", 1),
    ("cuda", "NVIDIA H200", "h200_sxm", 1),
    ("cuda", "NVIDIA B200", "b200_sxm", 1),
    ("cuda", "NVIDIA GB200", "gb200_nvl72", 1),
    ("cuda", "NVIDIA B300 SXM6 AC", "b300_sxm", 1),
    ("cuda", "NVIDIA GB300", "gb300_nvl72", 1),
    ("rocm", "AMD Instinct MI300X", "mi300x", 1),
    ("rocm", "AMD Instinct MI325X", "mi325x", 1),
    ("rocm", "AMD Instinct MI355X", "mi355x", 1),
    ("tpu", "TPU v4", "tpu_v4", 1),
    ("tpu", "TPU v5 lite", "tpu_v5e", 1),
    ("tpu", "TPU v5e", "tpu_v5e", 1),
    ("tpu", "TPU v5", "tpu_v5p", 1),
    ("tpu", "TPU v5p", "tpu_v5p", 1),
    ("tpu", "TPU v6 lite", "tpu_v6e", 1),
    ("tpu", "TPU v6e", "tpu_v6e", 1),
    ("tpu", "TPU7x", "tpu_v7x", 2),
    ("neuron", "NC_v2", "trn1", 2),
    ("neuron", "NC_v3", "trn2", 8),
    ("neuron", "NC_v3d", "trn2", 4),
]
STRANGERS = [
    ("cuda", "NVIDIA H100 PCIe"),
    ("cuda", "NVIDIA H100 NVL"),
    ("cuda", "NVIDIA H200 NVL"),
    ("cuda", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"),
    ("cuda", "NVIDIA A100-PCIE-40GB"),
    ("cuda", "NVIDIA A100 80GB PCIe"),
    ("cuda", "NVIDIA A100-SXM4-40GB MIG 1g.5gb"),
    ("cuda", "NVIDIA A800-SXM4-80GB"),
    ("cuda", "NVIDIA H20"),
    ("cuda", "NVIDIA H800"),
    ("cuda", "NVIDIA GH200 480GB"),
    ("cuda", "NVIDIA GeForce RTX 4090"),
    ("rocm", "AMD Instinct MI300X VF"),
    ("rocm", "AMD Instinct MI308X"),
    ("rocm", "gfx942:sramecc+:xnack-"),
    ("tpu", "TPU v2"),
    ("tpu", "TPU v4 lite"),
    ("neuron", "NC_v1"),
    ("cpu", "cpu"),
    ("cpu", "AMD EPYC"),
    ("tpu", "NVIDIA H200"),
    ("cuda", ""),
]


@pytest.mark.parametrize(("platform", "device_kind", "chip_id", "devices"), KNOWN)
def test_known_devices(platform: str, device_kind: str, chip_id: str, devices: int) -> None:
    chip = find_chip(device_kind, platform)
    assert chip is not None
    assert (chip.chip_id, chip.devices_per_chip) == (chip_id, devices)
    assert chip.unit == ("chip" if devices == 1 else "core")


@pytest.mark.parametrize(("platform", "device_kind"), STRANGERS)
def test_strangers_get_no_chip(platform: str, device_kind: str) -> None:
    assert find_chip(device_kind, platform) is None


@given(known=st.sampled_from(KNOWN), prefix=st.text(max_size=4), suffix=st.text(max_size=4))
def test_nothing_may_stand_around_a_known_name(
    known: tuple[str, str, str, int], prefix: str, suffix: str
) -> None:
    platform, device_kind, *_ = known
    text = f"{prefix}{device_kind}{suffix}"
    names = {name for other, name, *_ in KNOWN if other == platform}
    assert (find_chip(text, platform) is not None) == (text in names)


def test_the_runtime_says_whether_the_cores_of_a_tpu_chip_are_joined() -> None:
    joined, split = (find_chip("TPU v4", "tpu", cores_per_device=cores) for cores in (2, 1))
    assert joined is not None and (joined.unit, joined.devices_per_chip) == ("chip", 1)
    assert split is not None and (split.unit, split.devices_per_chip) == ("core", 2)
    lite = find_chip("TPU v5 lite", "tpu", cores_per_device=1)
    assert lite is not None and (lite.unit, lite.devices_per_chip) == ("chip", 1)


def test_the_driver_tells_inferentia_from_trainium() -> None:
    found = {variant: find_chip("NC_v2", "neuron", variant=variant) for variant in ("Inf2", "Trn1", None)}
    assert {variant: chip and chip.chip_id for variant, chip in found.items()} == {
        "Inf2": "inf2",
        "Trn1": "trn1",
        None: "trn1",
    }
    # Why it is safe to take Trainium without the clue.
    inf2, trn1 = load_chips()["inf2"], load_chips()["trn1"]
    assert inf2.bf16_tflops == trn1.bf16_tflops
    assert inf2.fp32_tflops == trn1.fp32_tflops


def test_every_kind_names_a_chip_and_its_cores() -> None:
    chips = load_chips()
    for kind in load_kinds():
        chip = chips[kind.chip]
        if kind.platform == "tpu":
            assert kind.cores_per_device is not None and chip.cores_per_chip is not None
            assert kind.devices_per_chip * kind.cores_per_device == chip.cores_per_chip
        if kind.platform == "neuron":
            assert chip.cores_per_chip is not None
            assert chip.cores_per_chip % kind.devices_per_chip == 0


def test_a_core_that_is_a_whole_chip_is_refused() -> None:
    entry = load_kinds()[0].model_dump()
    with pytest.raises(ValidationError, match="core exactly where"):
        DeviceKind.model_validate(entry | {"unit": "core"})
