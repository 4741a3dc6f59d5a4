"""The training step of every structure stays inside what every target can run, as far as lowering can tell.

Nothing here ran on a GPU, TPU or Trainium: the step is lowered to StableHLO for each, no more.
"""

from __future__ import annotations

from typing import Any

import pytest

from pippin.job import make_job
from pippin.portability.limits import TARGETS
from pippin.portability.lint import lint
from pippin.portability.lowering import Module, lower_each
from pippin.train.step import Choices, Program

SHAPE = {"vocab_size": 300, "d_model": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_dim": 64}
EXPERTS = {"num_experts": 4, "top_k": 2, "ffn_dim": 32}
STRUCTURES = {
    "dense": {},
    "dropless": {"moe": EXPERTS},
    "capacity": {"moe": EXPERTS | {"capacity_factor": 1.25}},
    "reuse": {"num_layers": 3, "kv_reuse_layers": 1, "qk_norm": True},
}


def lowered(model: dict[str, Any], train: dict[str, Any], *, scan_layers: bool) -> list[Module]:
    """The step for every target, each without an operation that this target is known not to run."""
    job = make_job({"model": model, "train": {"steps": 4, "z_loss": 1e-4} | train})
    program = Program(job, Choices("bfloat16", "reference", scan_layers), compiled=False)
    outcomes = lower_each(program.trace, TARGETS, "rbg")
    assert not [found for target in TARGETS for found in lint(outcomes, target).findings]
    return [outcome for outcome in outcomes.values() if isinstance(outcome, Module)]


@pytest.mark.parametrize(
    ("structure", "scan_layers"), [*((name, True) for name in STRUCTURES), ("dense", False)]
)
def test_one_module_for_all_targets(structure: str, scan_layers: bool) -> None:
    train = {"batch_size": 2, "sequence_length": 16}
    modules = lowered(SHAPE | STRUCTURES[structure], train, scan_layers=scan_layers)
    assert len(modules) == len(TARGETS)
    assert len({module.sha256 for module in modules}) == 1


def test_apples_published_shape_lowers_for_all_targets() -> None:
    """The step of all 3.1 B parameters, which nobody allocates here."""
    train = {"batch_size": 8, "sequence_length": 4096}
    modules = lowered({"preset": "apple-on-device-3b"}, train, scan_layers=True)
    assert len(modules) == len(TARGETS) and len({module.sha256 for module in modules}) == 1
    types = {kind for operation in modules[0].operations for kind in operation.types}
    assert {"tensor<35x2048x2x128xf32>", "tensor<21x2048x16x128xf32>"} <= types
