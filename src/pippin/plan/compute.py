"""What a chip does by itself: seconds of one micro-batch through one layer, forward and backward.

A matrix product costs its operations at the rate of large products, plus the part of its traffic (activations
read and written, weights read and written) that does not hide behind them. So a product of few tokens, of a
narrow slice or in a faster format reaches less of its rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.plan.coefficients import Coefficients
from pippin.plan.layout import Floats, Layouts
from pippin.plan.shape import Shapes
from pippin.plan.system import Systems
from pippin.plan.work import LayerCounts, attention_pairs, layer_counts

_HALF = 2.0  # bytes of a bfloat16 element
# Passes over activations as wide as the model, forward and backward: two norms and two residual sums.
_WHOLE_PASSES, _WHOLE_FORWARD = 24.0, 10.0
# Over what the activation function sees, and over queries, keys and values (rotation, layout).
_HIDDEN_PASSES, _ROTARY_PASSES = 2.7, 6.0
# Over the S x S scores, where attention makes them: scores, mask, softmax, dropout; then their gradients.
_SCORE_PASSES = 12.0
# Float32 logits: written, read for the maximum and the sum, their gradient written and read twice.
_LOGIT_BYTES = 20.0
# Tokens on their way to experts and back: gathered, scattered, weighted, both ways.
_PERMUTE_PASSES = 8.0
# An operand in a narrow format is read in bfloat16 and written twice, plain and transposed.
_CAST_BYTES = 4.0
# Backward of a product is two products; that of fused attention is five to the forward's two, because it
# computes the scores again (Dao et al., arXiv 2205.14135).
_BACKWARD, _ATTENTION_BACKWARD = 2.0, 2.5
# Head dimension at which fused attention reaches about half of what it reaches with long ones.
_SHORT_HEAD = 64.0
# Of elementwise passes the forward's share, which recomputation repeats.
_FORWARD_PASSES = _WHOLE_FORWARD / _WHOLE_PASSES


@dataclass(frozen=True)
class LayerSeconds:
    """One micro-batch through one layer. Forward and backward, but for the two that are done again."""

    products: Floats
    attention: Floats
    memory: Floats
    repeated: Floats  # forward work that the backward pass does again
    launch: Floats  # host time, which device time runs beside

    @property
    def device(self) -> Floats:
        return self.products + self.attention + self.memory + self.repeated


@dataclass(frozen=True)
class Device:
    """Rates of a chip as the formulas use them: seconds per operation and per byte."""

    product: Floats
    half_product: Floats
    attention: Floats
    byte: Floats
    element: Floats  # bytes of an element between products
    operand_bytes: Floats
    narrow: Any  # whether products run in a format that operands must be converted to
    experts: Floats  # slowdown of what brings tokens to experts, for the age of the software

    @classmethod
    def of(cls, systems: Systems, c: Coefficients) -> Device:
        operand = systems.matrix_bytes
        kind = systems.gather([s.precision for s in systems.distinct])
        extra = np.where(
            kind == "fp8", c.fp8, np.where(kind == "fp4", c.fp4, np.where(kind == "int8", c.int8, 1.0))
        )
        return cls(
            product=1.0 / (systems.matrix_flops * c.matrix * extra),
            half_product=1.0 / (systems.half_flops * c.matrix),
            attention=np.exp(c.attention_unready * systems.unready) / (systems.half_flops * c.attention),
            byte=1.0 / systems.memory_bytes_per_second,
            element=np.maximum(operand, _HALF),
            operand_bytes=operand,
            narrow=operand < _HALF,
            experts=np.exp(c.drift_experts * systems.age_years),
        )


@dataclass(frozen=True)
class Tokens:
    """Tokens of a micro-batch on a rank: of its slice of the sequence, and as its peers cut it."""

    whole: Floats
    cut: Floats
    tensor: Floats

    @classmethod
    def of(cls, layouts: Layouts) -> Tokens:
        tensor = np.asarray(layouts.tensor, np.float64)
        whole = layouts.micro_batch * (layouts.sequence_length / layouts.context)
        return cls(whole, whole / np.where(layouts.sequence_parallel, tensor, 1.0), tensor)


def dense_layer(s: Shapes, lay: Layouts, t: Tokens, v: Device, c: Coefficients) -> LayerSeconds:
    """A layer whose feed-forward part is dense."""
    n = layer_counts(s)
    weights = (n.attention_weights + n.dense_weights) / t.tensor
    edges = n.attention_whole + n.dense_whole + (n.attention_cut + n.dense_cut) / t.tensor
    products = _products(t.whole, weights, weights, edges, v, c)
    memory = _passes(s, n, n.dense_hidden, t, edges, v, c)
    return _layer(s, lay, n, t, v, c, products, memory, c.launch)


def expert_layer(s: Shapes, lay: Layouts, t: Tokens, v: Device, c: Coefficients) -> LayerSeconds:
    """A layer with experts: routed ones, shared ones that see every token, and the moves between them."""
    n = layer_counts(s)
    expert = np.asarray(lay.expert, np.float64)
    # Experts are spread over `expert` ranks, or else cut like dense weights. Either way a rank computes its
    # share of the tokens' copies.
    local = np.where(expert > 1, s.num_experts / expert, s.num_experts / t.tensor)
    copies = s.top_k / t.tensor
    slice_ = np.where(expert > 1, 1.0, t.tensor)
    slow = np.sqrt(v.experts)
    weights = (n.attention_weights + n.shared_weights) / t.tensor + slow * copies * n.expert_weights
    traffic = (n.attention_weights + n.shared_weights) / t.tensor + local * n.expert_weights
    expert_edges = copies * (2.0 * s.d_model * slice_ + n.expert_hidden)
    shared = np.where(s.shared_ffn_dim > 0, 2.0 * s.d_model, 0.0)
    edges = n.attention_whole + shared + (n.attention_cut + n.shared_cut) / t.tensor + expert_edges
    products = _products(t.whole, weights, traffic, edges, v, c)
    hidden = n.shared_hidden + s.top_k * n.expert_hidden
    memory = _passes(s, n, hidden, t, edges, v, c)
    moved = t.cut * s.top_k * np.where(lay.sequence_parallel, 1.0, 1.0 / t.tensor)
    permute = v.experts * c.permute * _PERMUTE_PASSES * v.element * v.byte * moved * s.d_model
    return _layer(s, lay, n, t, v, c, products, memory + permute, c.launch * c.launch_experts * v.experts)


def head_seconds(s: Shapes, t: Tokens, v: Device, c: Coefficients) -> tuple[Floats, Floats]:
    """Head and loss of one micro-batch: the product (in bfloat16), and the passes over logits."""
    vocabulary = s.vocab_size / t.tensor
    weights = s.d_model * vocabulary
    flops = 2.0 * (1.0 + _BACKWARD) * t.whole * weights * v.half_product
    traffic = 3.0 * v.element * v.byte * (c.weight_traffic * weights)
    return flops + traffic, c.memory * _LOGIT_BYTES * v.byte * t.whole * vocabulary


def _products(
    tokens: Floats, weights: Floats, traffic: Floats, edges: Floats, v: Device, c: Coefficients
) -> Floats:
    """Forward and backward of a layer's products: `weights` elements multiplied, `traffic` of them moved."""
    operations = tokens * (2.0 * v.product * weights + (c.activation_traffic * v.element * v.byte) * edges)
    return (1.0 + _BACKWARD) * (operations + (c.weight_traffic * v.element * v.byte) * traffic)


