"""The machine that an assay runs on, as the planner takes a chip: from the catalog, or as it was measured.

A chip that the catalog rates is planned as `pippin plan` does. One that it does not (a CPU, of which a
process may use a few cores) has no rated peak: its matrix rate and memory bandwidth are those measured on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pippin.catalog.chips import CatalogChip, load_chips
from pippin.errors import PippinError
from pippin.plan.system import PRESENT_YEAR, Precision, Stack, System, family_of

ASSAYED_STACK: Stack = "jax"  # what an assay trains with

_PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16", "float16": "bf16"}
# The links of a machine that nobody has rated: an ordinary 25 Gbit/s card a device. They count only where a
# job is spread over several devices.
_LINK, _LATENCY = 25e9 / 8, 10e-6


@dataclass(frozen=True)
class AtHand:
    """What an assay knows of its machine before it trains. Rates are of one device, in `compute_dtype`.

    `unit` is what a device is: a chip, a core of one, or the machine.
    """

    name: str
    platform: str
    catalog_id: str | None
    unit: str
    num_devices: int
    cores: int | None
    memory_bytes: int | None
    compute_dtype: str
    attention: str
    remat: str
    matrix_flops_per_second: float | None
    memory_bytes_per_second: float | None

    @property
    def chips(self) -> int:
        """Chips that take part. A device may be one core of several; a CPU's devices share one machine."""
        if self.platform == "cpu":
            return 1
        chip = load_chips().get(self.catalog_id or "")
        per_chip = (chip.cores_per_chip or 1) if chip and self.unit == "core" else 1
        return max(self.num_devices // per_chip, 1)

    @property
    def precision(self) -> Precision:
        """The planner's name for the compute dtype."""
        return _PRECISIONS.get(self.compute_dtype, "bf16")

    @property
    def measured_id(self) -> str:
        """What a calibration calls a machine outside the catalog: its name and its cores."""
        name = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        return f"measured:{name}" + (f"-{self.cores}-cores" if self.cores else "")


@dataclass(frozen=True)
class Grounded:
    """A system with what its rates rest on, in words."""

    system: System
    basis: str


def ground(machine: AtHand) -> Grounded:
    """The machine as a system of the planner.

    Raises:
        PippinError: neither the catalog nor a measurement knows its matrix rate and bandwidth.
    """
    chip = load_chips().get(machine.catalog_id or "")
    if chip and _is_rated(chip, machine.precision):
        system = System.of(chip, machine.precision, stack=ASSAYED_STACK, year=PRESENT_YEAR)
        notes = "; ".join(system.assumptions)
        basis = f"the catalog's figures for {chip.name}, as `pippin plan` takes them"
        return Grounded(system, f"{basis} ({notes})" if notes else basis)
    return _measured(machine)


def _is_rated(chip: CatalogChip, precision: Precision) -> bool:
    try:
        System.of(chip, precision)
    except PippinError:
        return False
    return True


def _measured(machine: AtHand) -> Grounded:
    rate, bandwidth = machine.matrix_flops_per_second, machine.memory_bytes_per_second
    if not rate or not bandwidth:
        raise PippinError(
            f"neither the catalog nor a measurement has the matrix rate and bandwidth of {machine.name}",
            where="planner",
            fix="add the chip to the catalog (see docs/catalog.md)",
        )
    chip_id = machine.catalog_id or machine.measured_id
    system = System(
        chip_id=chip_id,
        family=family_of(chip_id),
        precision=machine.precision,
        stack=ASSAYED_STACK,
        year=PRESENT_YEAR,
        chip_year=PRESENT_YEAR,
        matrix_flops=rate,
        half_flops=rate,
        memory_bytes_per_second=bandwidth,
        memory_bytes=float(machine.memory_bytes or 0),
        domain_chips=1,
        ring_axes=1,
        scaleup_bytes_per_second=_LINK,
        scaleup_latency=_LATENCY,
        scaleout_bytes_per_second=_LINK,
        scaleout_latency=_LATENCY,
        rated=False,
    )
    basis = (
        f"measured matrix rate of this machine ({rate / 1e9:,.0f} GFLOP/s in {machine.compute_dtype}) and "
        f"its memory bandwidth ({bandwidth / 1e9:,.1f} GB/s), no rated peak"
    )
    return Grounded(system, basis)


def layout_of(machine: AtHand, batch_size: int, sequence_length: int) -> dict[str, object]:
    """How an assay spreads a step: over all chips by sharding the states, one micro-batch each.

    Args:
        machine: where.
        batch_size: sequences a step.
        sequence_length: tokens of one.
    """
    chips = machine.chips
    return {
        "tensor": 1,
        "context": 1,
        "stage": 1,
        "interleave": 1,
        "data": chips,
        "expert": 1,
        "zero": 3 if chips > 1 else 0,
        "micro_batch": batch_size / chips,
        "global_batch": batch_size,
        "sequence_length": sequence_length,
        "recompute_layers": 1.0 if machine.remat == "full" else 0.0,
        "recompute_attention": machine.remat == "selective",
        "sequence_parallel": False,
        # The reference attention makes the array of scores; the named backends do not.
        "flash": machine.attention not in ("reference", "blocked"),
        "tensor_overlap": True,
        "data_overlap": True,
    }
