"""Memory of one device: what each stage of a pipeline holds at the peak of a step.

States follow ZeRO (arXiv 1910.02054), activations Korthikanti et al. (arXiv 2205.05198) written out for
grouped queries, latent attention, gated feed-forward parts and experts. All arrays have one element a layout.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pippin.plan.activations import LayerActivations
from pippin.plan.counts import Parameters
from pippin.plan.framework import MEGATRON, Framework
from pippin.plan.layout import Floats, Layouts
from pippin.plan.shape import Shapes
from pippin.plan.stages import Stage, candidate_stages


@dataclass(frozen=True)
class Memory:
    """Bytes of one device at the peak, by what they hold. Arrays of one element a layout."""

    parameters: Floats
    gradients: Floats
    optimizer: Floats
    activations: Floats
    logits: Floats
    working: Floats  # of the layer that is being computed: recomputation, gradients before they are added
    communication: Floats

    @property
    def total(self) -> Floats:
        return sum((getattr(self, f.name) for f in fields(self)), np.zeros(()))


def memory(
    shapes: Shapes, layouts: Layouts, framework: Framework = MEGATRON, slice_chips: float = np.inf
) -> Memory:
    """The stage that needs most, for each layout.

    Args:
        shapes: one model, or one a layout.
        layouts: how the step is spread.
        framework: what is kept, and in how many bytes.
        slice_chips: ZeRO 3 splits states no further than over neighbours among so many chips: on a torus
            the slice, as in `steptime`.
    """
    model = _Model(shapes, layouts, framework, slice_chips)
    worst = model.stage(np.zeros((), np.int64))
    for index in candidate_stages(shapes, layouts)[1:]:
        other = model.stage(index)
        more = other.total > worst.total
        worst = Memory(
            **{f.name: np.where(more, getattr(other, f.name), getattr(worst, f.name)) for f in fields(Memory)}
        )
    return worst


def stage_memory(
    shapes: Shapes,
    layouts: Layouts,
    stage: int,
    framework: Framework = MEGATRON,
    slice_chips: float = np.inf,
) -> Memory:
    """One stage's memory; `stage` counts from 0 and must be less than every layout's number of stages."""
    return _Model(shapes, layouts, framework, slice_chips).stage(np.asarray(stage))


class _Model:
    """What does not depend on the stage, computed once."""

    def __init__(self, shapes: Shapes, layouts: Layouts, framework: Framework, slice_chips: float) -> None:
        self.s, self.lay, self.f = shapes, layouts, framework
        self.p = Parameters.of(shapes)
        self.layer = LayerActivations.of(shapes, layouts, framework)
        # Experts lie whole on their ranks, or else are cut like dense weights (as in `steptime`).
        self.expert_spread = np.where(layouts.expert > 1, layouts.expert, layouts.tensor)
        replicas = layouts.data * layouts.context
        experts = np.maximum(1, replicas * layouts.tensor // self.expert_spread)
        self.replicas, self.expert_replicas = replicas, experts
        if np.isfinite(slice_chips) and np.any(np.asarray(layouts.zero) >= 3):
            # Ranks of a group that share a slice; the group's members are `stride` ranks apart.
            for name, stride in (("replicas", layouts.tensor), ("expert_replicas", self.expert_spread)):
                inside = np.minimum(np.maximum(slice_chips // stride, 1), getattr(self, name))
                setattr(self, name, np.where(layouts.zero >= 3, inside, getattr(self, name)))

    def stage(self, index: np.ndarray) -> Memory:
        stage = Stage.of(self.s, self.lay, index)
        dense, expert, scratch = self._parameters(stage)
        f, zero = self.f, self.lay.zero
        layers = np.maximum(stage.layers, 1)

        def spread(bytes_each: float, above: int) -> Floats:
            whole = zero < above
            return bytes_each * (
                dense / np.where(whole, 1, self.replicas) + expert / np.where(whole, 1, self.expert_replicas)
            )

        # What is split must be whole for the layer at hand: the next one's parameters are fetched meanwhile.
        one_layer = (dense + expert) / layers
        gathered = np.where(zero >= 3, 2 * f.activation * one_layer, 0.0)
        gathered = gathered + np.where(zero >= 2, f.gradient * one_layer, 0.0)
        activations, working = self._activations(stage)
        logits = self._logits(stage)
        return Memory(
            parameters=spread(f.parameter, 3),
            gradients=spread(f.gradient, 2),
            optimizer=spread(f.optimizer, 1),
            activations=activations,
            logits=logits,
            # The loss is over when the backward pass of the layers begins.
            working=np.maximum(working, logits) - logits + f.weight_scratch * f.activation * scratch,
            communication=gathered + self.layer.exchange,
        )

    def _parameters(self, stage: Stage) -> tuple[Floats, Floats, Floats]:
        """Elements on a rank: all but experts, experts, and the weights of the largest layer."""
        s, p, t = self.s, self.p, self.lay.tensor
        latent = np.where(s.kv_rank > 0, s.d_model * (s.q_rank + s.kv_rank + s.rope_dim), 0)  # on every rank
        attention = (p.attention + p.key_value - latent) / t + latent
        unused_keys = (stage.layers - stage.own_keys) * p.key_value / t
        experts = s.num_experts * p.expert / self.expert_spread
        moe_rest = p.shared_expert / t + p.router
        ends = np.where(stage.first, (p.embedding / t + p.positions), 0.0)
        # A tied head is a copy where the last stage is not the first.
        head = np.where(stage.last & ~(s.tied & stage.first), p.embedding / t, 0.0)
        dense = stage.layers * (attention + p.norms) - unused_keys + stage.dense * p.dense_ffn / t
        dense = dense + stage.moe * moe_rest + ends + head
        feed_forward = np.where(stage.moe > 0, p.expert + moe_rest, p.dense_ffn / t)
        scratch = (
            attention
            + feed_forward
            + np.where(stage.last, p.embedding / t, 0.0) / max(self.f.weight_scratch, 1.0)
        )
        return dense, stage.moe * experts, scratch

    def _activations(self, stage: Stage) -> tuple[Floats, Floats]:
        a, lay = self.layer, self.lay
        moe_share = stage.moe / np.maximum(stage.layers, 1)
        kept = a.kept_dense + moe_share * (a.kept_moe - a.kept_dense)
        again = lay.recompute_layers
        each = again * a.entry + (1 - again) * kept
        whole = np.maximum(np.where(stage.dense > 0, a.full_dense, 0), np.where(stage.moe > 0, a.full_moe, 0))
        working = np.where(again > 0, whole, np.where(lay.recompute_attention, a.attention_core, 0.0))
        return stage.in_flight * stage.layers * each, working

    def _logits(self, stage: Stage) -> Floats:
        lay, f = self.lay, self.f
        tokens = lay.micro_batch * lay.sequence_length / lay.context
        if f.loss_chunk_tokens:
            most = f.loss_chunk_bytes * lay.tensor // (4 * self.s.vocab_size)
            tokens = np.minimum(tokens, np.maximum(most, f.loss_chunk_tokens))
        return np.where(stage.last, f.logit * tokens * self.s.vocab_size / lay.tensor, 0.0)
