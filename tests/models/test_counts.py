from __future__ import annotations

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.models.config import ModelConfig, MoEConfig
from pippin.models.counts import (
    forward_flops,
    num_active_parameters,
    num_embedding_parameters,
    num_parameters,
    training_flops_per_token,
)
from pippin.models.parameters import initial_parameters
from pippin.models.presets import PRESETS, preset

WIDE = ModelConfig(
    vocab_size=100, d_model=8, num_layers=3, num_heads=4, num_kv_heads=2, ffn_dim=10, tie_embeddings=True
)
DEEP = ModelConfig(
    vocab_size=7,
    d_model=6,
    num_layers=2,
    num_heads=3,
    num_kv_heads=1,
    head_dim=4,
    ffn_dim=5,
    tie_embeddings=False,
)

shapes = st.builds(
    lambda vocab, width, layers, kv, group, head, ffn, tied: ModelConfig(
        vocab_size=vocab,
        d_model=width,
        num_layers=layers,
        num_heads=kv * group,
        num_kv_heads=kv,
        head_dim=2 * head,
        ffn_dim=ffn,
        tie_embeddings=tied,
    ),
    st.integers(2, 50),
    st.integers(2, 20),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 20),
    st.booleans(),
)
lengths = st.integers(2, 40)


def test_parameters_of_a_tied_shape_by_hand() -> None:
    # Heads are 8 / 4 = 2 wide. One layer:
    #   query 8 x (4 x 2) = 64, key and value 8 x (2 x 2) = 32 each, output (4 x 2) x 8 = 64 -> 192
    #   gate, up and down 8 x 10 = 80 each -> 240; two norms of 8 -> 16; sum 448
    # Embedding 100 x 8 = 800, last norm 8, no head of its own.
    assert num_parameters(WIDE) == 3 * 448 + 800 + 8 == 2152
    assert num_embedding_parameters(WIDE) == 800


def test_parameters_of_an_untied_shape_by_hand() -> None:
    # One layer: query 6 x (3 x 4) = 72, key and value 6 x (1 x 4) = 24 each, output 12 x 6 = 72 -> 192;
    #   gate, up and down 6 x 5 = 30 each -> 90; two norms of 6 -> 12; sum 294
    # Embedding 7 x 6 = 42, head as much again, last norm 6.
    assert num_parameters(DEEP) == 2 * 294 + 42 + 42 + 6 == 678


def test_forward_flops_by_hand() -> None:
    # WIDE over 5 tokens. Matrix entries each token meets in a layer: 192 + 240 = 432 (as above, less the
    # norms); attention: 1 + 2 + 3 + 4 + 5 = 15 pairs, each 4 heads x 2 wide, once for the score and once
    # for the value -> 15 x 8 x 2 = 240. Head: 8 x 100 a token. Two FLOPs for each multiply-add.
    assert forward_flops(WIDE, 5) == 2 * (3 * (5 * 432 + 240) + 5 * 800) == 22_400
    # In full: 25 pairs -> 25 x 8 x 2 = 400.
    assert forward_flops(WIDE, 5, causal=False) == 2 * (3 * (5 * 432 + 400) + 5 * 800) == 23_360
    # DEEP over 3 tokens: 192 + 90 = 282 entries; 6 pairs x 3 heads x 4 wide x 2 = 144; head 6 x 7 = 42.
    assert forward_flops(DEEP, 3) == 2 * (2 * (3 * 282 + 144) + 3 * 42) == 4_212


def test_experts_by_hand() -> None:
    # WIDE with 5 experts of 3, two a token: router 8 x 5 = 40, an expert 3 x 8 x 3 = 72; a layer has
    # 192 + 16 + 40 + 5 x 72 = 608 instead of 448, of which a token meets 192 + 16 + 40 + 2 x 72 = 392.
    moe = WIDE.model_copy(update={"moe": MoEConfig(num_experts=5, top_k=2, ffn_dim=3)})
    assert num_parameters(moe) == 3 * 608 + 800 + 8
    assert num_active_parameters(moe) == 3 * 392 + 800 + 8
    # Products a token meets in a layer: 192 + 40 + 144 = 376; the rest as for the dense shape above.
    assert forward_flops(moe, 5) == 2 * (3 * (5 * 376 + 240) + 5 * 800)
    assert num_active_parameters(WIDE) == num_parameters(WIDE)


