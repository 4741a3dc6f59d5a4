"""Which chip of the catalog a JAX device is."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pippin.catalog.chips import CatalogChip, Unit, load_chips
from pippin.catalog.tables import read_data


class DeviceKind(BaseModel):
    """One entry of `device_kinds.toml`; the file says what the fields mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: str
    pattern: str
    chip: str
    unit: Unit
    devices_per_chip: int = Field(gt=0)
    cores_per_device: int | None = Field(default=None, gt=0)
    variant: str | None = None
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.devices_per_chip > 1) != (self.unit == "core"):
            raise ValueError("a device is a core exactly where a chip has several devices")
        return self

    def matches(self, device_kind: str, platform: str, variant: str | None) -> bool:
        return (
            self.platform == platform
            and self.variant in (None, variant)
            and re.fullmatch(self.pattern, device_kind) is not None
        )

    def split(self, cores_per_chip: int | None, cores_per_device: int | None) -> tuple[int, Unit]:
        """JAX devices in a chip, and what one is, given the cores that the runtime says a device spans."""
        if not (self.cores_per_device and cores_per_chip and cores_per_device):
            return self.devices_per_chip, self.unit
        devices = max(1, cores_per_chip // cores_per_device)
        return devices, "core" if devices > 1 else "chip"


@cache
def load_kinds() -> tuple[DeviceKind, ...]:
    """The known device kinds, in the order in which they are tried."""
    table = tomllib.loads(read_data("device_kinds.toml"))
    return tuple(DeviceKind.model_validate(entry) for entry in table["kind"])


def find_chip(
    device_kind: str,
    platform: str,
    *,
    cores_per_device: int | None = None,
    variant: str | None = None,
) -> CatalogChip | None:
    """The catalog's chip for a JAX device, or None where no entry fits exactly.

    Args:
        device_kind: `device.device_kind` as JAX reports it.
        platform: "cuda", "rocm", "tpu", "neuron", "cpu", ...
        cores_per_device: `device.num_cores` of a TPU, if the runtime has it: it tells whether the two cores
            of a v4 or v5p chip are joined into one device.
        variant: a second clue where two chips report one kind (Neuron: the driver's instance family).

    Returns:
        The chip, with `devices_per_chip` and `unit` set for this kind of device. CPUs have no entry: a
        process may use a few cores of one, so no published peak is the peak of what it runs on.
    """
    for kind in load_kinds():
        if kind.matches(device_kind, platform, variant):
            chip = load_chips()[kind.chip]
            devices, unit = kind.split(chip.cores_per_chip, cores_per_device)
            return chip.model_copy(update={"devices_per_chip": devices, "unit": unit})
    return None
