"""Freed memory stays in the process once it has been asked to."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pippin.devices import give_back_freed_memory, keep_freed_memory, reserve_large_pages

# What the programs below begin with.
_LIBC = """
import ctypes, resource, sys, threading
from pippin.devices import give_back_freed_memory, keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
"""

# Allocates and frees a block twenty times, as a step does, writes to every megabyte of it, and counts page
# faults. Another thread allocates meanwhile and keeps what it got: that must not lie in the block's way.
_PROGRAM = """
if sys.argv[1] == "keep":
    assert keep_freed_memory()

megabytes = int(sys.argv[2])

def work(times):
    for time in range(times):
        block = libc.malloc(megabytes << 20)
        if time == 0:
            thread = threading.Thread(target=lambda: [libc.malloc(5000) for _ in range(20)])
            thread.start()
            thread.join()
        for place in range(megabytes):
            ctypes.memset(block + (place << 20), 1, 1)
        libc.free(block)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for times in (2, 20):
    before = faults()
    work(times)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator setting is glibc's")
@pytest.mark.parametrize("megabytes", [64, 2500])
def test_a_large_block_is_not_faulted_in_again(megabytes: int) -> None:
    """Also one larger than any threshold that fits glibc's integer."""

    def faults(mode: str) -> int:
        program = [sys.executable, "-c", _LIBC + _PROGRAM, mode, str(megabytes)]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("leave") > 10 * megabytes
    assert faults("keep") < megabytes


# As the threads that multiply do: two blocks at a time that do not fit into one heap of a thread's arena.
_IN_A_THREAD = """
assert keep_freed_memory()
found = []

def work():
    for times in (2, 20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(times):
            blocks = [libc.malloc(40 << 20) for _ in range(2)]
            for block in blocks:
                for place in range(40):
                    ctypes.memset(block + (place << 20), 1, 1)
            for block in reversed(blocks):
                libc.free(block)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(*found)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator setting is glibc's")
def test_a_worker_threads_blocks_are_not_faulted_in_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIBC + _IN_A_THREAD], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40


# Frees every other one of many blocks that were written to, and prints what is resident before and after it
# was given back.
_FREED = """
keep_freed_memory()
blocks = [libc.malloc(1 << 20) for _ in range(100)]
for block in blocks:
    ctypes.memset(block, 1, 1 << 20)
for block in blocks[::2]:
    libc.free(block)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

before = resident()
assert give_back_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator setting is glibc's")
def test_what_is_free_can_be_given_back_once() -> None:
    done = subprocess.run([sys.executable, "-c", _LIBC + _FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40 << 20


# Writes to as much as was reserved, and prints how much of it came in large pages.
_RESERVED = """
import ctypes, re
from types import SimpleNamespace
from pippin.devices import keep_freed_memory, reserve_large_pages
keep_freed_memory()
cpu = SimpleNamespace(platform="cpu")
assert not reserve_large_pages(1 << 20, [SimpleNamespace(platform="cuda")])
assert not reserve_large_pages(1 << 62, [cpu])
assert reserve_large_pages(32 << 20, [cpu, cpu])
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
ctypes.memset(libc.malloc(60 << 20), 1, 60 << 20)
print(re.search(r"AnonHugePages: *([0-9]+) kB", open("/proc/self/smaps_rollup").read())[1])
"""


def _has_large_pages() -> bool:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return platform.libc_ver()[0] == "glibc" and setting.exists() and "[never]" not in setting.read_text()


@pytest.mark.skipif(not _has_large_pages(), reason="glibc on a Linux with transparent huge pages")
def test_a_steps_memory_lies_in_large_pages() -> None:
    done = subprocess.run([sys.executable, "-c", _RESERVED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40 << 10


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
    assert not give_back_freed_memory()
    assert not reserve_large_pages(1 << 20, [])
