"""The processor and memory of this machine, from `/proc` and `/sys`, or from sysctl on macOS."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pippin.devices.limits import allowed_cpus, memory_limit_bytes, read_int, read_text, usable_cores

Sysctl = Callable[[str], str | None]

# The sets that bear on matrix products, in the order in which they are listed.
_X86 = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "avx_vnni",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
)
_ARM = {"asimd": "neon", "sve": "sve", "sve2": "sve2", "bf16": "bf16", "i8mm": "i8mm"}
_MACOS = {
    "hw.optional.sse4_2": "sse4_2",
    "hw.optional.avx1_0": "avx",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.fma": "fma",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.neon": "neon",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}

# Arm processors give ids in place of a name. Source: util-linux, sys-utils/lscpu-arm.c.
_ARM_IMPLEMENTERS = {0x41: "Arm", 0x4E: "NVIDIA", 0x61: "Apple", 0xC0: "Ampere"}
_ARM_PARTS = {
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}


@dataclass(frozen=True)
class Host:
    """The processor side of a machine. None and the empty `simd` stand with a reason in `unknown`."""

    name: str
    cores: int
    physical_cores: int | None
    simd: tuple[str, ...]
    memory_bytes: int | None
    unknown: dict[str, str] = field(default_factory=dict)


def _cpuinfo(root: Path) -> list[dict[str, str]]:
    """The blocks of `/proc/cpuinfo`, one a logical CPU."""
    blocks = []
    for block in (read_text(root / "proc/cpuinfo") or "").split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        values = {key.strip(): value.strip() for key, _, value in pairs if key.strip()}
        if values:
            blocks.append(values)
    return blocks


def _arm_name(block: dict[str, str]) -> str | None:
    try:
        implementer, part = int(block["CPU implementer"], 0), int(block["CPU part"], 0)
    except (KeyError, ValueError):
        return None
    maker = _ARM_IMPLEMENTERS.get(implementer, f"implementer {implementer:#x}")
    return _ARM_PARTS.get((implementer, part), f"{maker} part {part:#x}")


def _linux_name(blocks: list[dict[str, str]]) -> str | None:
    # Some Arm kernels print a "model name" too, the architecture's.
    names = [_arm_name(block) or block.get("model name") for block in blocks]
    # A processor with cores of several kinds is named by all of them.
    return " + ".join(dict.fromkeys(name for name in names if name)) or None


def _linux_simd(blocks: list[dict[str, str]]) -> tuple[str, ...]:
    """Sets that every CPU has."""
    flags = [set((block.get("flags") or block.get("Features") or "").split()) for block in blocks]
    common = set.intersection(*[each for each in flags if each]) if any(flags) else set()
    arm = tuple(name for flag, name in _ARM.items() if flag in common)
    return tuple(name for name in _X86 if name in common) or arm


def _linux_physical_cores(root: Path, cpus: frozenset[int]) -> int | None:
    """Distinct cores behind the given logical CPUs."""
    cores = set()
    for cpu in cpus:
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core, package = read_int(folder / "core_id"), read_int(folder / "physical_package_id")
        if core is None or package is None:
            return None
        cores.add((package, core, read_int(folder / "die_id")))
    return len(cores) or None


def _linux_memory_bytes(root: Path) -> int | None:
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key == "MemTotal":
            return int(value.split()[0]) * 1024  # the kernel's "kB" are KiB
    return None


def run_sysctl(key: str) -> str | None:
    """A value of macOS's sysctl; None on other systems and for unknown keys."""
    if platform.system() != "Darwin":
        return None
    result = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=False)
    return result.stdout.strip() or None


def _sysctl_int(sysctl: Sysctl, key: str) -> int | None:
    value = sysctl(key)
    return int(value) if value is not None and value.isdigit() else None


def read_host(
    root: Path = Path("/"), *, cpus: frozenset[int] | None = None, sysctl: Sysctl = run_sysctl
) -> Host:
    """The processor and memory this process may use.

    Args:
        root: where `proc` and `sys` lie.
        cpus: logical CPUs the process may run on; read from the scheduler if not given.
        sysctl: how to ask macOS for a value.
    """
    cpus = allowed_cpus() if cpus is None else cpus
    blocks = _cpuinfo(root)
    cores = usable_cores(root, cpus)
    unknown: dict[str, str] = {}

    name = _linux_name(blocks) or sysctl("machdep.cpu.brand_string")
    if name is None:
        name = platform.processor() or platform.machine() or "unknown processor"
        unknown["name"] = "neither /proc/cpuinfo nor sysctl names the processor model"

    simd = _linux_simd(blocks) or tuple(_MACOS[key] for key in _MACOS if sysctl(key) == "1")
    if not simd:
        unknown["simd"] = "neither /proc/cpuinfo nor sysctl lists known instruction sets"

    physical_cores = _linux_physical_cores(root, cpus) or _sysctl_int(sysctl, "hw.physicalcpu")
    if physical_cores is None:
        unknown["physical_cores"] = "neither /sys/devices/system/cpu nor sysctl gives the cores"

    memory_bytes = _linux_memory_bytes(root) or _sysctl_int(sysctl, "hw.memsize")
    limit_bytes = memory_limit_bytes(root)
    if memory_bytes is None:
        memory_bytes = limit_bytes
    elif limit_bytes is not None:
        memory_bytes = min(memory_bytes, limit_bytes)
    if memory_bytes is None:
        unknown["memory_bytes"] = "neither /proc/meminfo nor sysctl gives the memory"

    # A quota may be less than the cores behind the CPUs that the threads wander over.
    physical_cores = min(physical_cores, cores) if physical_cores is not None else None
    return Host(name, cores, physical_cores, simd, memory_bytes, unknown)
