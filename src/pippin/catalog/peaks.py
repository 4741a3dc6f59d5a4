"""The rated peak that a measured rate is compared with.

What a float32 product costs depends on how it is done: at JAX's default precision an NVIDIA GPU multiplies
float32 in TF32 and a TPU in bfloat16. The table keeps these formats apart, and `Peak.dtype` says which one
applies; to divide an NVIDIA float32 rate by the 67 TFLOP/s of plain FP32 would give an MFU above 100 %.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pippin.catalog.chips import CatalogChip, Format, Unit

Precision = Literal["default", "highest"]

_FORMATS: dict[str, Format] = {
    "tf32": "tf32",
    "bfloat16": "bf16",
    "float8": "fp8",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8",
}
_NAMES: dict[Format, str] = {
    "fp32": "float32",
    "tf32": "tf32",
    "bf16": "bfloat16",
    "fp8": "float8",
    "fp4": "float4",
    "int8": "int8",
}


class Peak(BaseModel):
    """A rated dense peak of one JAX device.

    `dtype` is the format in which the matrix unit multiplies, which for float32 operands may be "tf32" or
    "bfloat16". `unit` is what the device is, `devices_per_chip` how many of it make a chip.
    """

    model_config = ConfigDict(frozen=True)

    tflops: float
    dtype: str
    source: str
    date: date
    unit: Unit
    devices_per_chip: int


def _applies(chip: CatalogChip, dtype: str, precision: Precision) -> Format | None:
    """The format whose peak applies to products of `dtype` operands."""
    if dtype != "float32":
        return _FORMATS.get(dtype)
    if precision == "default":
        return chip.float32_runs_as
    # A TPU has no float32 unit: its highest precision is six bfloat16 passes, of which no peak is published.
    return None if chip.float32_runs_as == "bf16" else "fp32"


def peak(chip: CatalogChip, dtype: str, *, precision: Precision = "default") -> Peak | None:
    """The rated peak for products of `dtype` operands on one JAX device, or None where it is not known.

    Args:
        chip: from `find_chip` (one device of it) or from `load_chips` (the whole chip).
        dtype: "float32", "tf32", "bfloat16", "float8", "float8_e4m3fn" or "float8_e5m2".
        precision: JAX's matrix-product precision; it matters for float32 only.
    """
    number_format = _applies(chip, dtype, precision)
    tflops = chip.tflops(number_format) if number_format else None
    if number_format is None or tflops is None:
        return None
    return Peak(
        tflops=tflops / chip.devices_per_chip,
        dtype=_NAMES[number_format],
        source=chip.flops_source,
        date=chip.as_of,
        unit=chip.unit,
        devices_per_chip=chip.devices_per_chip,
    )


def why_no_peak(chip: CatalogChip | None, dtype: str, *, device_kind: str = "this chip") -> str:
    """The reason to print where there is no peak at JAX's default precision.

    Args:
        chip: what `find_chip` returned.
        dtype: as for `peak`.
        device_kind: how to name a device that is not in the catalog.
    """
    if chip is None:
        return f"no rated peak for {device_kind} in the catalog"
    if dtype == "float32" and chip.float32_runs_as is None:
        return f"the catalog does not know in which format {chip.name} multiplies float32"
    return f"the catalog has no {dtype} peak for {chip.name}"
