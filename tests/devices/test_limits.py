"""Limits of both cgroup versions, at any level of the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from pippin.devices.limits import allowed_cpus, cpu_quota, memory_limit_bytes, usable_cores

V1 = "4:memory:/job/a\n3:cpu,cpuacct:/job/a\n0::/\n"


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@pytest.mark.parametrize(
    ("files", "quota", "limit"),
    [
        pytest.param({}, None, None, id="no cgroups"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.max": "max 100000",
                "sys/fs/cgroup/memory.max": "max",
            },
            None,
            None,
            id="version 2 without limits",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/user/job\n",
                "sys/fs/cgroup/user/cpu.max": "50000 100000",
                "sys/fs/cgroup/user/memory.max": "max",
                "sys/fs/cgroup/user/job/cpu.max": "300000 100000",
                "sys/fs/cgroup/user/job/memory.max": "5000",
            },
            0.5,
            5000,
            id="version 2, the tightest level counts",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/../../other\n", "sys/fs/cgroup/cpu.max": "200000 100000"},
            2.0,
            None,
            id="version 2, above the visible tree",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu,cpuacct/job/a/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu,cpuacct/job/a/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/job/a/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "7000",
            },
            2.5,
            7000,
            id="version 1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu:/\n4:memory:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            None,
            None,
            id="version 1 without limits",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu:/docker/0123\n4:memory:/docker/0123\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "6000",
            },
            1.0,
            6000,
            id="version 1 in a container, whose path is the host's",
        ),
    ],
)
def test_limits(tmp_path: Path, files: dict[str, str], quota: float | None, limit: int | None) -> None:
    write(tmp_path, files)
    assert cpu_quota(tmp_path) == quota
    assert memory_limit_bytes(tmp_path) == limit


@pytest.mark.parametrize(
    ("quota", "cpus", "cores"),
    [("max", 4, 4), ("50000", 4, 1), ("100000", 4, 1), ("150000", 4, 2), ("800000", 4, 4), ("1000", 1, 1)],
)
def test_usable_cores(tmp_path: Path, quota: str, cpus: int, cores: int) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})
    assert usable_cores(tmp_path, frozenset(range(cpus))) == cores


def test_this_process_may_run_somewhere() -> None:
    assert len(allowed_cpus()) >= 1
