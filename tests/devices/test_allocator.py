"""Freed memory stays in the process once it has been asked to."""

import platform
import subprocess
import sys

import pytest

from pippin.devices import keep_freed_memory

# Allocates and frees a block twenty times in a thread, as XLA's executor does, writes to every megabyte of
# it, and counts page faults.
_PROGRAM = """
import ctypes, resource, sys, threading
if sys.argv[1] == "keep":
    from pippin.devices import keep_freed_memory
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

megabytes = int(sys.argv[2])

def work(times):
    for _ in range(times):
        block = libc.malloc(megabytes << 20)
        for place in range(megabytes):
            ctypes.memset(block + (place << 20), 1, 1)
        libc.free(block)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for times in (2, 20):
    before = faults()
    thread = threading.Thread(target=work, args=(times,))
    thread.start()
    thread.join()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator setting is glibc's")
@pytest.mark.parametrize("megabytes", [64, 2500])
def test_a_large_block_is_not_faulted_in_again(megabytes: int) -> None:
    """Also one larger than any threshold that fits glibc's integer."""

    def faults(mode: str) -> int:
        program = [sys.executable, "-c", _PROGRAM, mode, str(megabytes)]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("leave") > 10 * megabytes
    assert faults("keep") < megabytes


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
