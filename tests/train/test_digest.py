from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pippin.train.digest import flatten, parameter_sha256, unflatten


def tree() -> dict[str, Any]:
    return {"b": {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}, "a": np.float32([0.0, 1.0])}


def test_paths_are_dotted_and_sorted() -> None:
    assert list(flatten(tree())) == ["a", "b.x"]
    assert list(flatten({"o": ({"m": 1}, {"n": 2})})) == ["o.0.m", "o.1.n"]


def test_flatten_and_back() -> None:
    back = unflatten(tree(), flatten(tree()))
    assert back.keys() == {"a", "b"}
    assert (back["b"]["x"] == tree()["b"]["x"]).all()


def test_host_and_device_arrays_in_any_order_of_memory_are_the_same() -> None:
    wanted = parameter_sha256(tree())
    on_device = {"a": jnp.asarray(tree()["a"]), "b": {"x": jnp.asarray(tree()["b"]["x"])}}
    assert parameter_sha256(on_device) == wanted
    assert parameter_sha256(tree() | {"b": {"x": np.asfortranarray(tree()["b"]["x"])}}) == wanted
    assert parameter_sha256(tree() | {"a": tree()["a"].astype(">f4")}) == wanted


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.float32([-0.0, 1.0])},  # equal in value, other bits
        {"a": np.float32([np.nextafter(np.float32(0), np.float32(1)), 1.0])},
        {"a": np.float32([[0.0, 1.0]])},
        {"a": np.float64([0.0, 1.0])},
        {"c": np.float32([0.0, 1.0])},
    ],
)
def test_one_bit_shape_type_or_name_makes_another_digest(other: dict[str, Any]) -> None:
    changed = {name: value for name, value in tree().items() if name != "a"} | other
    assert parameter_sha256(changed) != parameter_sha256(tree())
