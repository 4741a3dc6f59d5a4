from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from pippin.errors import PippinError
from pippin.models import parameters as parameters_module
from pippin.models.config import ModelConfig, MoEConfig
from pippin.models.parameters import ParameterSpec, flat_specs, initial_parameters, parameter_specs

AXIS_SIZES = {
    "vocab": "vocab_size",
    "embed": "d_model",
    "norm": "d_model",
    "heads": "num_heads",
    "kv_heads": "num_kv_heads",
    "head": "head_dim",
    "ffn": "ffn_dim",
}


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level of dotted paths."""
    items: dict[str, Any] = {}
    for name, value in tree.items():
        items |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return items


@pytest.fixture
def large_config(small_config: Callable[..., ModelConfig]) -> ModelConfig:
    """Large enough for a standard deviation to be told within a few per cent."""
    return small_config(d_model=96, ffn_dim=160, num_layers=3, vocab_size=301, tie_embeddings=False)


def axis_size(config: ModelConfig, path: str, axis: str) -> int:
    """What a dimension of that name holds."""
    if axis == "layer":
        reuse = config.kv_reuse_layers
        return reuse if path.startswith("reuse_layers.") else config.num_layers - reuse
    if axis in ("expert", "router", "expert_ffn"):
        assert config.moe is not None
        return config.moe.ffn_dim if axis == "expert_ffn" else config.moe.num_experts
    size: int = getattr(config, AXIS_SIZES[axis])
    return size


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_arrays_follow_their_specs(
    small_config: Callable[..., ModelConfig], structure: dict[str, Any], tied: bool
) -> None:
    config = small_config(tie_embeddings=tied, **structure)
    made = initial_parameters(config, seed=0)
    specs = parameter_specs(config)
    is_spec = lambda node: isinstance(node, ParameterSpec)  # noqa: E731
    assert jax.tree.structure(made) == jax.tree.structure(specs, is_leaf=is_spec)
    assert set(flat(made)) == set(flat_specs(config))
    assert ("head" in made) is not tied
    for path, array in flat(made).items():
        assert array.dtype == np.float32, path
        assert array.shape == flat_specs(config)[path].shape, path


def test_flat_specs_are_sorted(small_config: Callable[..., ModelConfig]) -> None:
    paths = list(flat_specs(small_config()))
    assert paths == sorted(paths) and "layers.query" in paths


def test_each_dimension_has_an_axis_name_with_its_size(
    small_config: Callable[..., ModelConfig], structure: dict[str, Any]
) -> None:
    config = small_config(tie_embeddings=False, **structure)
    for path, spec in flat_specs(config).items():
        assert len(spec.axes) == len(spec.shape), path
        assert len(set(spec.axes)) == len(spec.axes), path
        assert spec.shape == tuple(axis_size(config, path, axis) for axis in spec.axes), path
        assert ("layers." in path) == (spec.axes[0] == "layer"), path


def test_same_seed_makes_the_same_bits(small_config: Callable[..., ModelConfig]) -> None:
    first, second = (flat(initial_parameters(small_config(), seed=5)) for _ in range(2))
    for path, array in first.items():
        assert array.tobytes() == second[path].tobytes(), path


def test_other_seeds_and_other_paths_make_other_values(large_config: ModelConfig) -> None:
    """Scaled to deviation one, no two arrays start alike, and none correlate."""
    starts = {}
    for seed in (0, 1, 2**32, 2**62):  # no bit of the seed is dropped
        for path, array in flat(initial_parameters(large_config, seed)).items():
            std = flat_specs(large_config)[path].initial_std
            if std is not None:
                starts[seed, path] = array.ravel()[:2000] / std
    correlation = np.corrcoef(np.stack(list(starts.values())))
    np.fill_diagonal(correlation, 0)
    # Four seeds of nine arrays, each pair once: six deviations of 1/sqrt(2000) are beyond chance.
    assert np.abs(correlation).max() < 6 / 2000**0.5


def test_values_do_not_depend_on_the_order_of_the_arrays(
    small_config: Callable[..., ModelConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tie_embeddings=False)
    usual = flat(initial_parameters(config, seed=3))

    def backwards(tree: dict[str, Any]) -> dict[str, Any]:
        items = reversed(list(tree.items()))
        return {name: backwards(value) if isinstance(value, dict) else value for name, value in items}

    monkeypatch.setattr(parameters_module, "parameter_specs", lambda c: backwards(parameter_specs(c)))
    turned = flat(initial_parameters(config, seed=3))
    assert list(turned) != list(usual)
    for path, array in usual.items():
        np.testing.assert_array_equal(turned[path], array, err_msg=path)


def test_a_head_of_its_own_leaves_the_other_values_alone(small_config: Callable[..., ModelConfig]) -> None:
    untied = flat(initial_parameters(small_config(tie_embeddings=False), seed=3))
    for path, array in flat(initial_parameters(small_config(), seed=3)).items():
        np.testing.assert_array_equal(untied[path], array, err_msg=path)


def test_deviations_are_those_documented(large_config: ModelConfig) -> None:
    """1/sqrt(fan-in); what writes to the residual stream is divided by sqrt(2 layers)."""
    width, attention, ffn = 96, 4 * 8, 160  # what enters a projection, the output, the down projection
    to_residual = (2 * 3) ** -0.5
    inward = dict.fromkeys(
        ["layers.query", "layers.key", "layers.value", "layers.gate", "layers.up", "head", "embedding"],
        width**-0.5,
    )
    expected = inward | {
        "layers.output": attention**-0.5 * to_residual,
        "layers.down": ffn**-0.5 * to_residual,
    }
    made = flat(initial_parameters(large_config, seed=0))
    for path, std in expected.items():
        values = made.pop(path).astype(float)
        # The estimates' own deviations: std / sqrt(2 n), and std / sqrt(n) for the mean.
        assert values.std() == pytest.approx(std, abs=3 * std / (2 * values.size) ** 0.5), path
        assert values.mean() == pytest.approx(0, abs=3 * std / values.size**0.5), path
    assert set(made) == {"layers.attention_norm", "layers.ffn_norm", "final_norm"}
    assert all(np.all(array == 1) for array in made.values())


def test_layers_that_reuse_keys_have_none(small_config: Callable[..., ModelConfig]) -> None:
    specs = parameter_specs(small_config(num_layers=5, kv_reuse_layers=2, qk_norm=True))
    assert specs["layers"].keys() - specs["reuse_layers"].keys() == {"key", "value", "key_norm"}


def test_experts_start_like_the_feed_forward_part_they_replace(large_config: ModelConfig) -> None:
    config = large_config.model_copy(update={"moe": MoEConfig(num_experts=7, top_k=2, ffn_dim=64)})
    layers = initial_parameters(config, seed=0)["layers"]
    assert not {"gate", "up", "down"} & layers.keys()
    for name, fan_in, scale in [
        ("router", 96, 1.0),
        ("expert_gate", 96, 1.0),
        ("expert_up", 96, 1.0),
        ("expert_down", 64, (2 * 3) ** -0.5),
    ]:
        std = scale * fan_in**-0.5
        values = layers[name]
        assert values.std() == pytest.approx(std, abs=3 * std / (2 * values.size) ** 0.5), name


def test_a_shape_that_is_only_planned_has_no_parameters(small_config: Callable[..., ModelConfig]) -> None:
    with pytest.raises(PippinError, match="sliding-window attention is planned, not trained"):
        parameter_specs(small_config(sliding_window=8))
