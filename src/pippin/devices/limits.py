"""What a process may use of its machine: cores by affinity and cgroup quota, memory by cgroup limit.

Both cgroup versions are read. A limit may stand at any level, so all folders from the process's own up to
the mount point count. In a container the path in `/proc/self/cgroup` is often the host's and does not exist
inside; the mount point then is the container's own folder.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def read_text(path: Path) -> str | None:
    """The file's text without surrounding white space, or None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The file's content as an integer, or None where it cannot be read or is not one."""
    text = read_text(path)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _mounts(root: Path, controller: str) -> Iterator[tuple[Path, str]]:
    """Mount points of the hierarchies that may hold a limit, each with this process's path in it."""
    base = root / "sys/fs/cgroup"
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, names, path = line.split(":", 2)
        if names == "":  # version 2, alone or beside version 1
            yield from ((base, path), (base / "unified", path))
        elif controller in names.split(","):
            yield from ((base / names, path), (base / controller, path))


def cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Folders of the process's cgroups for a controller, each up to its mount point, that exist."""
    found: list[Path] = []
    for mount, path in _mounts(root, controller):
        parts = PurePosixPath(path).parts[1:]
        if ".." in parts:  # the cgroup lies above the visible hierarchy
            parts = ()
        for depth in range(len(parts), -1, -1):
            folder = mount.joinpath(*parts[:depth])
            if folder.is_dir() and folder not in found:
                found.append(folder)
    return found


def _cpu_quota(folder: Path) -> float | None:
    """CPUs' worth of time that one cgroup may use."""
    if (both := read_text(folder / "cpu.max")) is not None:  # "max 100000" or "150000 100000"
        quota, _, period = both.partition(" ")
        return int(quota) / int(period or 100_000) if quota.isdigit() else None
    v1_quota, v1_period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
    if v1_quota is None or v1_quota <= 0 or not v1_period:
        return None
    return v1_quota / v1_period


def _memory_limit(folder: Path) -> int | None:
    """Bytes that one cgroup may use; "max" is no number and thus no limit."""
    v2 = read_int(folder / "memory.max")
    return v2 if v2 is not None else read_int(folder / "memory.limit_in_bytes")


def cpu_quota(root: Path) -> float | None:
    """The tightest cgroup quota in CPUs, None without one."""
    quotas = [_cpu_quota(folder) for folder in cgroup_folders(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_bytes(root: Path) -> int | None:
    """The tightest cgroup limit in bytes, None without one (version 1 writes none as about 2**63)."""
    limits = [_memory_limit(folder) for folder in cgroup_folders(root, "memory")]
    return min((limit for limit in limits if limit is not None and limit < 2**62), default=None)


def allowed_cpus() -> frozenset[int]:
    """Numbers of the CPUs that the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def usable_cores(root: Path, cpus: frozenset[int]) -> int:
    """Logical cores this process may keep busy: its affinity, or its quota rounded up where that is less."""
    quota = cpu_quota(root)
    return len(cpus) if quota is None else max(1, min(len(cpus), math.ceil(quota)))
