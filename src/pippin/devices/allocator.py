"""Keeps freed memory in the process, so that a step does not fault the same pages in again and again."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from typing import Any

# Linux' advice for a mapping to lie in pages of 2 MiB, and their size.
_MADV_HUGEPAGE, _LARGE_PAGE = 14, 1 << 21
# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
# More than a heap of another thread's arena can be (64 MiB): an emptied one is given back only where at least
# so much is free in the one before it.
_WHOLE_HEAP = 1 << 27
# As a threshold: no size reaches it. The largest int would be reached by a step's buffers of 2 GiB.
_NEVER = -1


def keep_freed_memory() -> bool:
    """Tells glibc's allocator not to give memory back to the system; False where there is no glibc.

    XLA on the CPU allocates and frees a step's buffers, hundreds of megabytes, every time. By default
    glibc maps each large one afresh, and the kernel clears every page of it: a quarter of a small
    model's step was spent there (docs/performance.md).

    The arenas of other threads keep their heaps, too: oneDNN takes tens of megabytes there for a product and
    frees them after it. Larger blocks they cannot hold, so steps must run on the thread that asks for them
    (`jax_cpu_enable_async_dispatch` off). One arena for all threads would hold them, but then a worker's
    block that comes to lie beside a step's buffers keeps these from being used again, and the process grows
    by as much once more.
    """
    if not _is_glibc():
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _WHOLE_HEAP))
    accepted = [libc.mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(accepted)


def give_back_freed_memory() -> bool:
    """Gives what is free now back to the system, once: what compiling has left. False where nothing was.

    The ends of other threads' heaps stay.
    """
    return _is_glibc() and ctypes.CDLL(None).malloc_trim(0) == 1


def reserve_large_pages(bytes_each: int, devices: Sequence[Any]) -> bool:
    """Makes room in the heap, which Linux will back with pages of 2 MiB once it is written to.

    It stays in the heap only after `keep_freed_memory`.

    Products walk through arrays in strides of a row: with small pages every row is another page, and looking
    up where it lies costs a few per cent of a step (docs/performance.md).

    Args:
        bytes_each: what a step takes on one device.
        devices: JAX's devices of this process.

    Returns:
        Whether the kernel took the advice; False also where a device has memory of its own.
    """
    if not _is_glibc() or any(device.platform != "cpu" for device in devices):
        return False
    size_bytes = bytes_each * len(devices)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(size_bytes)
    if not block:
        return False
    first = -(-block // _LARGE_PAGE) * _LARGE_PAGE
    length = (block + size_bytes - first) // _LARGE_PAGE * _LARGE_PAGE
    advised = length > 0 and libc.madvise(first, length, _MADV_HUGEPAGE) == 0
    libc.free(block)
    return bool(advised)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
