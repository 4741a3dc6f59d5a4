"""Where a job's first parameters come from: its seed, or the last ones of another run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pippin.errors import PippinError
from pippin.job import Job
from pippin.models.parameters import initial_parameters
from pippin.train.digest import parameter_sha256
from pippin.train.saved import newest_parameters


def initial_values(job: Job, tell: Callable[[str], None]) -> Any:
    """The pytree of `models.parameters`, float32 NumPy arrays on the host.

    Raises:
        PippinError: the other run has nothing saved, has other shapes, or is not the one that the job
            was hashed with.
    """
    if job.initial is None:
        return initial_parameters(job.shape, job.train.seed)
    folder, wanted = job.initial
    tell(f"reading the initial values from {folder}")
    if not folder.is_dir():
        fix = "put the folder back, or give its new place: --set model.initial=DIR"
        raise PippinError("the initial values are not there any more", where=folder, fix=fix)
    _, parameters = newest_parameters(folder, job)
    found = parameter_sha256(parameters)
    if found != wanted:
        raise PippinError(
            f"not the initial values of the job: parameter_sha256 is {found[:12]}, not {wanted[:12]}",
            where=folder,
            fix="restore that run, or remove model.initial_sha256 for a new job",
        )
    return parameters
