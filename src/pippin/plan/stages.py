"""Which layers a pipeline stage holds, and of how many micro-batches it keeps activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pippin.plan.layout import Flags, Floats, Integers, Layouts
from pippin.plan.pipeline import split_layers
from pippin.plan.shape import Shapes


@dataclass(frozen=True)
class Stage:
    """One stage of each layout. Counts of layers; `in_flight` in micro-batches."""

    layers: Floats
    dense: Floats  # with an ordinary feed-forward part
    moe: Floats
    own_keys: Floats  # with keys and values of their own
    in_flight: Floats
    first: Flags
    last: Flags

    @classmethod
    def of(cls, s: Shapes, lay: Layouts, index: Integers) -> Stage:
        """The stage of that number; one past the end is the last. Layers fall as `split_layers` says."""
        k = np.minimum(index, lay.stage - 1)
        first, last = k == 0, k == lay.stage - 1
        split = split_layers(s.layers, lay.stage, lay.interleave)
        ends = split.most * lay.stage == s.layers + 2  # embedding and head count as a layer each
        layers = np.where(last, split.last, np.where(first & ends, split.most - 1, split.most))
        before = k * split.most - (ends & (k > 0))
        lead = np.clip(s.first_dense - before, 0, layers)
        after = np.maximum(s.layers - s.first_dense, 1)
        moe = (layers - lead) * (s.moe_layers / after)
        own_keys = np.clip(s.layers - s.kv_reuse_layers - before, 0, layers)
        return cls(layers, layers - moe, moe, own_keys, _in_flight(lay, k), first, last)


def _in_flight(lay: Layouts, k: Integers) -> Floats:
    """Micro-batches whose activations a stage holds at its peak, under one forward, one backward.

    Interleaved (arXiv 2104.04473, section 2.2): `2 (stages - k - 1) + (v - 1) stages + 1` chunks of 1/v.
    """
    plain = lay.stage - k
    chunks = 2 * (lay.stage - k - 1) + (lay.interleave - 1) * lay.stage + 1
    held = np.where(lay.interleave > 1, chunks / lay.interleave, plain)
    return np.minimum(held, lay.micro_batches)


def candidate_stages(s: Shapes, lay: Layouts) -> list[Integers]:
    """The stages one of which needs most memory.

    Later stages hold fewer micro-batches and no more layers than the second, so only these can: the first
    (embedding), the second, the first without dense layers before its experts, the last (head).
    """
    candidates = [np.zeros((), np.int64)]
    if np.any(np.asarray(lay.stage) > 1):
        candidates.append(np.ones((), np.int64))
        if np.any(s.first_dense > 0):
            most = split_layers(s.layers, lay.stage, lay.interleave).most
            ends = most * lay.stage == s.layers + 2
            candidates.append(np.ceil((s.first_dense + ends) / most).astype(np.int64))
        candidates.append(np.asarray(lay.stage) - 1)
    return candidates
