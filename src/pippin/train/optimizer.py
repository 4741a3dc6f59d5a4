"""AdamW or Muon with global-norm clipping. The learning rate is an argument of the step, not a part of it."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from pippin.job import TrainTable
from pippin.models.parameters import ParameterSpec

# Orthogonalised updates have singular values near 1. This many times sqrt(the longer side) gives their
# elements the root mean square of AdamW's, so that one rate serves both (arXiv 2502.16982, section 2.2).
_MUON_RMS = 0.2
# Axes along which a stacked array holds matrices of their own; of the router a vector for each expert.
_BATCH_AXES = ("layer", "expert", "router")


def decayed(parameters: Any) -> Any:
    """Which arrays weight decay shrinks: matrices, not norm scales."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "norm" not in jax.tree_util.keystr(path[-1:]), parameters
    )


def make_optimizer(train: TrainTable, specs: Any) -> optax.GradientTransformation:
    """Clipping, the update's direction, width scaling and decoupled weight decay, for a rate of -1.

    `specs` is the pytree of `ParameterSpec` of what is trained.

    The step multiplies the result by minus the rate, so that one compiled step serves any schedule. Decay
    comes after the width scaling: its strength follows the rate alone, at any width.
    """
    parts = [
        _clip(train.clip_norm),
        _direction(train, specs),
        optax.add_decayed_weights(train.weight_decay, mask=decayed),
    ]
    if train.mup_base_width is not None:
        parts.insert(2, _scale_each(rate_multipliers(train, specs)))
    return optax.chain(*parts)


def rate_multipliers(train: TrainTable, specs: Any) -> Any:
    """How much of the learning rate each array gets at this width, a pytree of floats.

    The simple form of maximal-update parametrisation (Wortsman et al., arXiv 2309.14322, section 3.2.3; Yang
    et al., arXiv 2203.03466): AdamW moves every element by about the rate, so that the change a matrix makes
    to its output grows with its fan-in; matrices that read the residual stream or a part of it, whose widths
    grow with `d_model`, take `base / d_model` of the rate. Muon's update has a spectral norm that grows with
    the square root of the width, hence the square root of that share. Norm scales, and an embedding that is
    not the head too, keep the whole rate.
    """
    width = specs["embedding"].shape[-1]
    share = 1.0 if train.mup_base_width is None else train.mup_base_width / width
    muon, tied = _labels(train, specs), "head" not in specs

    def multiplier(path: Any, spec: ParameterSpec) -> float:
        name = path[-1].key
        if "norm" in name or (name == "embedding" and not tied):
            return 1.0
        return math.sqrt(share) if _at(muon, path) == "muon" else share

    return jax.tree_util.tree_map_with_path(multiplier, specs)


def muon_sides(spec: ParameterSpec) -> MuonDimensionNumbers | None:
    """Which axes of a layer's array a matrix product sums over, and which it gives; None: not Muon's.

    Muon takes the matrices inside the layers. The embedding and the head, whose rows are tokens, the
    router, whose columns are experts, and norm scales stay with AdamW.
    """
    if spec.axes[0] != "layer":
        return None
    sides = [i for i, axis in enumerate(spec.axes) if axis not in _BATCH_AXES]
    names = [spec.axes[i] for i in sides]
    if len(sides) < 2 or "embed" not in (names[0], names[-1]):
        return None
    if names[0] == "embed":
        return MuonDimensionNumbers((sides[0],), tuple(sides[1:]))
    return MuonDimensionNumbers(tuple(sides[:-1]), (sides[-1],))


def _direction(train: TrainTable, specs: Any) -> optax.GradientTransformation:
    adam = optax.scale_by_adam(b1=train.beta1, b2=train.beta2, eps=train.epsilon)
    if train.optimizer == "adamw":
        return adam
    labels = _labels(train, specs)
    # Of the arrays of its part only: the others stand in the tree as masks, which are not leaves.
    sides = jax.tree.map(
        lambda label, spec: muon_sides(spec) if label == "muon" else optax.MaskedNode(), labels, specs
    )
    muon = optax.chain(
        scale_by_muon(beta=0.95, weight_dimension_numbers=sides),
        _scale_each(jax.tree.map(_muon_scale, labels, specs)),
    )
    return optax.partition({"muon": muon, "adamw": adam}, labels)


def _labels(train: TrainTable, specs: Any) -> Any:
    def label(spec: ParameterSpec) -> str:
        return "muon" if train.optimizer == "muon" and muon_sides(spec) else "adamw"

    return jax.tree.map(label, specs)


def _muon_scale(label: str, spec: ParameterSpec) -> Any:
    sides = muon_sides(spec) if label == "muon" else None
    if sides is None:
        return optax.MaskedNode()
    assert isinstance(sides.reduction_axis, tuple) and isinstance(sides.output_axis, tuple)
    fan_in, fan_out = (
        math.prod(spec.shape[i] for i in axes) for axes in (sides.reduction_axis, sides.output_axis)
    )
    return _MUON_RMS * math.sqrt(max(fan_in, fan_out))


def _clip(largest: float) -> optax.GradientTransformation:
    """Scales gradients down to a global norm of at most `largest`.

    By one factor, where optax divides and then multiplies: a division is written out before it is used, a
    product with a scalar is taken into each loop that reads the gradient.
    """

    def clip(gradients: Any, _: Any) -> Any:
        factor = jnp.minimum(1.0, largest / optax.global_norm(gradients))
        return jax.tree.map(lambda gradient: gradient * factor.astype(gradient.dtype), gradients)

    return optax.stateless(clip)


def _scale_each(factors: Any) -> optax.GradientTransformation:
    """Multiplies each array by its own factor."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda update, factor: update * factor, updates, factors)
    )


def _at(tree: Any, path: Any) -> Any:
    for part in path:
        tree = tree[part.key]
    return tree
