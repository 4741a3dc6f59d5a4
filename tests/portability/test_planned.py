"""One job, one mesh, one kind of chip: one figure of memory, whoever is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pippin.catalog import load_catalog
from pippin.cli.plan import _of_the_job
from pippin.job import Job, load_job
from pippin.parallel.degrees import resolve
from pippin.plan.answer import Answer, answer
from pippin.plan.asked import stages_of
from pippin.plan.at_hand import AtHand
from pippin.plan.calibration import shipped_calibration
from pippin.plan.foresight import foresee
from pippin.plan.request import find_fleet, make_request
from pippin.portability.forms import own_form
from pippin.portability.planned import planned_memory

JOB = """
[model]
preset = "pippin-3m"
vocab_size = 2048
[train]
steps = 4
batch_size = 16
sequence_length = 512
"""
MESHES = [
    {"fsdp": 1},
    {"fsdp": 4, "tensor": 2},
    {"data": 2, "fsdp": 4},  # a copy of the states in each half
    {"data": 4, "fsdp": 1, "tensor": 2},
    {"stage": 2, "fsdp": 2, "micro_batches": 4},
    {"context": 2, "fsdp": 2, "remat": "full"},
    {"fsdp": 2, "remat": "selective"},
]


def written(tmp_path: Any, mesh: dict[str, Any], more: str = "") -> Any:
    path = tmp_path / "job.toml"
    lines = [f"{key} = {value!r}" for key, value in mesh.items()]
    path.write_text("\n".join([JOB, "[mesh]", *lines, more]))
    return path


def checked(job: Job, target: str, devices: int) -> dict[str, Any]:
    choices = own_form(job, target, devices).choices
    return planned_memory(job, resolve(job.mesh, devices), choices, target)


def devices_of(mesh: dict[str, Any]) -> int:
    count = 1
    for axis in ("data", "fsdp", "tensor", "context", "stage"):
        count *= mesh.get(axis, 1)
    return count


def planned(path: Any, chip: str, devices: int) -> Answer:
    request = make_request(path)
    fleet, chips = find_fleet(load_catalog(None), chip, None, devices)
    layout, neighbours = _of_the_job(path, request, chips)
    return answer(
        request, fleet, chips, shipped_calibration(), layout=layout, neighbours=neighbours, lean=True
    )


@pytest.mark.parametrize(("chip", "target"), [("tpu_v5e", "tpu"), ("h100_sxm", "cuda"), ("trn2", "neuron")])
@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_plan_and_check_have_one_figure(tmp_path: Any, mesh: dict[str, Any], chip: str, target: str) -> None:
    path, devices = written(tmp_path, mesh), devices_of(mesh)
    found, shown = planned(path, chip, devices), checked(load_job(path), target, devices)
    assert found.asked is not None
    assert found.asked.memory_bytes == pytest.approx(shown["total_bytes"], rel=1e-6)
    assert found.task.framework.name == shown["framework"] == "Pippin, bfloat16, fused"
    fullest = max(stage["total"] for stage in stages_of(*found.explained))
    assert fullest == pytest.approx(shown["total_bytes"], rel=1e-6)


def test_arrays_are_as_wide_as_the_job_says(tmp_path: Any) -> None:
    path = written(tmp_path, {"fsdp": 1}, '[chip]\ncompute_dtype = "float32"')
    found, shown = planned(path, "h100_sxm", 1), checked(load_job(path), "cuda", 1)
    assert found.asked is not None and found.task.framework.name == "Pippin, float32, fused"
    assert found.asked.memory_bytes == pytest.approx(shown["total_bytes"], rel=1e-6)


@pytest.mark.parametrize(("platform", "target"), [("cpu", "cpu"), ("gpu", "cuda")])
def test_an_assay_predicts_what_the_check_says(job: Callable[..., Job], platform: str, target: str) -> None:
    small = job(train={"batch_size": 4, "sequence_length": 256})
    dtype = own_form(small, target, 1).choices.compute_dtype
    machine = AtHand(
        "a machine", platform, None, "machine", 1, 2, 2**34, dtype, "reference", "none", 2e11, 2e10
    )
    found = foresee(small.shape, 4, 256, machine, shipped_calibration())
    shown = checked(small, target, 1)
    assert found.memory_bytes == pytest.approx(shown["total_bytes"], rel=1e-6)
    assert found.memory_basis == f"{shown['framework']}: {shown['basis']}"
