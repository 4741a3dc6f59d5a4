"""The training step stays inside what every target can run, as far as lowering can tell.

Nothing here ran on a GPU, TPU or Trainium: the step is lowered to StableHLO for each, no more.
"""

import re

import jax
import jax.numpy as jnp
import pytest

from pippin.job import Job, make_job
from pippin.train.step import Choices, Program

PLATFORMS = ("cpu", "cuda", "tpu", "neuron")
# AWS Neuron's known issues with JAX: no conditionals, callbacks, threefry, complex numbers, top-k or argmax.
FORBIDDEN = (
    r"stablehlo\.(case|if|custom_call|rng_bit_generator.*three_fry|complex|fft|infeed|outfeed|send|recv)\b",
    r"tensor<[^>]*complex",
    r"chlo\.top_k",
)


@pytest.fixture(scope="module")
def job() -> Job:
    shape = {"d_model": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_dim": 64}
    train = {"steps": 4, "batch_size": 2, "sequence_length": 16, "z_loss": 1e-4}
    return make_job({"model": {"vocab_size": 300, **shape}, "train": train})


def lowered(job: Job, platform: str, *, scan_layers: bool) -> str:
    """The step's StableHLO for a platform, without source locations."""
    program = Program(job, Choices("bfloat16", "reference", scan_layers))
    tokens = jax.ShapeDtypeStruct((2, 16), jnp.int32)
    state = jax.eval_shape(program.initial_state)
    step = jax.jit(program._update)  # the public method compiles for the machine at hand
    exported = jax.export.export(step, platforms=[platform])(
        state, tokens, tokens, tokens, jax.ShapeDtypeStruct((), jnp.float32)
    )
    return re.sub(r"\bloc\(.*?\)|#loc.*", "", exported.mlir_module())


@pytest.mark.parametrize("scan_layers", [True, False])
def test_one_module_for_all_targets(job: Job, scan_layers: bool) -> None:
    with jax.default_prng_impl("rbg"):
        modules = {name: lowered(job, name, scan_layers=scan_layers) for name in PLATFORMS}
    texts = {re.sub(r"_platforms?_index\S*|platforms? = \[.*?\]", "", text) for text in modules.values()}
    assert len(texts) == 1
    found = [pattern for pattern in FORBIDDEN if re.search(pattern, modules["neuron"])]
    assert not found, found


def test_the_patterns_catch_what_they_name() -> None:
    @jax.jit
    def conditional(x: jax.Array) -> jax.Array:
        return jax.lax.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, x)

    text = conditional.lower(jnp.ones(4)).as_text()
    assert any(re.search(pattern, text) for pattern in FORBIDDEN)
