"""Text from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from pippin.data.tokenizer import boundary_id, encode, vocab_size_of
from pippin.errors import PippinError
from pippin.job import Job
from pippin.models.decode import decode_step, empty_cache
from pippin.train.checkpoint import to_device
from pippin.train.saved import open_saved

# One for all samplers: the second text of a shape waits for no compiler.
_step = jax.jit(decode_step, static_argnames="config", donate_argnames="cache")


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    `temperature` 0 takes the likeliest token; `top_p` keeps the likeliest tokens that together have at
    least that probability (Holtzman et al., arXiv 1904.09751).
    """

    max_tokens: int = 200
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise PippinError(f"{self.max_tokens} is not at least 1", where="--max-tokens")
        if not 0 <= self.temperature < float("inf"):
            raise PippinError(f"{self.temperature} is not a number from 0 up", where="--temperature")
        if not 0 < self.top_p <= 1:
            raise PippinError(f"{self.top_p} is not above 0 and at most 1", where="--top-p")


@dataclass(frozen=True)
class Sampler:
    """Parameters on the device and the tokenizer they were trained with."""

    job: Job
    parameters: Any
    tokenizer: Tokenizer

    def stream(self, prompt: str, sampling: Sampling) -> Iterator[str]:
        """Yields the text that follows the prompt, piece by piece, up to a document's end."""
        written: list[int] = []
        text = ""
        for drawn in self.tokens(prompt, sampling):
            written.append(drawn)
            whole = self.tokenizer.decode(written, skip_special_tokens=False)
            # A character may be spread over several tokens; wait until it is whole.
            if not whole.endswith("\N{REPLACEMENT CHARACTER}"):
                yield whole[len(text) :]
                text = whole

    def tokens(self, prompt: str, sampling: Sampling) -> Iterator[int]:
        """Yields the token ids that follow the prompt, up to a document's end."""
        shape = self.job.shape
        cache = empty_cache(shape, self.job.train.sequence_length, jnp.float32)
        boundary = boundary_id(self.tokenizer)
        generator = np.random.default_rng(sampling.seed)
        pending = [boundary, *encode(self.tokenizer, prompt).tolist()]
        for position in range(len(pending) + sampling.max_tokens - 1):
            token = pending[position]
            logits, cache = _step(self.parameters, cache, np.int32(token), np.int32(position), config=shape)
            if position < len(pending) - 1:
                continue
            scores = np.asarray(logits)[: vocab_size_of(self.tokenizer)]
            drawn = draw(scores, sampling, generator)
            if drawn == boundary:
                break
            pending.append(drawn)
            yield drawn


def open_sampler(run: Path) -> Sampler:
    """Loads the newest checkpoint of a run's folder.

    Raises:
        PippinError: no run there, nothing saved yet, or the checkpoint is damaged.
    """
    saved = open_saved(run)
    return Sampler(saved.job, to_device(saved.parameters), saved.tokenizer)


def draw(logits: np.ndarray, sampling: Sampling, generator: np.random.Generator) -> int:
    """One token id from scores (V,)."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    wide = logits.astype(np.float64)
    probabilities = np.exp((wide - wide.max()) / sampling.temperature)
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    before = np.cumsum(probabilities[order]) - probabilities[order]
    kept = order[before < sampling.top_p]
    weights = probabilities[kept] / probabilities[kept].sum()
    return int(generator.choice(kept, p=weights))
