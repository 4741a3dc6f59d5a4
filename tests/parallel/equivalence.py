"""Runs in a process of its own with 8 virtual CPU devices: prints each layout's distance from one device.

The process that runs the tests has one device, and JAX cannot get more once it has started.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np
from jax import lax

from pippin.job import MESH_AXES, Job, make_job
from pippin.models.parameters import initial_parameters
from pippin.parallel.degrees import TOKEN_AXES, Degrees, check
from pippin.parallel.exchange import Exchange
from pippin.parallel.gradients import Spread
from pippin.parallel.objective import Objective, Part
from pippin.parallel.placement import make_mesh, place, state_shardings
from pippin.train.digest import flatten
from pippin.train.step import Choices, _objective

from layouts import LAYOUTS, LENGTH, PLANTED, ROWS, VOCABULARY, shape_of  # isort: skip


def make(mesh: dict[str, Any], kind: str = "dense", layers: int = 2) -> Job:
    train = {"steps": 4, "batch_size": ROWS, "sequence_length": LENGTH, "z_loss": 1e-2}
    shape = shape_of(kind) | {"num_layers": layers}
    return make_job({"model": shape, "train": train, "mesh": {"fsdp": 1} | mesh})


def spread(job: Job, dtype: str = "float32") -> Spread:
    degrees = Degrees(**{axis: getattr(job.mesh, axis) for axis in MESH_AXES})
    check(job, degrees)
    choices = Choices(dtype, "reference", True, job.mesh.remat or "none")
    return Spread(_objective(job, choices, degrees), make_mesh(degrees))


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Packed documents: inputs, targets, segments."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, VOCABULARY, (ROWS, LENGTH + 1)).astype(np.int32)
    segments = np.cumsum(generator.random((ROWS, LENGTH)) < 0.1, axis=1).astype(np.int32)
    return tokens[:, :-1], tokens[:, 1:], segments


def compute(job: Job) -> tuple[float, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Loss, gradients and router sums of the global batch."""
    parts = spread(job)
    values = initial_parameters(job.shape, 0)
    parameters = place(values, state_shardings(values, job.shape, parts.degrees, parts.mesh))
    load = None
    if job.shape.moe:
        weights = np.random.default_rng(1).dirichlet(np.ones(4), job.shape.num_layers)
        load = weights.astype(np.float32)
    found, sums = jax.jit(parts.gradients)(parameters, load, Part(*parts.place(*batch())))
    report = flatten(sums.report._asdict()) if sums.report else {}
    return float(sums.loss), *(
        {k: np.asarray(v) for k, v in tree.items()} for tree in (flatten(found), report)
    )


_REFERENCES: dict[tuple[str, int], Any] = {}


def differences(mesh: dict[str, Any], kind: str = "dense", layers: int = 2) -> dict[str, Any]:
    """How far a layout is from the single device: the loss, and the worst parameter's gradient."""
    key = (kind, layers)
    if key not in _REFERENCES:
        _REFERENCES[key] = compute(make({}, kind, layers))
    loss, found, report = compute(make(mesh, kind, layers))
    wanted_loss, wanted, wanted_report = _REFERENCES[key]
    errors = {name: _relative(found[name], wanted[name]) for name in wanted}
    worst = max(errors, key=lambda name: errors[name])
    reports = [_relative(report[name], wanted_report[name]) for name in wanted_report]
    return {
        "loss": abs(loss - wanted_loss),
        "gradient": errors[worst],
        "worst": worst,
        "report": max(reports, default=0.0),
    }


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    size = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(found - wanted)) / size if size else float(np.linalg.norm(found))


def _only_first(self: Exchange, x: Any, *axes: str) -> Any:
    """A sum that misses all devices but the first: what a forgotten all-reduce leaves there."""
    active = self.degrees.active(*axes)
    return lax.psum(jax.numpy.where(self.index(*axes) == 0, x, 0 * x), active) if active else x


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    kept = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def planted(name: str) -> dict[str, Any]:
    """The differences of a layout into which an error was planted."""
    if name == "missing all-reduce":
        with _replaced(Exchange, "sum", _only_first):
            return differences({"data": 2})
    if name == "unreduced gradients":
        with _replaced(Exchange, "sum", lambda self, x, *axes: x):
            return differences({"data": 2})
    if name == "wrong scale":
        with _replaced(Job, "tokens_per_step", property(lambda job: ROWS * LENGTH // job.mesh.data)):
            return differences({"data": 2})
    if name == "a router counted twice":
        with _replaced(Objective, "_once", _twice):
            return differences({"expert": 2, "tensor": 2}, "dropless")
    raise ValueError(name)


def _twice(self: Objective, report: Any) -> Any:
    """Every device of a tensor-parallel group counts the tokens that it routed."""
    if report is None:
        return None
    summed = jax.tree.map(lambda x: self.exchange.sum(x, "tensor"), report)
    return self.exchange.vary(summed, "stage", *TOKEN_AXES)


def tell(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def main() -> None:
    jax.config.update("jax_default_prng_impl", "rbg")
    for name, layout in LAYOUTS.items():
        tell({"case": name, **differences(*layout)})
    for name in PLANTED:
        try:
            found = planted(name)
        except ValueError as error:  # the types of varying values: refused before anything runs
            found = {"refused": str(error)}
        tell({"case": name, **found})


if __name__ == "__main__":
    main()
