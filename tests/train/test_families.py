"""Structures beyond the dense decoder, through the same loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from pippin.job import load_job
from pippin.models.counts import num_parameters
from pippin.train.digest import flatten
from pippin.train.observer import Observer
from pippin.train.sample import Sampling, open_sampler
from pippin.train.setup import find_machine, open_data, training_batches
from pippin.train.step import Program

EXAMPLE = Path(__file__).parents[2] / "examples" / "apple-on-device-60m.toml"
ROUTER = {"expert_load", "dropped_tokens_share", "load_balance_loss", "router_z_loss"}
STRUCTURES: dict[str, dict[str, Any]] = {
    "moe": {"moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 24, "capacity_factor": 1.0}},
    "reuse": {"num_layers": 3, "kv_reuse_layers": 1, "qk_norm": True},
}


def check_router_figures(state: Any, lines: list[dict[str, Any]]) -> None:
    load = np.asarray(state["load"])
    assert load.shape == (2, 4) and load.sum(axis=-1) == pytest.approx(1) and np.ptp(load) > 0
    assert all(line.keys() >= ROUTER for line in lines)
    # The load before the first step is even, so its loss is one whatever the router does.
    assert lines[0]["load_balance_loss"] == pytest.approx(1, rel=1e-5)
    assert lines[-1]["load_balance_loss"] != pytest.approx(1, rel=1e-5)
    assert lines[-1]["expert_load"] == pytest.approx((load.max(axis=-1) * 4).tolist())
    assert any(0 < line["dropped_tokens_share"] < 0.5 for line in lines)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_run_learns_goes_on_bit_for_bit_and_samples(bench: Any, tmp_path: Path, name: str) -> None:
    job = bench.job(model=STRUCTURES[name])
    own = replace(bench, program=Program(job, replace(bench.machine.choices, scan_layers=True)))
    whole = own.train(tmp_path / "whole", job)
    own.stop_at(tmp_path / "parts", 9, job)
    parts = own.train(tmp_path / "parts", job)
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), whole.state, parts.state)
    assert all(flatten(same).values())
    lines = own.metrics(tmp_path / "parts")
    assert lines == own.metrics(tmp_path / "whole")
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    assert (lines[0].keys() >= ROUTER) == (name == "moe")
    text = "".join(open_sampler(tmp_path / "parts").stream("an apple", Sampling(max_tokens=5)))
    assert text


@pytest.mark.slow
def test_apple_at_a_fiftieth_trains_on_the_embedded_corpus() -> None:
    """Five steps of the example, batch and vocabulary made small; `train` would score all held-out text."""
    job = load_job(EXAMPLE, ["train.batch_size=2", "train.sequence_length=64", "data.vocab_size=1024"])
    assert num_parameters(load_job(EXAMPLE).shape) == 60_442_752
    machine = find_machine(job)
    program = Program(job, replace(machine.choices, compute_dtype="float32", scan_layers=True))
    state, batches = program.initial_state(), training_batches(job, open_data(job, Observer()))
    batch = batches.at(0)
    losses = []
    for _ in range(5):  # the same batch, so that five steps must show
        state, result = program.step(state, batch.inputs, batch.targets, batch.segments, 1e-3)
        losses.append(result.loss)
    assert losses[0] == pytest.approx(np.log(1024), abs=1.0)
    assert losses[-1] < losses[0] - 1
    assert {len(a) for a in jax.tree.leaves(state["parameters"]["reuse_layers"])} == {6}
    assert "key" not in state["parameters"]["reuse_layers"]
