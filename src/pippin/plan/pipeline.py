"""Pipeline stages: how unevenly layers and head fall on them, and how long they wait for each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.plan.layout import Floats, Layouts


@dataclass(frozen=True)
class Stages:
    """Layers of the stage that has most and of the last one, and the mean over stages."""

    most: Floats
    last: Floats
    mean: Floats


def split_layers(num_layers: Any, stage: Any, interleave: Any) -> Stages:
    """How many layers stages hold, virtual ones of a rank together.

    Layers that do not divide evenly go to the first chunks. Where layers with embedding and head do
    (Llama 3.1's 126 + 2), those two count as a layer each, as in its published recipe (arXiv 2407.21783,
    section 3.3.2: one layer less on the first and the last stage).
    """
    mean = num_layers / stage
    chunks = stage * interleave
    even = num_layers % chunks == 0
    with_ends = ~even & ((num_layers + 2) % chunks == 0) & (stage > 1)
    most = np.where(with_ends, (num_layers + 2) / stage, np.ceil(num_layers / chunks) * interleave)
    most = np.where(even, mean, np.minimum(most, num_layers))
    last = np.where(even, mean, np.where(with_ends, most - 1.0, np.floor(mean)))
    return Stages(most, last, mean)


def pipeline_seconds(
    stages: Stages, layer_seconds: Floats, head_seconds: Floats, layouts: Layouts
) -> tuple[Floats, Floats]:
    """Seconds that a rank works in a step on average, and that it waits on top of that.

    With m micro-batches, p stages and v virtual stages a rank, 1F1B takes m times the slowest stage plus
    (p - 1) / v times a mean one (Narayanan et al., arXiv 2104.04473, section 2.2).

    Args:
        stages: from `split_layers`.
        layer_seconds: mean of a layer, one micro-batch, forward and backward.
        head_seconds: of the head and loss, on the last stage.
        layouts: N layouts.
    """
    micro_batches = np.asarray(layouts.micro_batches, np.float64)
    mean = stages.mean * layer_seconds + head_seconds / layouts.stage
    slowest = np.maximum(stages.most * layer_seconds, stages.last * layer_seconds + head_seconds)
    slowest = np.maximum(slowest, mean)
    fill = (layouts.stage - 1.0) / layouts.interleave * mean
    return micro_batches * mean, micro_batches * (slowest - mean) + fill
