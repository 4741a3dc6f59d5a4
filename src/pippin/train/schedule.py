"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from pippin.job import TrainTable


def learning_rate(train: TrainTable, step: int) -> float:
    """The rate of a step, counted from 0.

    `cosine`: linear warm-up, then half a cosine to the final fraction of the peak.
    `wsd`: linear warm-up, constant, then linear decay over the last `decay_fraction` of the steps
    (Hu et al., arXiv 2404.06395).
    """
    warmup = round(train.warmup_fraction * train.steps)
    if step < warmup:
        return train.learning_rate * (step + 1) / (warmup + 1)
    phase = train.steps - warmup if train.schedule == "cosine" else round(train.decay_fraction * train.steps)
    decay = max(1, phase)
    done = max(0, step - (train.steps - decay)) / decay
    falling = 0.5 * (1 + math.cos(math.pi * done)) if train.schedule == "cosine" else 1 - done
    floor = train.final_learning_rate_fraction
    return train.learning_rate * (floor + (1 - floor) * falling)
