"""Muon for the layers' matrices, AdamW for the rest."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from pippin.job import TrainTable
from pippin.models.config import ModelConfig
from pippin.models.parameters import ParameterSpec, flat_specs, initial_parameters, parameter_specs
from pippin.train.digest import flatten
from pippin.train.optimizer import make_optimizer, muon_sides
from pippin.train.step import Program

SHAPE = ModelConfig(vocab_size=40, d_model=16, num_layers=3, num_heads=4, num_kv_heads=2, ffn_dim=24)
MATRICES = {"query", "key", "value", "output", "gate", "up", "down"}


def first_update(optimizer: str, gradients: Any, **table: Any) -> dict[str, np.ndarray]:
    train = TrainTable(steps=1, optimizer=optimizer, weight_decay=0.0, clip_norm=1e9, **table)  # type: ignore[arg-type]
    transform = make_optimizer(train, parameter_specs(SHAPE))
    parameters = initial_parameters(SHAPE, 0)
    updates, _ = jax.jit(transform.update)(gradients, transform.init(parameters), parameters)
    return {name: np.asarray(value) for name, value in flatten(updates).items()}


@pytest.fixture(scope="module")
def gradients() -> Any:
    return jax.tree.map(lambda a: a * np.float32(0.3), initial_parameters(SHAPE, 7))


def test_it_takes_the_matrices_inside_the_layers_and_no_other() -> None:
    sides = {name: muon_sides(spec) for name, spec in flat_specs(SHAPE).items()}
    assert {name for name, each in sides.items() if each} == {f"layers.{name}" for name in MATRICES}
    for name, spec in flat_specs(SHAPE).items():
        each = sides[name]
        if each:  # reduction and output together are all of an array but its layer
            assert isinstance(each.reduction_axis, tuple) and isinstance(each.output_axis, tuple)
            assert sorted((*each.reduction_axis, *each.output_axis)) == list(range(1, len(spec.shape)))
    assert sides["layers.output"] == ((1, 2), (3,))


def test_every_expert_is_a_matrix_of_its_own_and_the_router_is_not_muons() -> None:
    expert = ParameterSpec((3, 8, 16, 24), ("layer", "expert", "embed", "ffn"), 1.0)
    assert muon_sides(expert) == ((2,), (3,))
    assert muon_sides(ParameterSpec((3, 16, 8), ("layer", "embed", "expert"), 1.0)) is None
    assert muon_sides(ParameterSpec((3, 16), ("layer", "norm"), None)) is None


def test_a_matrix_moves_along_the_orthogonal_factor_of_its_gradient(gradients: Any) -> None:
    """Against the singular value decomposition of each layer's matrix."""
    update, gradient = first_update("muon", gradients), flatten(gradients)
    for name in ("query", "output", "gate", "down"):
        sides = muon_sides(flat_specs(SHAPE)[f"layers.{name}"])
        assert sides is not None
        for layer in range(SHAPE.num_layers):
            shape = gradient[f"layers.{name}"][layer].shape
            rows = int(np.prod([shape[i - 1] for i in sides.reduction_axis]))  # type: ignore[union-attr]
            u, _, vt = np.linalg.svd(np.asarray(gradient[f"layers.{name}"][layer]).reshape(rows, -1), False)
            moved = update[f"layers.{name}"][layer].reshape(rows, -1)
            scale = 0.2 * np.sqrt(max(moved.shape))
            along = np.diag(u.T @ moved @ vt.T) / scale
            # Five Newton-Schulz steps bring singular values near 1, not to it.
            assert ((along > 0.4) & (along < 1.4)).all(), (name, along)
            off = u.T @ moved @ vt.T / scale - np.diag(along)
            assert np.abs(off).max() < 1e-3


def test_the_rest_moves_as_with_adamw(gradients: Any) -> None:
    muon, adamw = first_update("muon", gradients), first_update("adamw", gradients)
    for name in ("embedding", "final_norm", "layers.attention_norm"):
        np.testing.assert_array_equal(muon[name], adamw[name])
    for name in MATRICES:  # the same size, so that one rate serves both
        size = np.sqrt(np.mean(muon[f"layers.{name}"] ** 2))
        assert 0.1 < size < 0.3, name
        assert not np.allclose(muon[f"layers.{name}"], adamw[f"layers.{name}"], atol=0.05)


def test_training_with_muon_goes_on_after_a_stop_with_the_same_bits(bench: Any, tmp_path: Any) -> None:
    job = bench.job(train={"optimizer": "muon", "learning_rate": 5e-3})
    program = Program(job, bench.machine.choices)
    whole = bench.train(tmp_path / "whole", job, program=program)
    losses = [line["loss"] for line in bench.metrics(tmp_path / "whole")]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "program", program)
        bench.stop_at(tmp_path / "halves", 8, job)
        again = bench.train(tmp_path / "halves", job)
    assert again.summary["parameter_sha256"] == whole.summary["parameter_sha256"]
