from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from pippin.errors import PippinError
from pippin.models.config import ModelConfig
from pippin.models.presets import PRESETS, preset


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"d_model": 30, "head_dim": 0},
            "d_model 30 does not divide into num_heads 4: choose a multiple, or give head_dim",
        ),
        ({"num_kv_heads": 3}, "num_heads 4 does not divide into num_kv_heads 3"),
        ({"num_kv_heads": 8}, "num_heads 4 does not divide into num_kv_heads 8"),
        ({"head_dim": 7}, "head_dim 7 is odd"),
        ({"d_model": 12, "head_dim": 0}, "head_dim 3 is odd"),
        ({"num_layers": 0}, "num_layers"),
        ({"num_heads": 0}, "num_heads"),
        ({"vocab_size": 1}, "vocab_size"),
        ({"ffn_dim": -5}, "ffn_dim"),
        ({"rope_theta": 0.0}, "rope_theta"),
        ({"ffn": 8}, "ffn"),
    ],
)
def test_impossible_shapes_are_refused(
    small_config: Callable[..., ModelConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        small_config(**changes)
    assert message in str(caught.value)


def test_head_dim_follows_the_width_unless_given(small_config: Callable[..., ModelConfig]) -> None:
    assert small_config(head_dim=0).head_dim == 24 // 4
    assert small_config(head_dim=10).head_dim == 10
    assert small_config(head_dim=0) == small_config(head_dim=6)


def test_a_configuration_is_frozen(small_config: Callable[..., ModelConfig]) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        small_config().num_layers = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_possible_shape(name: str) -> None:
    config = ModelConfig(**{"vocab_size": 8192} | preset(name))
    assert config.num_heads * config.head_dim == config.d_model


@pytest.mark.parametrize(
    ("name", "close"),
    [("pippin-5M", "pippin-5m"), ("llama-8b", "llama3.1-8b"), ("pippin125m", "pippin-125m")],
)
def test_unknown_preset_names_the_nearest(name: str, close: str) -> None:
    with pytest.raises(PippinError) as caught:
        preset(name)
    assert str(caught.value) == f"model.preset: no preset named '{name}' (did you mean '{close}'?)"


def test_preset_unlike_any_other_lists_them_all() -> None:
    with pytest.raises(PippinError) as caught:
        preset("zzz")
    assert all(name in str(caught.value) for name in PRESETS)


def test_a_preset_may_be_changed_without_effect_on_the_next() -> None:
    before = preset("pippin-3m")
    preset("pippin-3m")["d_model"] = 1
    assert preset("pippin-3m") == before
