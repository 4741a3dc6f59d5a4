"""Loads an exported folder with transformers and compares ids and logits with ours."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pippin.data.tokenizer import boundary_id, encode, vocab_size_of
from pippin.errors import PippinError
from pippin.export.card import Verification
from pippin.models import decoder
from pippin.models.config import ModelConfig
from pippin.train.saved import Saved

TOLERANCE = 1e-4
"""Of the largest logit, or of 1 where that is larger. Two float32 computations of SmolLM2-135M, whose largest
logit is 39, are 1e-4 (theirs) and 2e-4 (ours) away from float64 (docs/export.md)."""
_TEXT = (
    "It's the apple's year 1790.\n\n  A naïve café, 雨 and 🍎; <|endoftext|> is text.\tPippin's 2,026th seed."
)


def verify_with_transformers(folder: Path, saved: Saved, dtype: str) -> Verification:
    """Ids must be equal, and logits agree within `TOLERANCE`, both computed in float32 from the arrays as
    they were exported.

    Raises:
        PippinError: torch or transformers is not installed, or something differs.
    """
    with _quiet_transformers() as (torch, transformers):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        _check_ids(list(tokenizer(_TEXT)["input_ids"]), saved)
        ids = probe_ids(saved)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            theirs = model.eval()(input_ids=torch.from_numpy(ids.astype(np.int64))).logits.numpy()
        versions = f"transformers {transformers.__version__} and PyTorch {torch.__version__}"
    ours = our_logits(rounded(saved.parameters, dtype), ids, saved.job.shape)
    difference, largest = float(np.abs(theirs - ours).max()), float(np.abs(theirs).max())
    if not difference <= TOLERANCE * max(1.0, largest):  # nor where either is NaN
        what = f"logits differ from those of {versions} by up to {difference:.1e}: not exported"
        raise PippinError(what, where=saved.folder)
    return Verification(versions, theirs.size, difference, largest)


def probe_ids(saved: Saved) -> np.ndarray:
    """Two sequences (2, S) int32: a text, and ids drawn from the whole vocabulary."""
    length = min(64, saved.job.train.sequence_length)
    text = np.resize(np.asarray(_our_ids(saved)), length)
    drawn = np.random.default_rng(0).integers(0, vocab_size_of(saved.tokenizer), length)
    return np.stack([text, drawn]).astype(np.int32)


def our_logits(parameters: Any, ids_BS: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Logits (B, S, V) in float32."""
    if config.moe:  # an expert's capacity is a matter of training
        moe = config.moe.model_copy(update={"capacity_factor": None})
        config = config.model_copy(update={"moe": moe})

    @jax.jit
    def whole(parameters: Any, ids: Any) -> Any:
        hidden = decoder.hidden_states(parameters, ids, jnp.zeros_like(ids), config)
        return decoder.logits(parameters, hidden)

    return np.asarray(whole(parameters, jnp.asarray(ids_BS)))


def rounded(parameters: Any, dtype: str) -> Any:
    """The parameters as the exported file holds them, in float32 again."""
    kind = jnp.dtype(dtype)
    return jax.tree.map(lambda array: np.asarray(array).astype(kind).astype(np.float32), parameters)


def _our_ids(saved: Saved) -> list[int]:
    return [boundary_id(saved.tokenizer), *encode(saved.tokenizer, _TEXT).tolist()]


def _check_ids(theirs: list[int], saved: Saved) -> None:
    ours = _our_ids(saved)
    if theirs != ours:
        place = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), "the end")
        what = f"transformers' tokenizer gives other ids, from place {place} on: not exported"
        raise PippinError(what, where=saved.folder)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[tuple[Any, Any]]:
    """torch and transformers, kept from the network and from printing."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            import transformers

            log: Any = transformers.utils.logging
            log.set_verbosity_error()
            log.disable_progress_bar()
            yield torch, transformers
    except ModuleNotFoundError as error:
        raise PippinError(
            f"the verification needs {error.name}", where="--verify", fix="pip install torch transformers"
        ) from error
