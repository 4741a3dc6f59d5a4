"""The chip that JAX runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pippin.devices.cpu import Host, read_host
from pippin.devices.limits import read_text


@dataclass(frozen=True)
class Chip:
    """The chip at hand. A field that could not be found has its reason in `unknown`, under its name.

    `cores`, `physical_cores` are the host's, as far as this process may use them; `simd` is a CPU's only.
    `memory_bytes` is what the program may use: per device on an accelerator, of the machine on a CPU.
    `cores_per_device` and `variant` are clues for `catalog.find_chip`.
    """

    name: str
    platform: str
    device_kind: str
    num_devices: int
    cores: int
    physical_cores: int | None
    simd: tuple[str, ...]
    memory_bytes: int | None
    cores_per_device: int | None = None
    variant: str | None = None
    unknown: dict[str, str] = field(default_factory=dict)


def normalise_platform(device: Any) -> str:
    """One of "cpu", "cuda", "rocm", "tpu", "neuron", or JAX's own word in lower case.

    JAX calls every GPU "gpu"; the version string of its client tells the makers apart.
    """
    name = str(device.platform).lower()
    if name != "gpu":
        return name
    version = str(getattr(device.client, "platform_version", "")).lower()
    return next((maker for maker in ("cuda", "rocm", "oneapi") if maker in version), "gpu")


def _memory_bytes(device: Any) -> int | None:
    """Memory JAX may use of a device: on GPUs the share it reserves, by default three quarters."""
    try:
        stats = device.memory_stats() or {}
    except RuntimeError:  # some plugins do not implement it
        return None
    limit = stats.get("bytes_limit") or stats.get("bytes_reservable_limit")
    return int(limit) if limit else None


def _tpu_cores(device: Any) -> int | None:
    cores = getattr(device, "num_cores", None)
    return int(cores) if cores else None


def _neuron_clues(root: Path) -> tuple[str | None, str | None]:
    """Device name ("Trainium2") and instance family ("Trn2") from the Neuron driver.

    Source: AWS Neuron sysfs user guide, `info/architecture`. Where a driver keeps them elsewhere, as
    version 2.31 may, the clues are None and the device's kind has to do.
    """
    folder = root / "sys/devices/virtual/neuron_device/neuron0/info/architecture"
    return read_text(folder / "device_name") or None, read_text(folder / "instance_type") or None


def describe(devices: Sequence[Any], host: Host, root: Path = Path("/")) -> Chip:
    """The chip behind JAX devices of one kind.

    Args:
        devices: JAX devices, at least one; the first that this process owns stands for all.
        host: the machine they are attached to.
        root: where `sys` lies.
    """
    device = next((each for each in devices if each.process_index == each.client.process_index()), devices[0])
    platform = normalise_platform(device)
    unknown = dict(host.unknown)
    name, simd, memory_bytes, variant = host.name, host.simd, host.memory_bytes, None
    if platform != "cpu":
        for key in ("name", "simd", "memory_bytes"):
            unknown.pop(key, None)
        name, simd, memory_bytes = device.device_kind, (), _memory_bytes(device)
        if memory_bytes is None:
            unknown["memory_bytes"] = f"the {platform} runtime gives no memory statistics"
    if platform == "neuron":
        product, variant = _neuron_clues(root)
        name = f"{product} ({device.device_kind})" if product else name
    return Chip(
        name=name,
        platform=platform,
        device_kind=device.device_kind,
        num_devices=len(devices),
        cores=host.cores,
        physical_cores=host.physical_cores,
        simd=simd,
        memory_bytes=memory_bytes,
        cores_per_device=_tpu_cores(device) if platform == "tpu" else None,
        variant=variant,
        unknown=unknown,
    )


def detect(root: Path = Path("/")) -> Chip:
    """The chip that JAX uses by default, with all its devices."""
    import jax

    return describe(jax.devices(), read_host(root), root)
