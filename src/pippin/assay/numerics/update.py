"""The optimiser's update on the chip, beside the same by formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax

from pippin.assay.numerics import oracle
from pippin.assay.numerics.computer import Computer
from pippin.assay.numerics.operation import Deviation
from pippin.assay.numerics.rounding import relative_norm, sum_error, worst_element
from pippin.job import TrainTable
from pippin.models.parameters import ParameterSpec
from pippin.train.optimizer import make_optimizer

_STEPS, _RATE = 3, 0.01
_MARGIN, _EXTREME, _INNER_TERMS = 2.0, 6.0, 64


def compare_update(train: TrainTable, width: int, chip: Computer) -> list[Deviation]:
    """Three AdamW updates of a matrix and a norm scale; what is compared is by how much they moved.

    The optimiser's correction for its zero start, 1 - beta^t, is a difference of near numbers: it loses
    1 / (1 - beta) in precision, which the tolerance grants.
    """
    if train.optimizer != "adamw" or train.mup_base_width is not None:
        return []
    random = np.random.default_rng(0)
    values = {"matrix": random.standard_normal((64, width)), "norm": np.ones(width)}
    gradients = {name: random.standard_normal(value.shape) for name, value in values.items()}
    narrow = [{name: x.astype(np.float32) for name, x in tree.items()} for tree in (values, gradients)]
    found = chip.run(lambda values, gradients: _updated(train, values, gradients), *narrow)
    wide = [{name: x.astype(np.float64) for name, x in tree.items()} for tree in narrow]
    expected = oracle.adamw(wide[1], wide[0], _STEPS, _RATE, train)
    allowed = sum_error(_INNER_TERMS) + sum_error(1) / (1 - max(train.beta1, train.beta2))
    rows = []
    for name, start in wide[0].items():
        moved = [side[name].astype(np.float64) - start for side in (found, expected)]
        error, worst = relative_norm(*moved), worst_element(*moved)
        tolerances = (_MARGIN * allowed, _MARGIN * _EXTREME * allowed)
        rows.append(Deviation("optimiser update", "update", name, error, tolerances[0], worst, tolerances[1]))
    return rows


def _updated(train: TrainTable, values: Any, gradients: Any) -> Any:
    specs = {
        name: ParameterSpec(value.shape, ("vocab", "embed")[-value.ndim :], None)
        for name, value in values.items()
    }
    optimizer = make_optimizer(train, specs)
    state = optimizer.init(values)
    for _ in range(_STEPS):
        changes, state = optimizer.update(gradients, state, values)
        values = optax.apply_updates(values, {name: -_RATE * change for name, change in changes.items()})
    return values
