"""A layout that cannot work is refused when it is made, with the reason."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.job import MESH_AXES, Job, MeshTable, make_job
from pippin.parallel.degrees import Degrees, check, describe, resolve

SHAPE = {"d_model": 32, "num_layers": 4, "num_heads": 8, "num_kv_heads": 4, "ffn_dim": 48, "vocab_size": 320}
MOE = {"moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 24}}


def job(mesh: dict[str, Any], **shape: Any) -> Job:
    train = {"steps": 1, "batch_size": 8, "sequence_length": 32}
    return make_job({"model": SHAPE | shape, "train": train, "mesh": {"fsdp": 1} | mesh})


def refused(mesh: dict[str, Any], **shape: Any) -> str:
    made = job(mesh, **shape)
    degrees = resolve(made.mesh, math.prod(getattr(made.mesh, axis) for axis in MESH_AXES))
    with pytest.raises(PippinError) as caught:
        check(made, degrees)
    return str(caught.value)


@given(
    st.dictionaries(st.sampled_from(MESH_AXES), st.integers(1, 4)),
    st.sampled_from(MESH_AXES),
    st.integers(1, 4),
)
def test_the_rest_is_what_is_left_over(given_degrees: dict[str, int], rest: str, more: int) -> None:
    table = MeshTable(**{"fsdp": 1} | given_degrees | {rest: "rest"})
    fixed = math.prod(degree for axis, degree in given_degrees.items() if axis != rest)
    degrees = resolve(table, fixed * more)
    assert degrees.devices == fixed * more
    assert getattr(degrees, rest) == more
    assert degrees.sizes == {axis: getattr(degrees, axis) for axis in MESH_AXES}


def test_degrees_must_multiply_to_the_devices() -> None:
    with pytest.raises(PippinError, match=r"mesh: data 2 x tensor 2 is 4 devices, here are 6 .*divide"):
        resolve(MeshTable(data=2, tensor=2), 6)
    with pytest.raises(PippinError, match=r"tensor 2 is 2 devices, here are 8 .*rest"):
        resolve(MeshTable(tensor=2, fsdp=1), 8)
    with pytest.raises(PippinError, match=r"a degree of 1 on every axis is 1 devices, here are 8"):
        resolve(MeshTable(fsdp=1), 8)


@pytest.mark.parametrize(
    ("mesh", "shape", "reason"),
    [
        (
            {"data": 2, "fsdp": 2, "micro_batches": 4},
            {},
            r"mesh\.micro_batches: train\.batch_size 8 .* 16 parts",
        ),
        ({"tensor": 8}, {"ffn_dim": 64}, r"mesh\.tensor: model\.num_kv_heads 4 does not divide into 8 parts"),
        ({"tensor": 3}, {}, r"mesh\.tensor: train\.sequence_length 32 does not divide into 3 parts"),
        ({"context": 32}, {}, r"mesh\.tensor: train\.sequence_length 32 .* 64 parts \(pieces 2 x context 32"),
        (
            {"stage": 3, "micro_batches": 2},
            {},
            r"mesh\..*: model\.vocab_size 320 does not divide into 3 parts",
        ),
        ({"stage": 8}, {}, r"mesh\.stage: model\.num_layers 4 does not divide into 8 parts"),
        ({"tensor": 4}, {"ffn_dim": 50}, r"ffn_dim 50 does not divide into 4 parts"),
        ({"fsdp": 8}, {"d_model": 36, "num_heads": 6, "num_kv_heads": 6}, r"model\.d_model 36"),
        ({"expert": 2}, {}, r"mesh\.expert: expert 2 shares out experts, and this model has none"),
        ({"expert": 8}, MOE, r"mesh\.expert: model\.moe\.num_experts 4 does not divide into 8 parts"),
        ({"stage": 2}, {"kv_reuse_layers": 2}, r"mesh\.stage: a pipeline over layers that read .* not built"),
    ],
)
def test_what_cannot_work_says_why(mesh: dict[str, Any], shape: dict[str, Any], reason: str) -> None:

    assert re.search(reason, refused(mesh, **shape))


def test_what_works_is_let_through() -> None:
    for mesh, shape in (
        ({"data": 2, "fsdp": 4}, {}),
        ({"stage": 4, "tensor": 2}, {}),
        ({"context": 4, "tensor": 2}, {}),
        ({"expert": 4, "tensor": 2}, MOE),
    ):
        made = job(mesh, **shape)
        check(made, resolve(made.mesh, 8))


def test_what_is_recorded() -> None:
    recorded = describe(Degrees(data=2, tensor=4), MeshTable(micro_batches=3))
    assert recorded == {
        "devices": 8, "data": 2, "fsdp": 1, "expert": 1, "stage": 1, "context": 1, "tensor": 4,
        "micro_batches": 3,
    }  # fmt: skip
