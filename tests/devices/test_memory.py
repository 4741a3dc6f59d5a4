"""Peak memory, where the runtime tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pippin.devices import peak_memory_bytes


@dataclass
class Device:
    platform: str
    stats: dict[str, Any] | None = None

    def memory_stats(self) -> dict[str, Any] | None:
        return self.stats


def test_on_a_cpu_it_is_the_process() -> None:
    before = peak_memory_bytes([Device("cpu")])
    held = np.ones(64 << 20, np.uint8)
    after = peak_memory_bytes([Device("cpu")])
    assert before and after and after >= before
    assert after > held.nbytes


def test_on_accelerators_it_is_the_fullest_device() -> None:
    devices = [Device("gpu", {"peak_bytes_in_use": peak}) for peak in (3, 7, 5)]
    assert peak_memory_bytes(devices) == 7


@pytest.mark.parametrize("stats", [None, {}])
def test_a_runtime_that_does_not_tell_gives_none(stats: dict[str, Any] | None) -> None:
    assert peak_memory_bytes([Device("neuron", stats)]) is None
