"""How many devices each mesh axis has, and why some layouts cannot work. Needs no JAX."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from pippin.errors import PippinError
from pippin.job import MESH_AXES, Job, MeshTable

# The global batch is split over these; every other axis sees the same sequences.
BATCH_AXES = ("data", "fsdp", "expert")
# And its tokens over these.
TOKEN_AXES = (*BATCH_AXES, "context")


@dataclass(frozen=True)
class Degrees:
    """Devices along each axis. Their product is the number of devices."""

    data: int = 1
    fsdp: int = 1
    expert: int = 1
    stage: int = 1
    context: int = 1
    tensor: int = 1

    def of(self, *axes: str) -> int:
        """Devices along these axes together."""
        return math.prod(getattr(self, axis) for axis in axes)

    def active(self, *axes: str) -> tuple[str, ...]:
        """Those of the axes that have more than one device."""
        return tuple(axis for axis in axes if getattr(self, axis) > 1)

    @property
    def devices(self) -> int:
        return self.of(*MESH_AXES)

    @property
    def sizes(self) -> dict[str, int]:
        """By axis, in the order of the mesh: the last axis joins neighbours."""
        return {axis: getattr(self, axis) for axis in MESH_AXES}


def resolve(mesh: MeshTable, num_devices: int) -> Degrees:
    """Fills in the axis that takes the rest.

    Raises:
        PippinError: the degrees do not multiply to the number of devices.
    """
    given = {axis: getattr(mesh, axis) for axis in MESH_AXES}
    fixed = math.prod(degree for degree in given.values() if degree != "rest")
    rest = [axis for axis, degree in given.items() if degree == "rest"]
    said = " x ".join(f"{axis} {degree}" for axis, degree in given.items() if degree not in (1, "rest"))
    if num_devices % fixed or (not rest and fixed != num_devices):
        raise PippinError(
            f"{said or 'a degree of 1 on every axis'} is {fixed} devices, here are {num_devices}",
            where="mesh",
            fix='let one axis be "rest"' if not rest else "choose degrees that divide the devices",
        )
    return Degrees(**{axis: num_devices // fixed if axis in rest else int(given[axis]) for axis in given})


def check(job: Job, degrees: Degrees) -> None:
    """Refuses a layout in which something does not divide, or which is not built.

    Raises:
        PippinError: names the axis and what to change.
    """
    for axes, what, count in _divisions(job, degrees):
        parts = _parts(job, degrees, axes)
        if count % parts:
            shown = " x ".join(f"{axis} {_part(job, degrees, axis)}" for axis in axes)
            raise PippinError(
                f"{what} {count} does not divide into {parts} parts ({shown})",
                where=f"mesh.{axes[-1]}",
                fix=f"choose degrees that divide {count}, or another {what}",
            )
    if degrees.expert > 1 and job.shape.moe is None:
        raise PippinError(
            f"expert {degrees.expert} shares out experts, and this model has none",
            where="mesh.expert",
            fix="set it to 1; data and fsdp split the batch as well",
        )
    if degrees.stage > 1 and job.shape.kv_reuse_layers:
        raise PippinError(
            "a pipeline over layers that read another layer's keys and values is not built",
            where="mesh.stage",
            fix="set it to 1",
        )


def _divisions(job: Job, degrees: Degrees) -> list[tuple[tuple[str, ...], str, int]]:
    """What must divide over which axes: (axes, name, count)."""
    shape, train = job.shape, job.train
    ffn = [(("tensor",), "ffn_dim", shape.ffn_dim)] if shape.moe is None else []
    experts = []
    if shape.moe:
        experts = [
            (("tensor",), "model.moe.ffn_dim", shape.moe.ffn_dim),
            (("expert",), "model.moe.num_experts", shape.moe.num_experts),
        ]
    return [
        ((*BATCH_AXES, "micro_batches"), "train.batch_size", train.batch_size),
        # Each context rank takes two pieces of the sequence, see parallel.context.
        (("pieces", "context", "tensor"), "train.sequence_length", train.sequence_length),
        (("fsdp",), "model.d_model", shape.d_model),
        (("tensor",), "model.num_heads", shape.num_heads),
        (("tensor",), "model.num_kv_heads", shape.num_kv_heads),
        *ffn,
        *experts,
        (("stage", "tensor"), "model.vocab_size", shape.vocab_size),
        (("stage",), "model.num_layers", shape.num_layers),
    ]


def _part(job: Job, degrees: Degrees, axis: str) -> int:
    if axis == "pieces":
        return 2 if degrees.context > 1 else 1
    return job.mesh.micro_batches if axis == "micro_batches" else int(getattr(degrees, axis))


def _parts(job: Job, degrees: Degrees, axes: tuple[str, ...]) -> int:
    return math.prod(_part(job, degrees, axis) for axis in axes)


def describe(degrees: Degrees, mesh: MeshTable) -> dict[str, int]:
    """What `run.json` records of a layout."""
    return {"devices": degrees.devices, **asdict(degrees), "micro_batches": mesh.micro_batches}
