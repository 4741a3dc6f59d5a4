"""Every layout of a job on so many chips: the degrees, and the choices made for each.

Two layouts that differ only in a field without effect are one: sequence parallelism and overlap need tensor
ranks, ZeRO needs data or context ranks, and fused attention is never worth recomputing by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np

from pippin.models.config import ModelConfig
from pippin.plan.layout import Integers, Layouts
from pippin.plan.pipeline import split_layers

DEGREES = ("tensor", "context", "stage", "interleave", "data", "expert", "micro_batch")
_MOST_TENSOR, _MOST_CONTEXT, _LEAST_SLICE = 64, 64, 256
# Shares of the layers that are computed again, where a stage's layers can be shared out so.
_SHARES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Choice:
    """What is decided for any degrees. `zero` None means all four stages."""

    recompute_layers: float
    recompute_attention: bool
    sequence_parallel: bool
    tensor_overlap: bool
    data_overlap: bool


@dataclass(frozen=True)
class Space:
    """The degrees of a job on at most so many chips: arrays of one length, all valid.

    `lean` spaces leave out what seldom wins; they serve the sizes that a fleet is compared at.
    """

    degrees: dict[str, Integers]
    global_batch: int
    sequence_length: int
    num_layers: int
    flash: bool
    lean: bool

    def __len__(self) -> int:
        return len(self.degrees["tensor"])

    @property
    def chips(self) -> Integers:
        """Chips that each uses."""
        d = self.degrees
        return d["tensor"] * d["context"] * d["stage"] * d["data"]

    def take(self, rows: Integers) -> Space:
        """The degrees at these places."""
        degrees = {name: values[rows] for name, values in self.degrees.items()}
        return Space(degrees, self.global_batch, self.sequence_length, self.num_layers, self.flash, self.lean)

    def groups(self) -> Iterator[tuple[Integers, list[Choice], tuple[int, ...]]]:
        """Rows for which the same choices make sense, with the choices and the ZeRO stages.

        A share of recomputed layers is offered where every stage can share its layers so.
        """
        tensor = self.degrees["tensor"] > 1
        replicas = self.degrees["data"] * self.degrees["context"] > 1
        most = split_layers(self.num_layers, self.degrees["stage"], self.degrees["interleave"]).most
        for has_tensor, has_replicas in itertools.product((True, False), repeat=2):
            alike = (tensor == has_tensor) & (replicas == has_replicas)
            for share in _SHARES:
                rows = np.flatnonzero(alike & (np.mod(most * share, 1.0) == 0))
                if rows.size:
                    yield rows, self._choices(share, has_tensor, has_replicas), self._zero(has_replicas)

    def _zero(self, has_replicas: bool) -> tuple[int, ...]:
        if not has_replicas:
            return (0,)
        return (1, 3) if self.lean else (0, 1, 2, 3)

    def _choices(self, share: float, has_tensor: bool, has_replicas: bool) -> list[Choice]:
        attention = (False,) if self.flash or share == 1.0 else (False, True)
        both = (True,) if self.lean else (True, False)
        split, tensor = (both, both) if has_tensor else ((False,), (False,))
        data = both if has_replicas else (False,)
        return [Choice(share, *rest) for rest in itertools.product(attention, split, tensor, data)]

    def bound(self) -> Choice:
        """The choice under which a step is fastest, whatever memory it takes: nothing is done twice, and all
        that can overlap does. Without effect where there is nothing to split or to overlap."""
        return Choice(0.0, False, True, True, True)

    def bounded(self) -> int:
        """Different layouts under `bound` and all ZeRO stages."""
        replicas = self.degrees["data"] * self.degrees["context"] > 1
        return len(self) + 3 * int(np.count_nonzero(replicas))

    def size(self) -> int:
        """Layouts in the space."""
        return sum(len(rows) * len(choices) * len(zero) for rows, choices, zero in self.groups())

    def layouts(self, rows: Integers, choice: Choice, zero: int | Integers) -> Layouts:
        """These degrees under one choice; what is alike for all is an array without a dimension."""
        columns: dict[str, Any] = {name: values[rows] for name, values in self.degrees.items()}
        columns |= {f.name: np.asarray(getattr(choice, f.name)) for f in fields(Choice)}
        return Layouts(
            **columns,
            zero=np.asarray(zero),
            global_batch=np.asarray(self.global_batch),
            sequence_length=np.asarray(self.sequence_length),
            flash=np.asarray(self.flash),
        )


@cache
def divisors(number: int) -> tuple[int, ...]:
    """All divisors, ascending."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))