def test_reused_keys_by_hand() -> None:
    # WIDE with norms of queries and keys, 2 wide each; of its three layers the last has no keys and values:
    # 2 x (448 + 2 + 2) + (448 - 2 x 32 + 2) = 1290.
    reuse = WIDE.model_copy(update={"kv_reuse_layers": 1, "qk_norm": True})
    assert num_parameters(reuse) == 1290 + 800 + 8
    assert forward_flops(WIDE, 5) - forward_flops(reuse, 5) == 2 * 5 * 64


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        # arXiv 2401.04088, section 1, rounds to 47 B and 13 B; Mistral's announcement: 46.7 B and 12.9 B.
        ("mixtral-8x7b", 46.7e9, 12.9e9),
        # arXiv 2505.09388, table 2: 30.5 B and 3.3 B.
        ("qwen3-30b-a3b", 30.5e9, 3.3e9),
    ],
)
def test_mixtures_have_the_published_totals(name: str, total: float, active: float) -> None:
    config = ModelConfig(**preset(name))
    assert num_parameters(config) == pytest.approx(total, abs=0.05e9)
    assert num_active_parameters(config) == pytest.approx(active, abs=0.06e9)


def test_our_other_structures_cost_what_the_dense_shapes_do() -> None:
    def shape(name: str) -> ModelConfig:
        return ModelConfig(**{"vocab_size": 8192} | preset(name))

    for mixture, dense in [("pippin-moe-12m", "pippin-5m"), ("pippin-moe-640m", "pippin-125m")]:
        flops = training_flops_per_token(shape(mixture), 512)
        assert flops == pytest.approx(training_flops_per_token(shape(dense), 512), rel=0.01)
    small, whole = shape("pippin-apple-60m"), shape("apple-on-device-3b")
    assert num_parameters(whole) / num_parameters(small) == pytest.approx(50, rel=0.05)
    for config in (small, whole):
        assert 8 * config.kv_reuse_layers == 3 * config.num_layers
        assert config.num_heads == 8 * config.num_kv_heads


def test_a_shape_that_is_only_planned_is_not_counted_here() -> None:
    for count in (num_parameters, num_active_parameters, lambda c: forward_flops(c, 8)):
        with pytest.raises(PippinError, match="planned, not trained"):
            count(ModelConfig(**preset("deepseek-v3")))


def test_training_is_three_forward_passes_a_token() -> None:
    assert training_flops_per_token(WIDE, 5) == 3 * 22_400 / 5


def test_tying_saves_parameters_and_no_flops() -> None:
    untied = WIDE.model_copy(update={"tie_embeddings": False})
    assert num_parameters(untied) - num_parameters(WIDE) == 800
    assert forward_flops(untied, 5) == forward_flops(WIDE, 5)


def test_every_preset_is_about_the_size_it_is_named_after() -> None:
    """Within a fifth, with the default vocabulary where the preset leaves it to the tokenizer."""
    units = {"m": 10**6, "b": 10**9}
    for name, fields in PRESETS.items():
        size = num_parameters(ModelConfig(**{"vocab_size": 8192} | fields))
        named = name.rpartition("-")[2]
        assert size == pytest.approx(int(named[:-1]) * units[named[-1]], rel=0.2), name


def test_presets_span_the_range_and_ascend() -> None:
    sizes = [num_parameters(ModelConfig(**{"vocab_size": 8192} | fields)) for fields in PRESETS.values()]
    assert sizes == sorted(sizes)
    assert sizes[0] < 4e6 and sizes[-1] > 8e9


def test_llama_has_the_published_number_of_parameters() -> None:
    """8,030,261,248: the count that the published checkpoint's index states."""
    assert num_parameters(ModelConfig(**PRESETS["llama3.1-8b"])) == 8_030_261_248


@settings(max_examples=30, deadline=None)
@given(shapes)
def test_count_equals_what_initialisation_makes(config: ModelConfig) -> None:
    arrays = jax.tree.leaves(initial_parameters(config, seed=1))
    assert num_parameters(config) == sum(array.size for array in arrays)


@given(shapes, lengths)
def test_causal_attention_saves_the_pairs_above_the_diagonal(config: ModelConfig, length: int) -> None:
    saved = forward_flops(config, length, causal=False) - forward_flops(config, length)
    pairs = length * (length - 1) // 2
    assert saved == 2 * config.num_layers * 2 * pairs * config.num_heads * config.head_dim > 0


@given(shapes, lengths, st.integers(1, 7))
def test_flops_and_parameters_are_linear_in_layers(config: ModelConfig, length: int, more: int) -> None:
    def at(layers: int) -> tuple[int, int]:
        changed = config.model_copy(update={"num_layers": layers})
        return forward_flops(changed, length), num_parameters(changed)

    first, second, last = at(1), at(2), at(2 + more)
    for one, two, many in zip(first, second, last, strict=True):
        assert many - two == more * (two - one) > 0
