"""Conservation, monotonicity and broadcasting of the step-time model."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.models.config import MLAConfig, ModelConfig, MoEConfig
from pippin.plan.calibration import Calibration
from pippin.plan.counts import num_parameters, training_flops_per_token
from pippin.plan.layout import Layouts
from pippin.plan.shape import Shapes
from pippin.plan.steptime import StepTime, step_time
from pippin.plan.system import System, Systems
from pippin.plan.work import forward_flops, parameter_counts

GPT = ModelConfig(
    vocab_size=51200,
    d_model=12288,
    num_layers=96,
    num_heads=96,
    num_kv_heads=96,
    ffn_dim=49152,
    gated_ffn=False,
    learned_positions=2048,
)
LLAMA = ModelConfig(
    vocab_size=128256,
    d_model=4096,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    ffn_dim=14336,
    tie_embeddings=False,
)
EXPERTS = ModelConfig(
    vocab_size=129280,
    d_model=7168,
    num_layers=61,
    num_heads=128,
    num_kv_heads=128,
    head_dim=128,
    ffn_dim=18432,
    tie_embeddings=False,
    moe=MoEConfig(
        num_experts=256,
        top_k=8,
        ffn_dim=2048,
        num_shared_experts=1,
        shared_ffn_dim=2048,
        first_dense_layers=3,
    ),
    mla=MLAConfig(
        q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
    ),
)
MODELS = (GPT, LLAMA, EXPERTS)
CHIPS = ("a100_80", "h100_sxm", "gb200_nvl72", "tpu_v5p", "trn2")
PRIOR = Calibration.prior()

BASE: dict[str, Any] = {
    "tensor": 8,
    "context": 1,
    "stage": 8,
    "interleave": 1,
    "data": 8,
    "expert": 1,
    "zero": 1,
    "sequence_parallel": True,
    "micro_batch": 1,
    "global_batch": 512,
    "sequence_length": 2048,
    "recompute_layers": 0.0,
    "recompute_attention": False,
    "flash": True,
    "tensor_overlap": True,
    "data_overlap": True,
}


def layouts(**changes: Any) -> Layouts:
    """One layout per value of the longest list given."""
    fields_ = {**BASE, **changes}
    length = max(np.size(value) for value in fields_.values())
    return Layouts(**{key: np.resize(np.asarray(value), length) for key, value in fields_.items()})


def seconds(model: ModelConfig, chip: str = "h100_sxm", **changes: Any) -> Any:
    return step_time(Shapes.of(model), layouts(**changes), System.of(chip), PRIOR).step_seconds


def parts(step: StepTime) -> dict[str, Any]:
    return {f.name: getattr(step, f.name) for f in fields(step)}


DEGREES = st.sampled_from([1, 2, 4, 8, 16])


@given(
    st.sampled_from(MODELS),
    st.sampled_from(CHIPS),
    st.fixed_dictionaries(
        {
            "tensor": DEGREES,
            "context": st.sampled_from([1, 2, 4]),
            "stage": DEGREES,
            "interleave": st.sampled_from([1, 2]),
            "data": DEGREES,
            "zero": st.sampled_from([0, 1, 2, 3]),
            "micro_batch": st.sampled_from([1, 2, 4]),
            "recompute_layers": st.sampled_from([0.0, 0.3, 1.0]),
            "flash": st.booleans(),
            "recompute_attention": st.booleans(),
            "data_overlap": st.booleans(),
            "tensor_overlap": st.booleans(),
        }
    ),
)
@settings(max_examples=150, deadline=None)
def test_parts_are_not_negative_and_add_up(model: ModelConfig, chip: str, layout: dict[str, Any]) -> None:
    step = step_time(Shapes.of(model), layouts(**layout), System.of(chip), PRIOR)
    values = parts(step)
    assert all(np.all(value >= -1e-12) for value in values.values()), values
    assert np.all(np.isfinite(step.step_seconds))
    assert np.allclose(step.step_seconds, sum(values.values()))
    # A hidden host costs nothing; a step is at least its products.
    assert np.all(step.step_seconds >= step.compute)


def test_many_models_and_systems_at_once_equal_one_at_a_time() -> None:
    rng = np.random.default_rng(1)
    count = 60
    models = [MODELS[i] for i in rng.integers(0, len(MODELS), count)]
    systems = [System.of(CHIPS[i]) for i in rng.integers(0, len(CHIPS), count)]
    picks = {
        "tensor": rng.choice([1, 2, 8], count),
        "stage": rng.choice([1, 2, 4], count),
        "data": rng.choice([1, 4, 64], count),
        "expert": rng.choice([1, 8], count),
        "zero": rng.choice([0, 1, 3], count),
        "flash": rng.choice([True, False], count),
    }
    rows = layouts(**picks)
    together = step_time(Shapes.of(models), rows, Systems.of(systems), PRIOR)
    for i in range(count):
        alone = step_time(Shapes.of(models[i]), rows.take([i]), systems[i], PRIOR)
        for name, value in parts(alone).items():
            row = np.broadcast_to(parts(together)[name], (count,))[i]
            assert np.allclose(np.ravel(value)[0], row, rtol=1e-12, atol=1e-15), name


@pytest.mark.parametrize("model", MODELS)
def test_more_work_takes_longer(model: ModelConfig) -> None:
    batches = seconds(model, global_batch=[512, 1024, 2048])
    assert np.all(np.diff(batches) > 0)
    assert np.all(np.diff(seconds(model, sequence_length=[2048, 4096, 8192])) > 0)
    assert np.all(np.diff(seconds(model, recompute_layers=[0.0, 0.5, 1.0])) > 0)


def test_a_slower_link_never_helps() -> None:
    fast = System.of("h100_sxm")
    for name in ("scaleup_bytes_per_second", "scaleout_bytes_per_second"):
        slow = replace(fast, **{name: getattr(fast, name) / 4})
        for model in MODELS:
            shapes, rows = Shapes.of(model), layouts(tensor=[1, 8, 16], zero=[1, 3, 1])
            a, b = (step_time(shapes, rows, s, PRIOR).step_seconds for s in (fast, slow))
            assert np.all(b >= a)


def test_faster_products_leave_attention_alone() -> None:
    shapes, rows = Shapes.of(LLAMA), layouts()
    half, eight = (step_time(shapes, rows, System.of("h100_sxm", p), PRIOR) for p in ("bf16", "fp8"))
    assert eight.compute < half.compute
    assert eight.attention == half.attention


@pytest.mark.parametrize("model", MODELS)
def test_operations_are_those_of_the_exact_count(model: ModelConfig) -> None:
    shapes = Shapes.of(model)
    ours = 3 * forward_flops(shapes, 4096)[0] / 4096
    assert ours == pytest.approx(training_flops_per_token(model, 4096), rel=1e-9)
    assert sum(parameter_counts(shapes))[0] == pytest.approx(num_parameters(model), rel=1e-6)
