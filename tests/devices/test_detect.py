"""The chip as JAX shows it, with devices made for the test and with the real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pippin.devices import detect
from pippin.devices.cpu import Host
from pippin.devices.detect import describe

HOST = Host(
    "Test CPU", cores=8, physical_cores=4, simd=("avx2",), memory_bytes=2**34, unknown={"name": "why"}
)


def fake(
    platform: str,
    device_kind: str,
    *,
    version: str = "",
    stats: dict[str, int] | Exception | None = None,
    process: int = 0,
    **more: Any,
) -> SimpleNamespace:
    def memory_stats() -> dict[str, int] | None:
        if isinstance(stats, Exception):
            raise stats
        return stats

    client = SimpleNamespace(platform_version=version, process_index=lambda: 0)
    return SimpleNamespace(
        platform=platform,
        device_kind=device_kind,
        client=client,
        process_index=process,
        memory_stats=memory_stats,
        **more,
    )


@pytest.mark.parametrize(
    ("platform", "version", "expected"),
    [
        ("cpu", "cpu", "cpu"),
        ("gpu", "PJRT C API\ncuda 12080", "cuda"),
        ("gpu", "PJRT C API\nrocm 60300", "rocm"),
        ("gpu", "something else", "gpu"),
        ("cuda", "", "cuda"),
        ("tpu", "libtpu", "tpu"),
        ("neuron", "", "neuron"),
        ("METAL", "", "metal"),
    ],
)
def test_platform_names(platform: str, version: str, expected: str) -> None:
    assert describe([fake(platform, "kind", version=version)], HOST).platform == expected


def test_a_cpu_is_the_host(tmp_path: Path) -> None:
    chip = describe([fake("cpu", "cpu", num_cores=3)] * 2, HOST, tmp_path)
    assert (chip.name, chip.cores, chip.physical_cores, chip.simd) == ("Test CPU", 8, 4, ("avx2",))
    assert (chip.memory_bytes, chip.num_devices, chip.cores_per_device) == (2**34, 2, None)
    assert chip.unknown == {"name": "why"}


def test_a_gpu_has_its_own_name_and_memory(tmp_path: Path) -> None:
    chip = describe(
        [fake("gpu", "NVIDIA H200", version="cuda 12", stats={"bytes_limit": 10**11})] * 8, HOST, tmp_path
    )
    assert (chip.name, chip.device_kind, chip.platform) == ("NVIDIA H200", "NVIDIA H200", "cuda")
    assert (chip.num_devices, chip.memory_bytes, chip.simd, chip.cores) == (8, 10**11, (), 8)
    assert chip.unknown == {}


@pytest.mark.parametrize("stats", [None, {}, RuntimeError("UNIMPLEMENTED")])
def test_unknown_memory_has_a_reason(tmp_path: Path, stats: dict[str, int] | Exception | None) -> None:
    chip = describe([fake("tpu", "TPU v4", stats=stats, num_cores=2)], HOST, tmp_path)
    assert chip.memory_bytes is None
    assert chip.unknown["memory_bytes"] == "the tpu runtime gives no memory statistics"
    assert chip.cores_per_device == 2


def test_neuron_is_named_by_its_driver(tmp_path: Path) -> None:
    device = fake("neuron", "NC_v2")
    assert describe([device], HOST, tmp_path).name == "NC_v2"
    folder = tmp_path / "sys/devices/virtual/neuron_device/neuron0/info/architecture"
    folder.mkdir(parents=True)
    (folder / "device_name").write_text("Inferentia2\n")
    (folder / "instance_type").write_text("Inf2\n")
    chip = describe([device], HOST, tmp_path)
    assert (chip.name, chip.variant) == ("Inferentia2 (NC_v2)", "Inf2")


def test_memory_is_asked_of_an_own_device(tmp_path: Path) -> None:
    """Another process's device answers no questions."""
    other = fake("tpu", "TPU v4", stats=RuntimeError("not addressable"), process=1)
    own = fake("tpu", "TPU v4", stats={"bytes_limit": 5})
    assert describe([other, own], HOST, tmp_path).memory_bytes == 5


def test_the_real_machine() -> None:
    chip = detect()
    assert chip.num_devices >= 1 and chip.cores >= 1 and chip.name
    assert (chip.memory_bytes is None) == ("memory_bytes" in chip.unknown)
    assert (chip.physical_cores is None) == ("physical_cores" in chip.unknown)


def test_jax_is_imported_only_to_detect() -> None:
    code = "import sys, pippin.devices; pippin.devices.find_meter('cpu'); sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
