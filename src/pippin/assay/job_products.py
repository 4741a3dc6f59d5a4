"""The matrix products of a job's step, one for each of its weights. Needs no JAX.

The step joins those of query, key and value into one.

Shapes: B sequences of a micro-batch on one device, S tokens of each, E model width, H heads, K key-value
heads, D head width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pippin.models.config import ModelConfig

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class JobProduct:
    """Activations times a parameter.

    Args:
        name: the parameter.
        equation: as `models.contraction.contract` takes it.
        activations: sizes of the first operand.
        weights: sizes of the second one.
        calls: how often a micro-batch goes through it; backward as often.
        keeps_float32: whether the result stays float32 (gate, up, logits) or goes back to the compute type.
    """

    name: str
    equation: str
    activations: tuple[int, ...]
    weights: tuple[int, ...]
    calls: int
    keeps_float32: bool = False

    @property
    def _indices(self) -> tuple[str, str, str]:
        operands, result = self.equation.split("->")
        first, second = operands.split(",")
        return first, second, result

    @property
    def _sizes(self) -> dict[str, int]:
        first, second, _ = self._indices
        return dict(zip(first, self.activations, strict=True)) | dict(zip(second, self.weights, strict=True))

    @property
    def shape(self) -> Shape:
        """(m, k, n) of the forward product."""
        first, second, result = self._indices

        def product(indices: str, *, kept: bool) -> int:
            return math.prod(self._sizes[index] for index in indices if (index in result) is kept)

        return product(first, kept=True), product(first, kept=False), product(second, kept=True)

    @property
    def result(self) -> tuple[int, ...]:
        """Sizes of the result."""
        return tuple(self._sizes[index] for index in self._indices[2])

    @property
    def passes(self) -> dict[str, Shape]:
        """(m, k, n) of the forward product and of the gradients by activations and by weights."""
        m, k, n = self.shape
        return {"forward": (m, k, n), "by activations": (m, n, k), "by weights": (k, m, n)}

    @property
    def flops(self) -> int:
        """Of one forward product; backward is twice that."""
        return 2 * math.prod(self.shape)


def job_products(config: ModelConfig, batch_size: int, sequence_length: int) -> list[JobProduct]:
    """All products with parameters of one micro-batch on one device, the language-model head last.

    Of a mixture of experts the attention's and the head's: the experts' depend on where tokens are sent.
    """
    c = config
    stream = (batch_size, sequence_length, c.d_model)
    inner = (batch_size, sequence_length, c.ffn_dim)
    mixed = (batch_size, sequence_length, c.num_heads, c.head_dim)
    own = c.num_layers - c.kv_reuse_layers
    into = "bse,ehd->bshd"
    found = [
        JobProduct("query", into, stream, (c.d_model, c.num_heads, c.head_dim), c.num_layers),
        JobProduct("key, value", into, stream, (c.d_model, c.num_kv_heads, c.head_dim), 2 * own),
        JobProduct("output", "bshd,hde->bse", mixed, (c.num_heads, c.head_dim, c.d_model), c.num_layers),
    ]
    if c.moe is None:
        found += [
            JobProduct("gate, up", "bse,ef->bsf", stream, (c.d_model, c.ffn_dim), 2 * c.num_layers, True),
            JobProduct("down", "bsf,fe->bse", inner, (c.ffn_dim, c.d_model), c.num_layers),
        ]
    return [*found, JobProduct("head", "bse,ve->bsv", stream, (c.vocab_size, c.d_model), 1, True)]


def attention_flops(config: ModelConfig, sequence_length: int) -> int:
    """Forward attention of one layer over one sequence: scores and weighted sums, causal."""
    pairs = sequence_length * (sequence_length + 1) // 2
    return 2 * 2 * pairs * config.num_heads * config.head_dim
