"""Keeps freed memory in the process, so that a step does not fault the same pages in again and again."""

from __future__ import annotations

import ctypes
import platform

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
# As a threshold: no size reaches it. The largest int would be reached by a step's buffers of 2 GiB.
_NEVER = -1


def keep_freed_memory() -> bool:
    """Tells glibc's allocator not to give memory back to the system; False where there is no glibc.

    XLA on the CPU allocates and frees a step's buffers, hundreds of megabytes, every time. By default
    glibc maps each large one afresh, and the kernel clears every page of it: a quarter of a small
    model's step was spent there (docs/performance.md). One arena is asked for, since the arenas of
    other threads cannot hold large blocks. Call it before JAX starts its threads.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER))
    accepted = [libc.mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(accepted)
