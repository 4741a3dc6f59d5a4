"""What every program of `train_peers.py` shares: shape, initial weights, tokens, optimiser, and the protocol
by which a worker is told to take steps. Imports neither JAX nor PyTorch."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pippin.models.config import ModelConfig

SEED = 0
LEARNING_RATE, BETAS, EPSILON = 1e-3, (0.9, 0.95), 1e-8
WEIGHT_DECAY, CLIP_NORM, NORM_EPSILON, ROPE_THETA = 0.1, 1.0, 1e-5, 10_000.0


@dataclass(frozen=True)
class Shape:
    """A Llama-shaped step. Sizes in elements; `batch_size` in sequences."""

    d_model: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    ffn_dim: int
    vocab_size: int
    sequence_length: int
    batch_size: int

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.sequence_length

    @property
    def config(self) -> ModelConfig:
        own = asdict(self)
        del own["sequence_length"], own["batch_size"]
        return ModelConfig(**own, tie_embeddings=False, rope_theta=ROPE_THETA, norm_epsilon=NORM_EPSILON)


SHAPES = {
    "small": Shape(512, 8, 8, 4, 1408, 8192, 512, 8),
    "tiny": Shape(64, 2, 4, 2, 128, 512, 64, 2),  # to try the script itself
    "1.3b": Shape(2048, 24, 16, 16, 5504, 32_000, 4096, 4),
}


def batch(shape: Shape, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a step, int32 (B, S): frequencies fall as one over the rank, as in text, so that
    there is something to learn and a wrong update shows in the next loss."""
    weights = 1 / (np.arange(shape.vocab_size) + 3.0)
    generator = np.random.default_rng([SEED, step])
    size = (shape.batch_size, shape.sequence_length + 1)
    drawn = generator.choice(shape.vocab_size, size=size, p=weights / weights.sum()).astype(np.int32)
    return np.ascontiguousarray(drawn[:, :-1]), np.ascontiguousarray(drawn[:, 1:])


def serve(
    name: str, dtype: str, shape: Shape, step: Callable[[np.ndarray, np.ndarray], float], **more: Any
) -> None:
    """Takes steps when told to: a number on a line of standard input, one JSON object back for each."""
    peak = more.pop("peak_memory_bytes", resident_peak_bytes)
    _say({"program": name, "dtype": dtype, "ready": True, **more})
    done = 0
    for line in sys.stdin:
        losses, seconds, processor = [], [], []
        for _ in range(int(line)):
            inputs, targets = batch(shape, done)
            start, start_processor = time.perf_counter(), time.process_time()
            losses.append(float(step(inputs, targets)))
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - start_processor)
            done += 1
        _say(
            {
                "losses": losses,
                "seconds": seconds,
                "processor_seconds": processor,
                "peak_memory_bytes": peak(),
            }
        )


def resident_peak_bytes() -> int:
    """The most memory this process ever held (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)
