"""How much memory training has needed at the most."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from typing import Any


def peak_memory_bytes(devices: Sequence[Any]) -> int | None:
    """The largest peak of any of these JAX devices, in bytes, since the process began.

    On an accelerator what the runtime's allocator had in use on the device; on a CPU the resident memory of
    the whole process, since there the arrays share it with all else. None where the runtime does not tell.
    """
    if devices[0].platform == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB on Linux
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in devices]
    known = [peak for peak in peaks if peak is not None]
    return max(known) if len(known) == len(peaks) else None