def _passes(
    s: Shapes, n: LayerCounts, hidden: Floats, t: Tokens, edges: Floats, v: Device, c: Coefficients
) -> Floats:
    whole = t.cut * (_WHOLE_PASSES * s.d_model)
    inner = t.whole / t.tensor * (_HIDDEN_PASSES * hidden + _ROTARY_PASSES * (n.score_width + n.kv_width))
    casts = np.where(v.narrow, c.cast * _CAST_BYTES, 0.0)
    return v.byte * (c.memory * v.element * (whole + inner) + casts * (t.whole * edges))


def _attention(
    s: Shapes, lay: Layouts, n: LayerCounts, t: Tokens, v: Device, c: Coefficients
) -> tuple[Floats, Floats]:
    """Forward of one layer's attention: its operations, and the traffic of scores where it makes them."""
    per_rank = lay.micro_batch / (t.tensor * lay.context)
    pairs = attention_pairs(s, lay.sequence_length, lay.flash) * per_rank
    # Short heads leave the matrix unit waiting for the softmax between two small products.
    short = (1.0 + _SHORT_HEAD / s.head_dim) / (1.0 + _SHORT_HEAD / 128.0)
    operations = (2.0 * v.attention * short * n.score_width) * pairs
    scores = np.where(lay.flash, 0.0, (_SCORE_PASSES * v.element * v.byte * c.softmax) * s.heads * pairs)
    return operations, scores


def _layer(
    s: Shapes,
    lay: Layouts,
    n: LayerCounts,
    t: Tokens,
    v: Device,
    c: Coefficients,
    products: Floats,
    memory: Floats,
    launch: Floats,
) -> LayerSeconds:
    operations, scores = _attention(s, lay, n, t, v, c)
    forward_attention = operations + 0.4 * scores
    backward = np.where(lay.flash, _ATTENTION_BACKWARD, _BACKWARD)
    attention = (1.0 + backward) * operations + scores
    again = lay.recompute_layers * (products / 3.0 + forward_attention + _FORWARD_PASSES * memory)
    # Fused attention computes its scores again in any case.
    selective = (1.0 - lay.recompute_layers) * np.where(
        lay.recompute_attention & ~np.asarray(lay.flash), forward_attention, 0.0
    )
    return LayerSeconds(
        products=products,
        attention=attention,
        memory=memory,
        repeated=again + selective,
        launch=launch * (1.0 + lay.recompute_layers / 3.0),
    )
