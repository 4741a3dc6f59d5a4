"""Small jobs to check."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.job import Job, make_job

sys.path.insert(0, str(Path(__file__).parent))  # what the tests share

SHAPE = {"vocab_size": 300, "d_model": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_dim": 64}


@pytest.fixture(scope="session")
def job() -> Callable[..., Job]:
    """A job of a small model, with tables changed."""

    def make(**tables: dict[str, Any]) -> Job:
        train = {"steps": 4, "batch_size": 2, "sequence_length": 128} | tables.pop("train", {})
        return make_job({"model": SHAPE, "train": train, **tables})

    return make
