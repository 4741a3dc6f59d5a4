"""The few numbers that the formulas cannot know: what each is, and what it is thought to be without runs.

A coefficient is a positive number. Its logarithm is a base value plus deviations of the chip's family, of the
chip and of the software, so that what one run teaches about a family holds for the family's other chips. The
prior of a base value is (value, standard deviation of its logarithm), that of a deviation is (1, deviation).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from pippin.plan.layout import Floats
from pippin.plan.system import System, Systems


@dataclass(frozen=True)
class Prior:
    """What a coefficient is thought to be, and where it may deviate (standard deviations of logarithms)."""

    value: float
    sd: float
    levels: dict[str, float] = field(default_factory=dict)
    why: str = ""


PRIORS: dict[str, Prior] = {
    "matrix": Prior(0.92, 0.1, {"family": 0.2, "chip": 0.12}, "large products, over the measured ceiling"),
    "fp8": Prior(0.85, 0.15, {"family": 0.1, "stack": 0.12}, "the same in fp8, over its own ceiling"),
    "fp4": Prior(0.69, 0.15, {}, "the same in fp4"),
    "int8": Prior(0.8, 0.2, {}, "the same in int8"),
    "activation_traffic": Prior(
        1.5, 0.4, {"family": 0.3}, "traffic of a product's activations that it does not hide"
    ),
    "weight_traffic": Prior(1.5, 0.4, {}, "the same of its weights"),
    "attention": Prior(0.5, 0.25, {"family": 0.25, "stack": 0.15}, "over the bfloat16 matrix ceiling"),
    "attention_unready": Prior(0.8, 0.4, {}, "logarithm lost per unit of `Systems.unready`"),
    "softmax": Prior(1.0, 0.4, {}, "passes over an S x S array, where attention makes one"),
    "memory": Prior(1.0, 0.3, {"family": 0.2, "stack": 0.3}, "elementwise passes, over a count of them"),
    "cast": Prior(1.0, 0.5, {}, "passes that make low-precision operands, over a count of them"),
    "launch": Prior(8e-4, 0.5, {"stack": 0.7}, "seconds of host time for a layer, forward and backward"),
    "launch_experts": Prior(2.0, 0.4, {}, "the same of a layer with experts, over a dense one's"),
    "scaleup": Prior(0.75, 0.2, {"family": 0.2}, "share of the scale-up bandwidth that a collective reaches"),
    "scaleout": Prior(0.7, 0.25, {"stack": 0.2}, "share of the scale-out bandwidth"),
    "tensor_exposed": Prior(0.5, 0.4, {}, "share of tensor-parallel exchange left beside the products"),
    "context_exposed": Prior(0.3, 0.5, {}, "share of the keys' and values' round left beside attention"),
    "data_exposed": Prior(0.2, 0.5, {}, "share of gradient and parameter exchange left beside compute"),
    "expert_exposed": Prior(0.7, 0.4, {}, "share of the experts' all-to-all left"),
    "stage_exposed": Prior(0.5, 0.5, {}, "share of the exchange between stages left"),
    "permute": Prior(1.0, 0.5, {"stack": 0.3}, "passes that bring tokens to experts, over a count of them"),
    "straggler": Prior(0.004, 0.6, {}, "share of the step lost at each doubling of the chips"),
    "optimizer": Prior(1.0, 0.4, {}, "passes of the optimiser, over a count of them"),
    "update": Prior(0.015, 0.6, {}, "seconds of an update that do not depend on its size"),
    "drift": Prior(0.04, 0.4, {}, "how much slower a dense model is for each year of the software's age"),
    "drift_experts": Prior(0.4, 0.4, {}, "how much slower each year tokens come to experts and back"),
    "scale": Prior(1.0, 1e-3, {"stack": 0.12, "chip": 0.15, "pair": 0.1}, "everything together"),
}


@dataclass(frozen=True)
class Coefficients:
    """One value of each coefficient per row, or a scalar for all. The names are those of `PRIORS`."""

    matrix: Floats
    fp8: Floats
    fp4: Floats
    int8: Floats
    activation_traffic: Floats
    weight_traffic: Floats
    attention: Floats
    attention_unready: Floats
    softmax: Floats
    memory: Floats
    cast: Floats
    launch: Floats
    launch_experts: Floats
    scaleup: Floats
    scaleout: Floats
    tensor_exposed: Floats
    context_exposed: Floats
    data_exposed: Floats
    expert_exposed: Floats
    stage_exposed: Floats
    permute: Floats
    straggler: Floats
    optimizer: Floats
    update: Floats
    drift: Floats
    drift_experts: Floats
    scale: Floats


NAMES = tuple(f.name for f in fields(Coefficients))


def groups_of(system: System) -> dict[str, str]:
    """The group of a system at each level."""
    return {
        "family": system.family,
        "chip": system.chip_id,
        "stack": system.stack,
        "pair": f"{system.stack}/{system.chip_id}",
    }


def keys_of(system: System, name: str) -> list[str]:
    """The terms whose values add up to the logarithm of a coefficient on a system."""
    groups = groups_of(system)
    return [name, *(f"{name}@{level}={groups[level]}" for level in PRIORS[name].levels)]


def own_key(system: System, name: str) -> str:
    """The term by which assays of this very machine shift a coefficient; no fit of runs knows it."""
    return own_key_of(groups_of(system)["pair"], name)


def own_key_of(pair: str, name: str) -> str:
    """The same, of a pair of software and chip."""
    return f"{name}@assayed={pair}"


def is_own(key: str) -> bool:
    """Whether a term is one of these."""
    return "@assayed=" in key


def prior_of(key: str) -> tuple[float, float]:
    """Mean and standard deviation of a term's logarithm before any run is seen."""
    name, _, group = key.partition("@")
    prior = PRIORS[name]
    if not group:
        return float(np.log(prior.value)), prior.sd
    return 0.0, prior.levels[group.partition("=")[0]]


def term_keys(systems: Iterable[System]) -> list[str]:
    """Every term that some system uses."""
    return list(dict.fromkeys(key for s in systems for name in NAMES for key in keys_of(s, name)))


def gather(systems: Systems, values: dict[str, Any]) -> Coefficients:
    """Coefficients per row. `values` maps a term to its logarithm; a deviation it lacks is zero."""

    def logarithm(system: System, name: str) -> float:
        keys = keys_of(system, name)
        base = values.get(keys[0], prior_of(keys[0])[0])
        return float(base + sum(values.get(key, 0.0) for key in (*keys[1:], own_key(system, name))))

    table = {name: [logarithm(system, name) for system in systems.distinct] for name in NAMES}
    return Coefficients(**{name: systems.gather(np.exp(row)) for name, row in table.items()})
