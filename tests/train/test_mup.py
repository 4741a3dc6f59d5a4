"""A proxy's learning rate carries over to wider models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import optax
import pytest

from pippin.data.dataset import Dataset
from pippin.job import Job, make_job
from pippin.models import decoder
from pippin.models.functions import Functions, unroll_layers
from pippin.models.loss import mean_loss
from pippin.models.parameters import initial_parameters, parameter_specs
from pippin.train.observer import Observer
from pippin.train.optimizer import make_optimizer, rate_multipliers
from pippin.train.setup import open_data, training_batches

WIDTHS = (64, 128, 256)
FUNCTIONS = Functions(layers=unroll_layers)


def job_of(width: int, *, base: int | None, optimizer: str = "adamw", **model: Any) -> Job:
    shape = {"num_layers": 2, "num_heads": width // 32, "num_kv_heads": width // 32, "ffn_dim": 2 * width}
    train = {"steps": 200, "batch_size": 8, "sequence_length": 64, "optimizer": optimizer}
    return make_job(
        {
            "model": {"d_model": width, **shape, **model},
            "data": {"vocab_size": 1024},
            "train": train | ({"mup_base_width": base} if base else {}),
        }
    )


def losses(job: Job, dataset: Dataset, rate: float, steps: int) -> Iterator[tuple[float, Any]]:
    """Trains with a short warm-up and a linear fall; yields each step's loss and the parameters after it."""
    optimizer = make_optimizer(job.train, parameter_specs(job.shape))

    def loss(parameters: Any, batch: Any) -> Any:
        inputs, targets, segments = batch
        hidden = decoder.hidden_states(parameters, inputs, segments, job.shape, functions=FUNCTIONS)
        return mean_loss(hidden, decoder.head_matrix(parameters), targets, 0.0)

    @partial(jax.jit, donate_argnums=1)
    def step(parameters: Any, state: Any, batch: Any, rate: Any) -> Any:
        (_, value), gradients = jax.value_and_grad(loss, has_aux=True)(parameters, batch)
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, jax.tree.map(lambda u: -rate * u, updates)), state, value

    parameters = jax.device_put(initial_parameters(job.shape, 0))
    state, batches = optimizer.init(parameters), training_batches(job, dataset)
    for number in range(steps):
        batch = batches.at(number)
        now = np.float32(rate * min(1, (number + 1) / 20) * (1 - number / job.train.steps))
        parameters, state, value = step(parameters, state, (batch.inputs, batch.targets, batch.segments), now)
        yield float(value), parameters


def best_rate(job: Job, dataset: Dataset, exponents: range) -> int:
    """The power of two that ends lowest, by the mean loss of the last 20 steps."""
    ends = [
        np.mean([value for value, _ in losses(job, dataset, 2.0**k, job.train.steps)][-20:])
        for k in exponents
    ]
    return exponents[int(np.argmin(ends))]


def moved_logits(job: Job, dataset: Dataset) -> float:
    """Root mean square of what four steps at one rate change in the logits of another batch."""
    batch = training_batches(job, dataset).at(1000)

    @jax.jit
    def score(parameters: Any) -> Any:
        hidden = decoder.hidden_states(parameters, batch.inputs, batch.segments, job.shape)
        return decoder.logits(parameters, hidden)

    *_, (_, after) = losses(job, dataset, 2.0**-6, 4)
    moved = np.asarray(score(after)) - np.asarray(score(initial_parameters(job.shape, 0)))
    return float(np.sqrt(np.mean(moved**2)))


@pytest.fixture(scope="module")
def addresses() -> Dataset:
    return open_data(job_of(64, base=None), Observer())


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_a_step_moves_the_logits_no_further_in_a_wider_model(addresses: Dataset, optimizer: str) -> None:
    """At the base's rate; without the scaling four times the width moves them further."""
    scaled = [moved_logits(job_of(w, base=64, optimizer=optimizer), addresses) for w in WIDTHS]
    plain = moved_logits(job_of(WIDTHS[-1], base=None, optimizer=optimizer), addresses)
    assert all(wider < 1.05 * narrower for narrower, wider in pairwise(scaled)), scaled
    assert plain > 1.5 * scaled[0]


@pytest.mark.slow
def test_the_best_rate_of_the_proxy_is_the_best_at_twice_and_four_times_its_width(addresses: Dataset) -> None:
    """200 steps of the embedded corpus at each of four rates; without the scaling the best one falls with the
    width (2^-6, 2^-7, 2^-8)."""
    exponents = range(-8, -4)
    assert {best_rate(job_of(w, base=64), addresses, exponents) for w in WIDTHS} == {-6}
    assert best_rate(job_of(256, base=None), addresses, exponents) == -8


def test_who_gets_how_much_of_the_rate() -> None:
    tied, untied = (
        rate_multipliers(job.train, parameter_specs(job.shape))
        for job in (job_of(256, base=64), job_of(256, base=64, tie_embeddings=False))
    )
    assert tied["embedding"] == untied["head"] == 0.25
    assert untied["embedding"] == tied["final_norm"] == tied["layers"]["attention_norm"] == 1.0
    assert tied["layers"]["query"] == tied["layers"]["down"] == 0.25
    muon = job_of(256, base=64, optimizer="muon")
    multipliers = rate_multipliers(muon.train, parameter_specs(muon.shape))
    assert multipliers["layers"]["query"] == 0.5
    assert multipliers["embedding"] == 0.25


def test_at_the_base_width_nothing_changes() -> None:
    job = job_of(64, base=64)
    assert set(jax.tree.leaves(rate_multipliers(job.train, parameter_specs(job.shape)))) == {1.0}
