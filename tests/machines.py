"""Made-up machines, for tests of several parts."""

from __future__ import annotations

from pippin.plan.at_hand import AtHand

CPU = AtHand(
    name="Some CPU",
    platform="cpu",
    catalog_id=None,
    unit="machine",
    num_devices=1,
    cores=2,
    memory_bytes=16 * 2**30,
    compute_dtype="float32",
    attention="reference",
    remat="none",
    matrix_flops_per_second=250e9,
    memory_bytes_per_second=27e9,
)
