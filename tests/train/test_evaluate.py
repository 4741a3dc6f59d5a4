from __future__ import annotations

import hashlib
import math
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from pippin.models import decoder
from pippin.train.evaluate import bits_per_byte


class Scores:
    """In the place of a compiled program: scores each token by a rule."""

    def __init__(self, rule: Any, *, length: int = 32, rows: int = 2) -> None:
        self._rule = rule
        self.job = SimpleNamespace(train=SimpleNamespace(sequence_length=length, batch_size=rows))

    def score(self, _: Any, inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        rows, length = self.job.train.batch_size, self.job.train.sequence_length
        assert inputs.shape == targets.shape == weights.shape == (rows, length)
        scored = [
            sum(float(weights[row, at]) * self._rule(inputs[row], targets[row], at) for at in range(length))
            for row in range(rows)
        ]
        return np.asarray(scored)


def uniform(*_: Any) -> float:
    return math.log(300)


def by_context(inputs: np.ndarray, targets: np.ndarray, at: int) -> float:
    """A number that depends on the token and on every token before it."""
    digest = hashlib.sha256(inputs[: at + 1].tobytes() + targets[at].tobytes()).digest()
    return 10 * int.from_bytes(digest[:4], "big") / 2**32


def test_a_uniform_model_needs_log2_v_bits_a_token(bench: Any) -> None:
    info = bench.dataset.manifest.splits.validation
    tokens = info.tokens - info.documents  # boundaries are not scored
    for length in (2, 3, 32, 4096):
        found = bits_per_byte(Scores(uniform, length=length), None, bench.dataset)
        assert found == pytest.approx(math.log2(300) * tokens / info.utf8_bytes, rel=1e-6)
    assert info.utf8_bytes == len(bench.dataset.text("validation"))


def test_the_batch_size_makes_no_difference(bench: Any) -> None:
    found = {
        rows: bits_per_byte(Scores(by_context, rows=rows), None, bench.dataset) for rows in (1, 2, 7, 500)
    }
    assert found[2] == pytest.approx(found[1], rel=1e-6)
    assert found[7] == pytest.approx(found[1], rel=1e-6)
    assert found[500] == pytest.approx(found[1], rel=1e-6)


def test_it_agrees_with_a_slow_computation(bench: Any, finished: Any) -> None:
    """Each document by itself, each window by itself, every token once, in plain NumPy from the logits on."""
    parameters, shape, length = finished.trained.state["parameters"], bench.job().shape, 32
    forward = jax.jit(
        lambda tokens: decoder.logits(
            parameters,
            decoder.hidden_states(parameters, tokens, tokens * 0, shape),
        )
    )
    nats = num_bytes = 0.0
    for document in bench.dataset.documents("validation"):
        tokens, start, scored = [0, *document.tolist()], 0, 0  # 0 is the boundary
        while scored < len(document):
            context = np.zeros((1, length), np.int32)
            part = tokens[start : start + length]
            context[0, : len(part)] = part
            scores = np.asarray(forward(context))[0].astype(np.float64)
            for at in range(scored, min(start + length, len(document))):
                row = scores[at - start]
                top = row.max()
                nats += top + math.log(np.exp(row - top).sum()) - row[tokens[at + 1]]
            scored, start = min(start + length, len(document)), start + length // 2
        num_bytes += len(bench.dataset.tokenizer().decode(document.tolist()).encode())
    slow = nats / math.log(2) / num_bytes
    assert bits_per_byte(bench.program, parameters, bench.dataset) == pytest.approx(slow, rel=1e-5)
    assert finished.trained.summary["validation_bits_per_byte"] == pytest.approx(slow, rel=1e-5)


def test_it_tells_how_far_it_is(bench: Any) -> None:
    heard: list[tuple[int, int]] = []
    bits_per_byte(
        Scores(uniform, rows=5), None, bench.dataset, progress=lambda done, total: heard.append((done, total))
    )
    total = heard[-1][1]
    assert [done for done, _ in heard] == [*range(5, total, 5), total]
