"""What a step runs on: chips with their links, and the software on them. Many at once, as arrays.

Units: FLOP/s, bytes, bytes/s one way and per chip, seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, get_args

import numpy as np

from pippin.catalog.chips import CatalogChip, load_chips
from pippin.errors import PippinError, nearest
from pippin.plan.layout import Floats, Integers

# fp32 is what a CPU trains in: products and elementwise passes count four bytes an element, exchanges between
# chips still two. No published run is in it, so it is not among those that `pippin plan` is asked for.
Precision = Literal["bf16", "fp8", "fp4", "int8", "fp32"]
PLANNED: tuple[Precision, ...] = ("bf16", "fp8", "fp4", "int8")
# `plain`: Megatron without the overlap and tuning of published recipes. `megatron2`: Megatron-LM of 2021 and
# 2022 and what was forked from it (Megatron-DeepSpeed), before fused attention and CUDA graphs.
Stack = Literal["megatron", "plain", "megatron2", "fsdp", "jax", "neuron"]

# Software counts as of this year where a plan does not say; the calibration knows no later one.
PRESENT_YEAR = 2026.5
# What NVIDIA's fabric takes for a small message between chips of a node, and between nodes: the catalog has
# whole all-reduces only, which are made of several of these.
_SCALEUP_LATENCY, _SCALEOUT_LATENCY = 3e-6, 10e-6
# Where no one has published the link: an ordinary 25 Gb/s network card a chip.
_UNKNOWN_LINK = 25e9 / 8

_FAMILIES = {
    "a100": "ampere",
    "h100": "hopper",
    "h200": "hopper",
    "b200": "blackwell",
    "b300": "blackwell",
    "gb200": "blackwell",
    "gb300": "blackwell",
    "mi3": "instinct",
    "gaudi": "gaudi",
    "tpu": "tpu",
    "trn": "trainium",
    "inf": "trainium",
}
_ASYNCHRONOUS = ("hopper", "blackwell")
# Best matrix rate over the rated one, where the catalog has no measured one for the chip. The median of the
# chips it has one for is 0.78, and NVIDIA's newest are near 0.73: power holds their clocks down. A TPU's
# systolic array runs at its rated clock. Published training on Trainium implies about half of the rated peak.
_MEASURED_SHARE, _MEASURED_SHARES = 0.75, {"tpu": 0.9, "trainium": 0.6}


def family_of(chip_id: str) -> str:
    """The family whose calibration a chip shares."""
    return next((family for start, family in _FAMILIES.items() if chip_id.startswith(start)), "other")


@dataclass(frozen=True)
class System:
    """One kind of chip, how it is wired, and the software on it.

    `matrix_flops` is the ceiling of large products in `precision`, `half_flops` in bfloat16: the best rate
    that anyone measured, or a share of the rated one where nobody has. `assumptions` says which values are
    not the catalog's.
    """

    chip_id: str
    family: str
    precision: Precision
    stack: Stack
    year: float  # of the software
    chip_year: float
    matrix_flops: float
    half_flops: float
    memory_bytes_per_second: float
    memory_bytes: float
    domain_chips: int
    ring_axes: int  # directions that a torus splits its links into; 1 behind a switch
    scaleup_bytes_per_second: float
    scaleup_latency: float
    scaleout_bytes_per_second: float
    scaleout_latency: float
    assumptions: tuple[str, ...] = ()
    rated: bool = True  # False: the rates are those measured on one machine, of a kind that no row is of

    @classmethod
    def of(
        cls,
        chip: CatalogChip | str,
        precision: Precision = "bf16",
        *,
        stack: Stack | None = None,
        year: float = PRESENT_YEAR,
        domain_chips: int | None = None,
    ) -> Self:
        """The system that the catalog describes.

        Args:
            chip: a row of the catalog, or its id.
            precision: of the matrix products.
            stack: the software; by default what is usual on the chip.
            year: of the software, with a fraction.
            domain_chips: chips of a scale-up domain, where it is not the ordinary instance's.

        Raises:
            PippinError: an id that the catalog lacks, or a precision of which it has no rate.
        """
        chip = _find(chip) if isinstance(chip, str) else chip
        if precision not in get_args(Precision):
            raise PippinError(f"no precision '{precision}'", where="precision", fix="bf16, fp8, fp4 or int8")
        family = family_of(chip.chip_id)
        notes: list[str] = []
        half = _ceiling(chip, "fp32" if precision == "fp32" else "bf16", notes)
        up = (chip.scaleup_gbytes_per_second or 0.0) * 1e9
        out = (chip.scaleout_gbits_per_second or 0.0) * 1e9 / 8
        if not out:
            out = _UNKNOWN_LINK
            notes.append("no published scale-out link: 25 Gbit/s assumed")
        domain = domain_chips or (chip.scaleup_domain_chips if up else None) or 1
        if not chip.memory_gbytes_per_second:
            notes.append("no published memory bandwidth: a byte for 300 operations assumed")
        return cls(
            chip_id=chip.chip_id,
            family=family,
            precision=precision,
            stack=stack or usual_stack(family),
            year=year,
            chip_year=float(chip.year or year),
            matrix_flops=_ceiling(chip, precision, notes),
            half_flops=half,
            memory_bytes_per_second=(chip.memory_gbytes_per_second or half / 300e9) * 1e9,
            memory_bytes=memory_bytes(chip),
            domain_chips=domain,
            ring_axes={"2d_torus": 2, "3d_torus": 3}.get(chip.scaleup_topology or "", 1),
            scaleup_bytes_per_second=up or out,
            scaleup_latency=(chip.scaleup_latency_microseconds or _SCALEUP_LATENCY * 1e6) * 1e-6,
            scaleout_bytes_per_second=out,
            scaleout_latency=_SCALEOUT_LATENCY,
            assumptions=tuple(dict.fromkeys(notes)),
        )


def usual_stack(family: str) -> Stack:
    """The software whose runs are published for a family."""
    by_family: dict[str, Stack] = {"tpu": "jax", "trainium": "neuron"}
    return by_family.get(family, "megatron")


def memory_bytes(chip: CatalogChip) -> float:
    """Device memory in bytes; 0 where the catalog does not know it."""
    # NVIDIA sells "80 GB" that are 80 GiB on the A100 and H100; the catalog keeps the vendor's unit.
    return (chip.memory_size or 0.0) * (2**30 if chip.memory_unit == "GiB" else 1e9)


def _find(chip_id: str) -> CatalogChip:
    chips = load_chips()
    if chip_id not in chips:
        close = nearest(chip_id, chips)
        raise PippinError(
            f"no chip '{chip_id}' in the catalog",
            where="chip",
            fix=f"did you mean '{close}'?" if close else "see pippin catalog list",
        )
    return chips[chip_id]


def _ceiling(chip: CatalogChip, precision: Precision, notes: list[str]) -> float:
    """The best rate of a large product in FLOP/s; formats that the chip lacks run as bfloat16."""
    measured = {"bf16": chip.measured_bf16_tflops, "fp8": chip.measured_fp8_tflops}.get(precision)
    rated = {
        "bf16": chip.bf16_tflops,
        "fp8": chip.fp8_tflops,
        "fp4": chip.fp4_tflops,
        "int8": chip.int8_tops,
        # How JAX multiplies float32 by default: in TF32 on NVIDIA's chips, in bfloat16 on TPUs.
        "fp32": chip.tflops(chip.float32_runs_as or "fp32"),
    }[precision]
    if measured:
        return measured * 1e12
    if rated:
        share = _MEASURED_SHARES.get(family_of(chip.chip_id), _MEASURED_SHARE)
        notes.append(f"no measured {precision} rate: {share} of the rated one")
        return rated * share * 1e12
    if precision != "bf16":
        notes.append(f"no {precision} unit in the catalog: runs as bf16")
        return _ceiling(chip, "bf16", notes)
    if chip.fp32_tflops:
        notes.append("no bf16 rate in the catalog: that of fp32 taken")
        return chip.fp32_tflops * _MEASURED_SHARE * 1e12
    raise PippinError(f"the catalog has no matrix rate for {chip.name}", where="chip", fix="choose another")


@dataclass(frozen=True)
class Systems:
    """The systems of N rows: the distinct ones, and which a row runs on (None: all on the only one)."""

    distinct: tuple[System, ...]
    index: Integers | None

    @classmethod
    def of(cls, systems: System | Sequence[System]) -> Self:
        """Gathers systems; a single one gives scalars, which broadcast."""
        if isinstance(systems, System):
            return cls((systems,), None)
        places = {system: place for place, system in enumerate(dict.fromkeys(systems))}
        return cls(tuple(places), np.array([places[system] for system in systems], np.int64))

    def gather(self, values: Any) -> Any:
        """One value per distinct system to one per row."""
        if self.index is None:
            return np.asarray(values)[0]
        return np.asarray(values)[self.index]

    def _field(self, name: str) -> Floats:
        values: Floats = self.gather([getattr(system, name) for system in self.distinct])
        return values

    @cached_property
    def matrix_flops(self) -> Floats:
        return self._field("matrix_flops")

    @cached_property
    def half_flops(self) -> Floats:
        return self._field("half_flops")

    @cached_property
    def matrix_bytes(self) -> Floats:
        """Bytes of an operand element of the matrix products."""
        size = {"bf16": 2.0, "fp8": 1.0, "fp4": 0.5, "int8": 1.0, "fp32": 4.0}
        values: Floats = self.gather([size[system.precision] for system in self.distinct])
        return values

    @cached_property
    def memory_bytes_per_second(self) -> Floats:
        return self._field("memory_bytes_per_second")

    @cached_property
    def domain_chips(self) -> Floats:
        return self._field("domain_chips")

    @cached_property
    def ring_axes(self) -> Floats:
        return self._field("ring_axes")

    @cached_property
    def scaleup_bytes_per_second(self) -> Floats:
        return self._field("scaleup_bytes_per_second")

    @cached_property
    def scaleup_latency(self) -> Floats:
        return self._field("scaleup_latency")

    @cached_property
    def scaleout_bytes_per_second(self) -> Floats:
        return self._field("scaleout_bytes_per_second")

    @cached_property
    def scaleout_latency(self) -> Floats:
        return self._field("scaleout_latency")

    @cached_property
    def age_years(self) -> Floats:
        """Years from the software to the newest that the calibration knows."""
        values: Floats = self.gather([PRESENT_YEAR - system.year for system in self.distinct])
        return values

    @cached_property
    def unready(self) -> Floats:
        """How far the software is from kernels made for the chip's asynchronous units, 1 (early) to 0.

        FlashAttention-3, the first such for the H100 of 2022, came in July 2024 (arXiv 2407.08608, figure 5:
        1.5 to 2 times FlashAttention-2's rate on it). Earlier chips have no such units.
        """
        late = [
            max(0.0, min(1.0, (s.chip_year + 2.5 - s.year) / 2.0)) if s.family in _ASYNCHRONOUS else 0.0
            for s in self.distinct
        ]
        values: Floats = self.gather(late)
        return values