def enumerate_space(
    config: ModelConfig,
    chips: int,
    global_batch: int,
    sequence_length: int,
    *,
    flash: bool = True,
    lean: bool = False,
) -> Space:
    """All valid degrees on at most `chips` chips.

    Tensor ranks divide the heads. Context ranks cut the sequence into pairs of equal slices. Stages divide
    the layers, with or without embedding and head counted as one each, or are a power of two; virtual stages
    must come out even and need micro-batches in multiples of the stages (arXiv 2104.04473). Data ranks divide
    the batch and fill the fleet: more than half of it, or all that the batch can use. Expert ranks divide the
    experts and the ranks they are taken from.
    """
    layers = config.num_layers
    stages = _stages(layers)
    parts: list[list[Integers]] = []
    for tensor, context, stage in itertools.product(
        _tensors(config.num_heads), _contexts(sequence_length), stages
    ):
        model = tensor * context * stage
        for data in _datas(global_batch, chips // model)[-1 if lean else 0 :]:
            micro: Sequence[int] = divisors(global_batch // data)
            virtual, expert = _virtual(layers, stage), _experts(config, data * context * tensor)
            if lean:
                micro, virtual, expert = micro[:3], [*virtual[:2], *virtual[2:][-1:]], expert[-3:]
            grid = np.meshgrid(virtual, expert, micro, indexing="ij")
            interleave, experts, micro_batch = (axis.ravel() for axis in grid)
            passes = global_batch // (data * micro_batch)
            keep = (interleave == 1) | (passes % stage == 0)
            columns = (tensor, context, stage, interleave, data, experts, micro_batch)
            parts.append([np.broadcast_to(c, keep.shape)[keep] for c in columns])
    joined = (
        [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.empty(0, int)] * 7
    )
    return Space(dict(zip(DEGREES, joined, strict=True)), global_batch, sequence_length, layers, flash, lean)


def _tensors(heads: int) -> list[int]:
    return [d for d in divisors(heads) if d <= _MOST_TENSOR]


def _contexts(length: int) -> list[int]:
    powers = [1 << k for k in range(_MOST_CONTEXT.bit_length())]
    return [c for c in powers if c == 1 or (length % (2 * c) == 0 and length // c >= _LEAST_SLICE)]


def _stages(layers: int) -> list[int]:
    powers = [1 << k for k in range(layers.bit_length())]
    return sorted(p for p in {*divisors(layers), *divisors(layers + 2), *powers} if p <= layers)


def _virtual(layers: int, stage: int) -> list[int]:
    """Virtual stages a rank that divide the layers evenly, embedding and head counted or not."""
    if stage == 1:
        return [1]
    most = layers // stage
    return [
        v for v in range(1, most + 1) if v == 1 or 0 in (layers % (stage * v), (layers + 2) % (stage * v))
    ]


def _datas(global_batch: int, most: int) -> list[int]:
    """Data ranks: divisors of the batch that use more than half of the chips, or all of the batch."""
    if most < 1:
        return []
    fitting = [d for d in divisors(global_batch) if d <= most]
    return [d for d in fitting if 2 * d > most] or fitting[-1:]


def _experts(config: ModelConfig, ranks: int) -> list[int]:
    if config.moe is None:
        return [1]
    return [e for e in divisors(config.moe.num_experts) if ranks % e == 0]
