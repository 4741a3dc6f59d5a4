"""The whole model, layer by layer: outputs and gradients of the chip's program beside the reference.

How far apart a sound chip may be is measured, not guessed: the reference runs again with every parameter
moved by one unit in the last place of the chip's type, and what that changes in an output or a gradient,
times a margin, is the tolerance of that output or gradient.

Shapes as in `models.decoder`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding

from pippin.assay.numerics.computer import Computer
from pippin.assay.numerics.plain import Outputs, plain_objective
from pippin.assay.numerics.rounding import epsilon, nudged, relative_norm, sum_error
from pippin.data.batches import Batch
from pippin.devices import compile_program
from pippin.job import Job
from pippin.models import decoder
from pippin.models.attention import attention_backend
from pippin.models.functions import Layer, Parameters
from pippin.parallel.degrees import Degrees
from pippin.parallel.gradients import Spread
from pippin.parallel.objective import Objective, Part
from pippin.parallel.placement import make_mesh, place
from pippin.parallel.rules import parameter_partitions
from pippin.train.digest import flatten
from pippin.train.step import Choices

# How many times the change by one unit in the last place an error may be. The largest seen on a sound
# machine is in docs/numerics.md.
_MARGIN = 1.5
_DRAWS = 2
# Before the quantity, where all devices computed it together.
SPREAD = "spread "


@dataclass(frozen=True)
class LayerDeviation:
    """How far an output or a gradient is off, by norm. `layer` is in words: "layer 1", "logits"."""

    layer: str
    quantity: str
    error: float
    tolerance: float

    @property
    def within(self) -> bool:
        return self.error <= self.tolerance


def compare_layers(
    job: Job,
    choices: Choices,
    chip: Computer,
    reference: Computer,
    parameters: Parameters,
    batch: Batch,
    spread: Spread | None = None,
) -> list[LayerDeviation]:
    """Outputs from the embedding to the logits, then gradients from the last layer to the first; these also
    as all devices of the step compute them together, where there are several.

    Args:
        job: a dense shape; its batch size and length are those of `batch`.
        choices: the chip's rules.
        chip: where the chip's program runs, on one device.
        reference: a CPU.
        parameters: host arrays.
        batch: the tokens.
        spread: the step's own, over its mesh.
    """
    plain = reference.compiled(partial(_plain, job=job))
    tokens = (batch.inputs, batch.targets, batch.segments)
    expected = _by_place(*plain(parameters, *tokens))
    random = np.random.default_rng(0)
    moved = [
        _by_place(*plain(_moved(parameters, choices.compute_dtype, random), *tokens)) for _ in range(_DRAWS)
    ]
    outputs = chip.run(partial(_chip_outputs, job=job, choices=choices), parameters, *tokens)
    gradients = chip.run(partial(_chip_gradients, job=job, choices=choices, chip=chip), parameters, *tokens)
    found = {place: (place, value) for place, value in _by_place(outputs, gradients).items()}
    if spread is not None and spread.degrees.devices > 1:
        together = _by_place(outputs, _mesh_gradients(spread, parameters, batch))
        found |= {
            (layer, f"{SPREAD}{quantity}"): ((layer, quantity), value)
            for (layer, quantity), value in together.items()
            if quantity.startswith("gradient")
        }
    floor = epsilon(choices.compute_dtype) / 2 + sum_error(batch.inputs.size)
    return [
        LayerDeviation(
            *place,
            relative_norm(value, expected[same]),
            _MARGIN * (max(relative_norm(draw[same], expected[same]) for draw in moved) + floor),
        )
        for place, (same, value) in found.items()
    ]


def _plain(parameters: Parameters, inputs: Array, targets: Array, segments: Array, job: Job) -> Any:
    compute = jax.grad(plain_objective, has_aux=True)
    gradients, (_, outputs) = compute(parameters, inputs, targets, segments, job)
    return outputs, gradients


def _chip_outputs(
    parameters: Parameters, inputs: Array, targets: Array, segments: Array, job: Job, choices: Choices
) -> Outputs:
    """The forward pass with the chip's own functions, which also leaves the stream after each layer."""
    objective, streams = _objective(job, choices), []

    def layers(layer: Layer, x: Array, stacked: Parameters) -> tuple[Array, Any]:
        def keeping(x: Array, parameters: Parameters) -> tuple[Array, Any]:
            after, report = layer(x, parameters)
            return after, (after, report)

        last, (kept, report) = objective.functions.layers(keeping, x, stacked)
        streams.append(kept)
        return last, report

    x = objective.embed(parameters["embedding"], inputs).astype(objective.compute_dtype)
    functions = replace(objective.functions, layers=layers)
    last, _ = decoder.run_layers(parameters, x, segments, job.shape, functions=functions)
    hidden = decoder.rms_norm(last, parameters["final_norm"], job.shape.norm_epsilon)
    return Outputs(jnp.concatenate([x[None], *streams]), decoder.logits(parameters, hidden))


def _chip_gradients(
    parameters: Parameters,
    inputs: Array,
    targets: Array,
    segments: Array,
    job: Job,
    choices: Choices,
    chip: Computer,
) -> Parameters:
    """As a training step computes them, on one device."""
    spread = Spread(_objective(job, choices), make_mesh(Degrees(), [chip.device]))
    return spread.gradients(parameters, None, Part(inputs, targets, segments))[0]


def _mesh_gradients(spread: Spread, parameters: Parameters, batch: Batch) -> Any:
    """As a training step computes them, on all its devices."""
    where = parameter_partitions(spread.objective.job.shape, spread.degrees)
    placed = place(parameters, jax.tree.map(partial(NamedSharding, spread.mesh), where))
    part = Part(*spread.place(batch.inputs, batch.targets, batch.segments))
    gradients = compile_program(jax.jit(spread.gradients).lower(placed, None, part))(placed, None, part)[0]
    return jax.tree.map(np.asarray, gradients)


def _objective(job: Job, choices: Choices) -> Objective:
    return Objective(
        job,
        Degrees(),
        attention=attention_backend(choices.attention),
        compute_dtype=jnp.dtype(choices.compute_dtype),
        remat=choices.remat,
        scan=choices.scan_layers,
    )


def _moved(parameters: Parameters, dtype: str, random: np.random.Generator) -> Any:
    return jax.tree.map(
        lambda x: nudged(np.asarray(x, np.float64), dtype, random).astype(np.float32), parameters
    )


def _by_place(outputs: Outputs, gradients: Parameters) -> dict[tuple[str, str], Any]:
    """Outputs in the order of the forward pass, gradients in that of the backward pass."""
    streams = [("embedding", "output"), *((f"layer {i + 1}", "output") for i in range(len(outputs[0]) - 1))]
    places = dict(zip(streams, outputs.streams, strict=True)) | {("logits", "output"): outputs.logits}
    for name in ("head", "final_norm"):
        if name in gradients:
            places[name.replace("_", " "), "gradient"] = gradients[name]
    layers = flatten(gradients["layers"])
    for index in reversed(range(len(outputs.streams) - 1)):
        places |= {(f"layer {index + 1}", f"gradient by {name}"): x[index] for name, x in layers.items()}
    return places | {("embedding", "gradient"): gradients["embedding"]}
