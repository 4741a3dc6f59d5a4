"""AdamW with global-norm clipping. The learning rate is an argument of the step, not a part of it."""

from __future__ import annotations

from typing import Any

import jax
import optax

from pippin.job import TrainTable


def decayed(parameters: Any) -> Any:
    """Which arrays weight decay shrinks: matrices, not norm scales."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "norm" not in jax.tree_util.keystr(path[-1:]), parameters
    )


def make_optimizer(train: TrainTable) -> optax.GradientTransformation:
    """Clipping, Adam moments and decoupled weight decay, for a learning rate of -1.

    The step multiplies the result by minus the rate, so that one compiled step serves any schedule.
    """
    return optax.chain(
        optax.clip_by_global_norm(train.clip_norm),
        optax.scale_by_adam(b1=train.beta1, b2=train.beta2, eps=train.epsilon),
        optax.add_decayed_weights(train.weight_decay, mask=decayed),
    )
