"""The compiler for TPUs keeps scattered sums as such; the CPU's writes a sum and a slice in their place.

Compiled ahead, for a TPU that is not there: nothing ran on one.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu: pip install 'pippin[tpu-compile]'"
)
def test_scattered_sums_over_fsdp_and_tensor(child: Any) -> None:
    (found,) = child("tpu.py")
    kinds = {tuple(kind) for kind in found["kinds"]}
    assert {("reduce-scatter", "fsdp"), ("reduce-scatter", "tensor")} <= kinds
    assert {("all-gather", "fsdp"), ("all-gather", "tensor")} <= kinds
