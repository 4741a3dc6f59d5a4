"""The loop over layers on a mesh: parameters are gathered layer by layer, and what backward needs is kept
or computed again (rematerialisation).

- `none` keeps what was computed. Gathered parameters are not kept: they are gathered again.
- `selective` keeps the products with parameters and what tensor-parallel groups added up; attention, norms
  and gathers are done again (Korthikanti et al., arXiv 2205.05198, keeps all but attention).
- `full` keeps a layer's input alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
from jax import Array, lax

from pippin.models.functions import Layer, Parameters

Remat = Literal["none", "selective", "full"]
# What moves data and computes nothing costs little to do again; through these a gathered parameter would be
# kept under another form.
_MOVES = {
    "reshape", "transpose", "convert_element_type", "squeeze", "expand_dims", "broadcast_in_dim", "slice",
    "copy", "pvary", "pcast", "split", "concatenate", "rev",
}  # fmt: skip


def _keep_computed(primitive: Any, *_: Any, **parameters: Any) -> bool:
    if primitive.name.startswith("all_gather"):
        return "fsdp" not in _axes(parameters)
    return primitive.name not in _MOVES


def _keep_products(primitive: Any, *avals: Any, **parameters: Any) -> bool:
    if primitive.name in ("reduce_scatter", "psum_scatter"):
        return True
    plain = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return bool(plain(primitive, *avals, **parameters))


def _axes(parameters: dict[str, Any]) -> tuple[str, ...]:
    name = parameters.get("axis_name", ())
    return (name,) if isinstance(name, str) else tuple(name)


def layer_loop(
    gather: Callable[[Parameters], Parameters] | None, remat: Remat, *, scan: bool
) -> Callable[[Layer, Array, Parameters], tuple[Array, Any]]:
    """The loop to hand to the decoder.

    Args:
        gather: makes one layer's parameters whole; None where they are.
        remat: what backward finds kept.
        scan: one compiled layer in a loop, or every layer written out.
    """

    def layers(layer: Layer, x_BSE: Array, stacked: Parameters) -> tuple[Array, Any]:
        count = jax.tree.leaves(stacked)[0].shape[0]

        def body(x: Array, parameters: Parameters) -> tuple[Array, Any]:
            return layer(x, gather(parameters) if gather else parameters)

        return lax.scan(_remat(body, gather, remat, scan), x_BSE, stacked, unroll=1 if scan else count)

    return layers


def _remat(body: Layer, gather: Any, remat: Remat, scan: bool) -> Layer:
    if remat == "none" and gather is None:
        return body
    policies = {"none": _keep_computed, "selective": _keep_products, "full": None}
    # In a loop nothing can be merged with the forward pass; written out it could be, and so be kept.
    kept: Layer = jax.checkpoint(body, policy=policies[remat], prevent_cse=not scan)
    return kept
