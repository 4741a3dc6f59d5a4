"""The operations of a decoder and their derivatives in NumPy's float64, by formula.

They share no code with the compiler or with the model, so that they can tell which of the two is wrong
even where the reference runs on the very chip that is checked. Each function takes the inputs and the
gradient by its result, and gives the result and the gradients by the inputs.

Shapes as in `models.decoder`; the optimiser's arrays are of one shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.float64]
Answer = tuple[Wide, tuple[Wide, ...]]
Oracle = Callable[..., Answer]


def product(equation: str) -> Oracle:
    """`einsum` of two operands."""
    operands, result = equation.split("->")
    first, second = operands.split(",")

    def answer(pull: Wide, a: Wide, b: Wide) -> Answer:
        by_a = _einsum(f"{result},{second}->{first}", pull, b)
        return _einsum(equation, a, b), (by_a, _einsum(f"{first},{result}->{second}", a, pull))

    return answer


def _einsum(equation: str, a: Wide, b: Wide) -> Wide:
    found: Wide = np.einsum(equation, a, b, optimize=True)
    return found


def look_up(tokens_BS: npt.NDArray[np.int32]) -> Oracle:
    """Rows of a table."""

    def answer(pull_BSE: Wide, table_VE: Wide) -> Answer:
        by_table = np.zeros_like(table_VE)
        np.add.at(by_table, tokens_BS, pull_BSE)
        return table_VE[tokens_BS], (by_table,)

    return answer


def rms_norm(epsilon: float) -> Oracle:
    """Root-mean-square norm over the last dimension, with a scale."""

    def answer(pull: Wide, x: Wide, scale: Wide) -> Answer:
        inverse = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)
        normed = x * inverse
        by_normed = pull * scale
        by_x = inverse * (by_normed - normed * np.mean(by_normed * normed, axis=-1, keepdims=True))
        return normed * scale, (by_x, np.sum(pull * normed, axis=tuple(range(x.ndim - 1))))

    return answer


def rotate(cosine_SP: Wide, sine_SP: Wide) -> Oracle:
    """Rotary embedding in the half-split form; P pairs."""
    cosine, sine = cosine_SP[:, None], sine_SP[:, None]

    def turned(x_BSHD: Wide, sine: Wide) -> Wide:
        first, second = np.split(x_BSHD, 2, axis=-1)
        return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    def answer(pull: Wide, x: Wide) -> Answer:
        return turned(x, sine), (turned(pull, -sine),)

    return answer


def attention(segments_BS: npt.NDArray[np.int32]) -> Oracle:
    """Causal attention within documents; heads share keys and values in groups."""
    place = np.arange(segments_BS.shape[1])
    seen_BST = (place[:, None] >= place) & (segments_BS[:, :, None] == segments_BS[:, None])

    def answer(pull_BSHD: Wide, q_BSHD: Wide, k_BTKD: Wide, v_BTKD: Wide) -> Answer:
        b, s, h, d = q_BSHD.shape
        grouped = (b, s, k_BTKD.shape[2], -1, d)
        q, pull = q_BSHD.reshape(grouped) * d**-0.5, pull_BSHD.reshape(grouped)
        scores = np.where(seen_BST[:, None, None], _einsum("bskgd,btkd->bkgst", q, k_BTKD), -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = _einsum("bkgst,btkd->bskgd", weights, v_BTKD)
        by_weights = _einsum("bskgd,btkd->bkgst", pull, v_BTKD)
        by_scores = weights * (by_weights - np.sum(by_weights * weights, axis=-1, keepdims=True))
        by_q = _einsum("bkgst,btkd->bskgd", by_scores, k_BTKD) * d**-0.5
        by_k = _einsum("bkgst,bskgd->btkd", by_scores, q)
        by_v = _einsum("bkgst,bskgd->btkd", weights, pull)
        return mixed.reshape(b, s, h, d), (by_q.reshape(b, s, h, d), by_k, by_v)

    return answer


def gated(pull_BSE: Wide, gate_BSF: Wide, up_BSF: Wide, down_FE: Wide) -> Answer:
    """SwiGLU from the products of gate and up on."""
    sigmoid = 1 / (1 + np.exp(-gate_BSF))
    silu = gate_BSF * sigmoid
    inner = silu * up_BSF
    by_inner = _einsum("bse,fe->bsf", pull_BSE, down_FE)
    by_gate = by_inner * up_BSF * (sigmoid + silu * (1 - sigmoid))
    by_down = _einsum("bsf,bse->fe", inner, pull_BSE)
    return _einsum("bsf,fe->bse", inner, down_FE), (by_gate, by_inner * silu, by_down)


def loss(targets_BS: npt.NDArray[np.int32], z_loss: float) -> Oracle:
    """Mean cross-entropy from hidden state and head, with the penalty on log-partitions."""

    def answer(pull: Wide, hidden_BSE: Wide, head_VE: Wide) -> Answer:
        logits = _einsum("bse,ve->bsv", hidden_BSE, head_VE)
        largest = logits.max(axis=-1, keepdims=True)
        log_partition = largest + np.log(np.exp(logits - largest).sum(axis=-1, keepdims=True))
        target = targets_BS[..., None]
        losses = log_partition - np.take_along_axis(logits, target, axis=-1)
        value = np.mean(losses) + z_loss * np.mean(log_partition**2)
        by_logits = np.exp(logits - log_partition) * (1 + 2 * z_loss * log_partition)
        np.put_along_axis(by_logits, target, np.take_along_axis(by_logits, target, axis=-1) - 1, axis=-1)
        by_logits *= pull / targets_BS.size
        by_hidden = _einsum("bsv,ve->bse", by_logits, head_VE)
        return np.asarray(value), (by_hidden, _einsum("bsv,bse->ve", by_logits, hidden_BSE))

    return answer


def adamw(
    gradients: dict[str, Wide], values: dict[str, Wide], steps: int, rate: float, train: Any
) -> dict[str, Wide]:
    """So many AdamW updates with the same gradients; `train` has the job's settings."""
    norm = np.sqrt(sum(np.sum(g * g) for g in gradients.values()))
    clip = min(1.0, train.clip_norm / norm)
    updated = {}
    for name, value in values.items():
        g, m, v = gradients[name] * clip, np.zeros_like(value), np.zeros_like(value)
        for step in range(1, steps + 1):
            m = train.beta1 * m + (1 - train.beta1) * g
            v = train.beta2 * v + (1 - train.beta2) * g * g
            direction = (m / (1 - train.beta1**step)) / (np.sqrt(v / (1 - train.beta2**step)) + train.epsilon)
            decay = 0.0 if "norm" in name else train.weight_decay
            value = value - rate * (direction + decay * value)
        updated[name] = value
    return updated
