"""The training step stays inside what every target can run, as far as lowering can tell.

Nothing here ran on a GPU, TPU or Trainium: the step is lowered to StableHLO for each, no more.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from pippin.job import make_job
from pippin.train.step import Choices, Program

PLATFORMS = ("cpu", "cuda", "tpu", "neuron")
# AWS Neuron's known issues with JAX: no conditionals, callbacks, threefry, complex numbers, top-k or argmax.
FORBIDDEN = (
    r"stablehlo\.(case|if|custom_call|rng_bit_generator.*three_fry|complex|fft|infeed|outfeed|send|recv)\b",
    r"tensor<[^>]*complex",
    r"chlo\.top_k",
    r"stablehlo\.reduce\([^)]*\), \(",  # a reduction of two operands, as argmax is
    r"stablehlo\.sort\"?\([^)]*,",  # a sort of two operands, as top-k is; the router's has one
)
SHAPE = {"vocab_size": 300, "d_model": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_dim": 64}
EXPERTS = {"num_experts": 4, "top_k": 2, "ffn_dim": 32}
STRUCTURES = {
    "dense": {},
    "dropless": {"moe": EXPERTS},
    "capacity": {"moe": EXPERTS | {"capacity_factor": 1.25}},
    "reuse": {"num_layers": 3, "kv_reuse_layers": 1, "qk_norm": True},
}


@pytest.fixture(autouse=True)
def _lower_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here runs, so nothing is compiled."""
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda lowered: None)


def program_of(changes: dict[str, Any], *, scan_layers: bool) -> Program:
    train = {"steps": 4, "batch_size": 2, "sequence_length": 16, "z_loss": 1e-4}
    job = make_job({"model": SHAPE | changes, "train": train})
    return Program(job, Choices("bfloat16", "reference", scan_layers), training=False)


def lowered(program: Program, platform: str) -> str:
    """The step's StableHLO for a platform, without source locations."""
    train = program.job.train
    tokens = jax.ShapeDtypeStruct((train.batch_size, train.sequence_length), jnp.int32)
    step = jax.jit(program._update)  # the public method compiles for the machine at hand
    exported = jax.export.export(step, platforms=[platform])(
        program.state_shapes, tokens, tokens, tokens, jax.ShapeDtypeStruct((), jnp.float32)
    )
    return re.sub(r"\bloc\(.*?\)|#loc.*", "", exported.mlir_module())


@pytest.mark.parametrize(
    ("structure", "scan_layers"), [*((name, True) for name in STRUCTURES), ("dense", False)]
)
def test_one_module_for_all_targets(structure: str, scan_layers: bool) -> None:
    with jax.default_prng_impl("rbg"):
        program = program_of(STRUCTURES[structure], scan_layers=scan_layers)
        modules = {name: lowered(program, name) for name in PLATFORMS}
    texts = {re.sub(r"_platforms?_index\S*|platforms? = \[.*?\]", "", text) for text in modules.values()}
    assert len(texts) == 1
    found = [pattern for pattern in FORBIDDEN if re.search(pattern, modules["neuron"])]
    assert not found, found


def test_apples_published_shape_lowers_for_all_targets() -> None:
    """The step of all 3.1 B parameters, which nobody allocates here."""
    train = {"steps": 4, "batch_size": 8, "sequence_length": 4096}
    job = make_job({"model": {"preset": "apple-on-device-3b"}, "train": train})
    program = Program(job, Choices("bfloat16", "reference", True), training=False)
    with jax.default_prng_impl("rbg"):
        modules = [lowered(program, platform) for platform in PLATFORMS]
    assert len({re.sub(r"_platforms?_index\S*|platforms? = \[.*?\]", "", text) for text in modules}) == 1
    assert "tensor<35x2048x2x128xf32>" in modules[0] and "tensor<21x2048x16x128xf32>" in modules[0]
    assert not [pattern for pattern in FORBIDDEN if re.search(pattern, modules[0])]


def test_the_patterns_catch_what_they_name() -> None:
    @jax.jit
    def conditional(x: jax.Array) -> jax.Array:
        return jax.lax.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, x)

    text = conditional.lower(jnp.ones(4)).as_text()
    assert any(re.search(pattern, text) for pattern in FORBIDDEN)
    for function in (lambda x: jnp.argmax(x), lambda x: jax.lax.top_k(x, 2), lambda x: jnp.argsort(x)):
        text = jax.jit(function).lower(jnp.ones(4)).as_text()
        assert any(re.search(pattern, text) for pattern in FORBIDDEN), text
