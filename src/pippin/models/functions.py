"""What the decoder does not decide: how work is spread, and which kernel does it.

The decoder runs on whatever part of the arrays it is given. Where parts must meet, it calls one of these
functions; the defaults are those of a single device, and `parallel/` makes others for a mesh. Shapes as in
`models.decoder`; X is any width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax import Array, lax

from pippin.models.attention import Attention, reference_attention
from pippin.models.config import MoEConfig
from pippin.models.moe import RouterReport, mixture_of_experts

Parameters = dict[str, Any]
# One layer: the residual stream and the layer's parameters in; the stream and what the layer reports out.
Layer = Callable[[Array, Parameters], tuple[Array, Any]]

Experts = Callable[[Array, Parameters, MoEConfig], tuple[Array, RouterReport]]


def _same(x: Array) -> Array:
    return x


def look_up(table_VE: Array, tokens_BS: Array) -> Array:
    """Rows of the embedding, (B, S, E)."""
    return table_VE[tokens_BS]


def scan_layers(layer: Layer, x_BSE: Array, stacked: Parameters) -> tuple[Array, Any]:
    """One compiled layer in a loop; reports are stacked in front."""
    return lax.scan(layer, x_BSE, stacked)


def unroll_layers(layer: Layer, x_BSE: Array, stacked: Parameters) -> tuple[Array, Any]:
    """Every layer written out, for compilers that then fuse across them."""
    count = jax.tree.leaves(stacked)[0].shape[0]
    return lax.scan(layer, x_BSE, stacked, unroll=count)


@dataclass(frozen=True)
class Functions:
    """The functions handed to the decoder.

    `enter` takes a normed stream to where its projections want it (all tokens of a tensor-parallel group),
    `leave` adds up the partial results of the projections back; on one device both do nothing. `experts`
    takes entered tokens, a layer's router and expert weights and the configuration to the output that is
    left with and the layer's `RouterReport` over these tokens; `mixture_of_experts` with another `exchange`
    is what a mesh needs. `layers` is called once for each stack of layers.
    """

    attention: Attention = reference_attention
    embed: Callable[[Array, Array], Array] = look_up
    enter: Callable[[Array], Array] = _same
    leave: Callable[[Array], Array] = _same
    experts: Experts = mixture_of_experts
    layers: Callable[[Layer, Array, Parameters], tuple[Array, Any]] = scan_layers


SINGLE_DEVICE = Functions()
