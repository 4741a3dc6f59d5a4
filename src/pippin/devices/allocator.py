"""Keeps freed memory in the process, so that a step does not fault the same pages in again and again."""

from __future__ import annotations

import ctypes
import platform

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
# As a threshold: no size reaches it. The largest int would be reached by a step's buffers of 2 GiB.
_NEVER = -1


def keep_freed_memory() -> bool:
    """Tells glibc's allocator not to give memory back to the system; False where there is no glibc.

    XLA on the CPU allocates and frees a step's buffers, hundreds of megabytes, every time. By default
    glibc maps each large one afresh, and the kernel clears every page of it: a quarter of a small
    model's step was spent there (docs/performance.md).

    It holds for what the main thread allocates: the arenas of other threads cannot hold large blocks. So
    steps must run on the thread that asks for them (`jax_cpu_enable_async_dispatch` off). One arena for all
    threads would hold them too, but then a worker's block that comes to lie beside a step's buffers keeps
    these from being used again, and the process grows by as much once more.
    """
    if not _is_glibc():
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER))
    accepted = [libc.mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(accepted)


def give_back_freed_memory() -> bool:
    """Gives what is free now back to the system, once: what compiling has left. False where nothing was."""
    return _is_glibc() and ctypes.CDLL(None).malloc_trim(0) == 1


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
