"""What a machine says about its processor, read from files made for the test."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from pippin.devices.cpu import read_host

EPYC = """\
processor\t: {cpu}
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse4_2 avx avx2 fma avx512f avx512_bf16 avx512_vnni svm {more}

"""
GRAVITON = """\
processor\t: {cpu}
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes crc32 atomics sve svei8mm i8mm bf16 dgh rng
CPU implementer\t: {implementer}
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: {part}
CPU revision\t: 1

"""


def write(root: Path, **files: str) -> Path:
    for path, text in files.items():
        target = root / path.replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root


def write_topology(root: Path, cores: dict[int, tuple[int, int]]) -> None:
    """Package and core number of each logical CPU."""
    for cpu, (package, core) in cores.items():
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
        (folder / "core_id").write_text(f"{core}\n")


def no_sysctl(key: str) -> None:
    return None


def test_x86_server(tmp_path: Path) -> None:
    cpuinfo = "".join(EPYC.format(cpu=cpu, more="avx512_fp16" if cpu == 0 else "") for cpu in range(4))
    write(tmp_path, proc__cpuinfo=cpuinfo, proc__meminfo="MemTotal:       16384000 kB\nMemFree: 1 kB\n")
    write_topology(tmp_path, {0: (0, 0), 1: (0, 1), 2: (0, 0), 3: (0, 1)})
    host = read_host(tmp_path, cpus=frozenset({0, 1, 2, 3}), sysctl=no_sysctl)
    assert host.name == "AMD EPYC 9R14"
    assert (host.cores, host.physical_cores) == (4, 2)
    # avx512_fp16 is missing on three of the CPUs, and svm has nothing to do with matrix products.
    assert host.simd == ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni")
    assert host.memory_bytes == 16384000 * 1024
    assert host.unknown == {}


def test_affinity_counts_only_the_cores_behind_it(tmp_path: Path) -> None:
    write_topology(tmp_path, {0: (0, 0), 1: (0, 1), 2: (0, 0), 3: (0, 1), 4: (1, 0), 5: (1, 0)})
    host = read_host(tmp_path, cpus=frozenset({0, 2, 4}), sysctl=no_sysctl)
    assert (host.cores, host.physical_cores) == (3, 2)


@pytest.mark.parametrize(
    ("implementer", "part", "name"),
    [
        ("0x41", "0xd0c", "Neoverse-N1"),
        ("0x41", "0xd40", "Neoverse-V1"),
        ("0x41", "0xd4f", "Neoverse-V2"),
        ("0x41", "0xd84", "Neoverse-V3"),
        ("0xc0", "0xac3", "Ampere-1"),
        ("0x41", "0xfff", "Arm part 0xfff"),
        ("0x99", "0x1", "implementer 0x99 part 0x1"),
    ],
)
def test_arm_servers_give_ids_in_place_of_a_name(
    tmp_path: Path, implementer: str, part: str, name: str
) -> None:
    block = GRAVITON.format(cpu=0, implementer=implementer, part=part)
    host = read_host(write(tmp_path, proc__cpuinfo=block), cpus=frozenset({0}), sysctl=no_sysctl)
    assert host.name == name
    assert host.simd == ("neon", "sve", "bf16", "i8mm")


def test_unlike_cores_are_all_named(tmp_path: Path) -> None:
    blocks = [
        GRAVITON.format(cpu=cpu, implementer="0x41", part=part) for cpu, part in enumerate(("0xd08", "0xd0b"))
    ]
    blocks.append("Model\t\t: A small board\n")
    host = read_host(write(tmp_path, proc__cpuinfo="".join(blocks)), cpus=frozenset({0, 1}), sysctl=no_sysctl)
    assert host.name == "Cortex-A72 + Cortex-A76"
    assert "neon" in host.simd


def test_a_container_with_limits(tmp_path: Path) -> None:
    write(
        tmp_path,
        proc__cpuinfo=EPYC.format(cpu=0, more=""),
        proc__meminfo="MemTotal: 16384000 kB\n",
        proc__self__cgroup="0::/\n",
    )
    folder = tmp_path / "sys/fs/cgroup"
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text("150000 100000\n")
    (folder / "memory.max").write_text(f"{2**30}\n")
    write_topology(tmp_path, {cpu: (0, cpu) for cpu in range(8)})
    host = read_host(tmp_path, cpus=frozenset(range(8)), sysctl=no_sysctl)
    assert (host.cores, host.physical_cores) == (2, 2)
    assert host.memory_bytes == 2**30


def test_macos(tmp_path: Path) -> None:
    values = {
        "machdep.cpu.brand_string": "Apple M4 Max",
        "hw.physicalcpu": "16",
        "hw.memsize": str(128 * 2**30),
        "hw.optional.neon": "1",
        "hw.optional.arm.FEAT_BF16": "1",
        "hw.optional.arm.FEAT_I8MM": "0",
    }
    host = read_host(tmp_path, cpus=frozenset(range(16)), sysctl=values.get)
    assert host.name == "Apple M4 Max"
    assert (host.cores, host.physical_cores) == (16, 16)
    assert host.simd == ("neon", "bf16")
    assert host.memory_bytes == 128 * 2**30
    assert host.unknown == {}


def test_a_machine_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    host = read_host(tmp_path, cpus=frozenset({0}), sysctl=no_sysctl)
    assert host.name == "riscv64"
    assert (host.physical_cores, host.simd, host.memory_bytes) == (None, (), None)
    assert set(host.unknown) == {"name", "physical_cores", "simd", "memory_bytes"}
    assert all(host.unknown.values())


def test_this_machine() -> None:
    host = read_host()
    assert host.name and host.cores >= 1
    for field in ("physical_cores", "memory_bytes"):
        assert (getattr(host, field) is None) == (field in host.unknown)
