"""The operations of a training step one by one: the chip's own functions against formulas in float64.

Each operation gets the inputs that it would have in the first layer, as formulas make them, so that an
error of one does not spread to the next and the operation that is wrong is named. What is compared is the
result and the gradient by each input.

Shapes as in `models.decoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pippin.assay.numerics import oracle
from pippin.assay.numerics.operation import Input, Operation
from pippin.assay.numerics.oracle import Oracle
from pippin.assay.numerics.rounding import Wide, rounded
from pippin.data.batches import Batch
from pippin.models import decoder
from pippin.models.attention import Attention
from pippin.models.config import ModelConfig
from pippin.models.contraction import contract
from pippin.models.functions import look_up
from pippin.models.loss import mean_loss

PRODUCT = "matrix product"


@dataclass
class _Chain:
    """Collects operations, and gives each result on to the next."""

    dtype: str
    operations: list[Operation] = field(default_factory=list)

    def do(
        self,
        name: str,
        kind: str,
        function: Callable[..., jax.Array],
        answer: Oracle,
        inputs: Sequence[Input],
        terms: Sequence[int] = (),
        **more: Any,
    ) -> Wide:
        shape = jax.eval_shape(
            function,
            *(jax.ShapeDtypeStruct(given.value.shape, np.dtype(given.dtype)) for given in inputs),
            *more.get("constants", ()),
        )
        random = np.random.default_rng(len(self.operations))
        drawn = random.standard_normal(shape.shape) if shape.shape else 1.0
        pull = rounded(drawn, self.dtype)
        expected = answer(pull, *(given.value for given in inputs))
        self.operations.append(
            Operation(
                name,
                kind,
                function,
                answer,
                tuple(inputs),
                tuple(terms or [0] * (1 + len(inputs))),
                pull,
                shape.dtype.name,
                expected,
                **more,
            )
        )
        return expected[0]

    def narrow(self, name: str, value: Any) -> Input:
        """An input in the compute type."""
        return Input(name, rounded(value, self.dtype), self.dtype)

    def wide(self, name: str, value: Any) -> Input:
        """An input in float32."""
        return Input(name, rounded(value, "float32"), "float32")

    def product(self, what: str, equation: str, a: Any, b: Any, names: tuple[str, str]) -> Wide:
        """A product with a float32 result."""
        inputs = [self.narrow(name, value) for name, value in zip(names, (a, b), strict=True)]
        return self.do(
            f"{PRODUCT} of {what}",
            PRODUCT,
            lambda a, b: contract(equation, a, b),
            oracle.product(equation),
            inputs,
            contracted(equation, inputs[0].value.shape, inputs[1].value.shape),
            nudge=False,
            equation=equation,
        )


def contracted(equation: str, a: Sequence[int], b: Sequence[int]) -> tuple[int, int, int]:
    """Terms of the sums of a product, of its gradient by the first operand, and by the second."""
    operands, result = equation.split("->")
    first, second = operands.split(",")
    sizes = dict(zip(first, a, strict=True)) | dict(zip(second, b, strict=True))

    def terms(left: str, right: str, kept: str) -> int:
        summed: int = np.prod([sizes[index] for index in set(left + right) - set(kept)], dtype=int)
        return int(summed)

    return terms(first, second, result), terms(result, second, first), terms(first, result, second)


def operations(
    config: ModelConfig,
    parameters: Any,
    batch: Batch,
    *,
    attention: Attention,
    compute_dtype: str,
    z_loss: float,
) -> list[Operation]:
    """The operations of a first layer and of the ends of the model, in the order of the forward pass.

    Args:
        config: a dense shape.
        parameters: host arrays.
        batch: the tokens.
        attention: the chip's backend.
        compute_dtype: the chip's.
        z_loss: the job's.
    """
    chain, norm = _Chain(compute_dtype), config.norm_epsilon
    layer = {name: value[0] for name, value in parameters["layers"].items()}
    x = chain.do(
        "embedding look-up", "look-up",
        lambda table, tokens: look_up(table, tokens).astype(compute_dtype), oracle.look_up(batch.inputs),
        [chain.wide("table", parameters["embedding"])], [0, batch.inputs.size], constants=(batch.inputs,),
    )  # fmt: skip

    def normed(name: str, x: Wide, scale: Any) -> Wide:
        return chain.do(
            name, "norm", lambda x, scale: decoder.rms_norm(x, scale, norm), oracle.rms_norm(norm),
            [chain.narrow("input", x), chain.wide("scale", scale)], [0, 0, x[..., 0].size],
        )  # fmt: skip

    h = normed("norm before attention", x, layer["attention_norm"])
    x = x + _attention(chain, config, layer, h, normed, attention, batch)
    h = normed("norm before the feed-forward part", x, layer["ffn_norm"])
    gate, up = (
        chain.product(f"the feed-forward {name}", "bse,ef->bsf", h, layer[name], ("input", "weight"))
        for name in ("gate", "up")
    )
    tokens = batch.inputs.size
    x = x + chain.do(
        "activation and feed-forward down product", "activation", decoder.gated, oracle.gated,
        [chain.wide("gate", gate), chain.wide("up", up), chain.narrow("weight", layer["down"])],
        [config.ffn_dim, config.d_model, config.d_model, tokens],
    )  # fmt: skip
    inner = gate / (1 + np.exp(-gate)) * up
    chain.product("the feed-forward down", "bsf,fe->bse", inner, layer["down"], ("input", "weight"))
    hidden = normed("final norm", x, parameters["final_norm"])
    head = decoder.head_matrix(parameters)
    chain.product("the language-model head", "bse,ve->bsv", hidden, head, ("input", "weight"))
    chain.do(
        "loss over the vocabulary", "loss",
        lambda hidden, head, targets: mean_loss(hidden, head, targets, z_loss)[0],
        oracle.loss(batch.targets, z_loss),
        [chain.narrow("hidden state", hidden), Input("head", rounded(head, compute_dtype), "float32")],
        [config.d_model, config.vocab_size, tokens],
        constants=(batch.targets,),
    )  # fmt: skip
    return chain.operations


def _attention(
    chain: _Chain,
    config: ModelConfig,
    layer: dict[str, Any],
    h: Wide,
    normed: Callable[[str, Wide, Any], Wide],
    attention: Attention,
    batch: Batch,
) -> Wide:
    """Projections, rotary embedding and attention of a layer; what is added to the stream."""
    # One dimension of heads and head width, as the decoder has it.
    flat = {name: value.reshape(value.shape[0], -1) for name, value in layer.items() if value.ndim == 3}
    q, k, v = (
        chain.product(f"the {name}", "bse,ef->bsf", h, flat[name], ("input", "weight")).reshape(
            *h.shape[:2], *layer[name].shape[1:]
        )
        for name in ("query", "key", "value")
    )
    if config.qk_norm:
        q, k = normed("norm of queries", q, layer["query_norm"]), normed("norm of keys", k, layer["key_norm"])
    positions = jnp.arange(h.shape[1], dtype=jnp.int32)
    angles = decoder.rotary_angles(positions, config.head_dim, config.rope_theta, config.rope_scaling)
    # The angles are given, not checked: a layer's comparison sees them.
    cosine, sine = (np.asarray(angle, np.float64) for angle in angles)
    turned = oracle.rotate(cosine, sine)
    q = chain.do(
        "rotary embedding", "rotary embedding", lambda x, *angles: decoder.rotate(x, angles), turned,
        [chain.narrow("input", q)], constants=tuple(np.asarray(angle) for angle in angles),
    )  # fmt: skip
    k, _ = turned(np.zeros_like(k), k)
    grouped = q.reshape(*q.shape[:2], k.shape[2], -1, q.shape[3])
    scores = chain.product("the attention scores", "bskgd,btkd->bkgst", grouped, k, ("queries", "keys"))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    chain.product("the attention mixture", "bkgst,btkd->bskgd", weights, v, ("weights", "values"))
    mixed = chain.do(
        "attention", "attention", attention, oracle.attention(batch.segments),
        [chain.narrow(name, value) for name, value in (("queries", q), ("keys", k), ("values", v))],
        [h.shape[1]] * 4, constants=(batch.segments,),
    )  # fmt: skip
    output = layer["output"].reshape(-1, h.shape[-1])
    mixed = mixed.reshape(*mixed.shape[:2], -1)
    return chain.product("the attention output", "bsf,fe->bse", mixed, output, ("input", "weight"))
