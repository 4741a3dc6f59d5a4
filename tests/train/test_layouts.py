"""A run goes on under another layout: the same tokens, each once, and the numbers within a stated bound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pippin.train.account import account, finished_steps
from pippin.train.ledger import read_ledger
from pippin.train.metrics import read_metrics
from pippin.train.run import RECORD

STEPS, TOKENS_PER_STEP = 16, 8 * 32
# Another layout adds up in another order: a few units in the last place of float32 a step, which training
# then amplifies. The bound is a thousandth of what a wrong scale or a missing sum changes.
LOSS = 1e-4


@pytest.fixture(scope="module")
def folder(corpus: Path, data_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layouts")
    (path / "orchard").symlink_to(corpus)
    script = Path(__file__).parent / "layouts_child.py"
    # Without LLVM's optimisations, which are not tested here and take a third of the time.
    environment = os.environ | {"PIPPIN_CACHE_DIR": str(data_cache), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    result = subprocess.run(
        [sys.executable, str(script), str(path)], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return path


def test_every_token_once_whatever_the_layout(folder: Path) -> None:
    stayed, moved = (
        finished_steps(read_ledger(folder / name / "ledger.jsonl")) for name in ("stayed", "moved")
    )
    batches = [{(s["step"], *s["tokens"], s["digest"]) for s in steps} for steps in (stayed, moved)]
    assert batches[0] == batches[1]
    assert {step for step, *_ in batches[0]} == set(range(1, STEPS + 1))
    totals = account(read_ledger(folder / "moved" / "ledger.jsonl"))
    assert totals.tokens == STEPS * TOKENS_PER_STEP
    # Three kills, each one step after a save.
    assert totals.repeated_tokens == 3 * TOKENS_PER_STEP


def test_the_numbers_stay_within_the_bound(folder: Path) -> None:
    stayed, moved = (read_metrics(folder / name / "metrics.jsonl") for name in ("stayed", "moved"))
    assert [line["step"] for line in moved] == list(range(1, STEPS + 1))
    losses = [(one["loss"], other["loss"]) for one, other in zip(stayed, moved, strict=True)]
    assert max(abs(one - other) for one, other in losses) < LOSS
    assert losses[-1][0] < losses[0][0] - 0.5  # it learns, so that the comparison means something
    bits = [line[-1]["validation_bits_per_byte"] for line in (stayed, moved)]
    assert bits[0] == pytest.approx(bits[1], abs=LOSS)


def test_each_attempt_records_its_layout(folder: Path) -> None:
    attempts = json.loads((folder / "moved" / RECORD).read_text())["attempts"]
    layouts = [attempt["layout"] for attempt in attempts]
    assert [layout["devices"] for layout in layouts] == [8] * 4
    assert [(one["fsdp"], one["tensor"], one["stage"], one["data"]) for one in layouts] == [
        (8, 1, 1, 1),
        (4, 2, 1, 1),
        (2, 1, 2, 1),
        (1, 1, 1, 8),
    ]
    jobs = {json.loads((folder / name / RECORD).read_text())["job_hash"] for name in ("stayed", "moved")}
    assert len(jobs) == 1
