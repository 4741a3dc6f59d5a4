"""Parameters and FLOPs of published shapes."""

from __future__ import annotations

import pytest

from pippin.models import counts
from pippin.models.config import MLAConfig, ModelConfig, MoEConfig
from pippin.models.presets import ALL_PRESETS, preset
from pippin.models.published import PUBLISHED, PUBLISHED_RECIPES
from pippin.plan.counts import active_parameters, num_parameters, training_flops_per_token

# What the indices of the published checkpoints state, or what a paper's table does.
PUBLISHED_COUNTS = {
    "smollm2-135m": 134_515_008,
    "llama3.2-1b": 1_235_814_400,
    "llama3.1-8b": 8_030_261_248,
    "llama3.1-70b": 70_553_706_496,
    "llama3.1-405b": 405_853_388_800,
    "qwen3-8b": 8_190_735_360,
    "qwen3-30b-a3b": 30_532_122_624,
    "mixtral-8x7b": 46_702_792_704,
    # Theirs have a correction of each expert's score besides: 58 x 256 and 60 x 384 numbers.
    "deepseek-v3": 671_026_419_200 - 58 * 256,
    "kimi-k2": 1_026_408_232_448 - 60 * 384,
}


def config(name: str) -> ModelConfig:
    return ModelConfig(**{"vocab_size": 8192} | preset(name))


@pytest.mark.parametrize(("name", "count"), PUBLISHED_COUNTS.items())
def test_counts_are_the_published_ones(name: str, count: int) -> None:
    assert num_parameters(config(name)) == count


def test_gpt3_misses_only_its_biases() -> None:
    """Of a layer 13 d: 9 d in its matrices, 2 d in each norm's shift; and the last norm's."""
    biases = 96 * (9 + 2) * 12_288 + 12_288
    assert num_parameters(config("gpt3-175b")) + biases == 174_604_259_328


def test_apple_is_the_published_count_less_its_adapter() -> None:
    """The 3,178,001,792 read from the toolkit hold the model and its rank-32 adapter of 66.6 M."""
    c = config("apple-on-device-3b")
    wide, narrow, ffn = 2048, 2 * 128, 6656
    adapter = 32 * (56 * (2 * 2 * wide + 3 * (wide + ffn)) + 35 * 2 * (wide + narrow))
    assert adapter == pytest.approx(66.6e6, rel=1e-3)
    assert num_parameters(c) + adapter == 3_178_001_792


@pytest.mark.parametrize(
    ("name", "billions"),
    [("mixtral-8x7b", 12.9), ("qwen3-30b-a3b", 3.3), ("deepseek-v3", 37), ("kimi-k2", 32)],
)
def test_active_parameters_are_about_what_the_papers_say(name: str, billions: float) -> None:
    assert active_parameters(config(name)) == pytest.approx(billions * 1e9, rel=0.03)


@pytest.mark.parametrize("name", [name for name in ALL_PRESETS if config(name).planned_only is None])
def test_both_counts_agree_where_both_know_the_shape(name: str) -> None:
    c = config(name)
    assert num_parameters(c) == counts.num_parameters(c)
    assert active_parameters(c) == counts.num_active_parameters(c)
    ours, theirs = training_flops_per_token(c, 4096), counts.training_flops_per_token(c, 4096)
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_flops_of_latent_attention_by_hand() -> None:
    c = ModelConfig(
        vocab_size=10,
        d_model=4,
        num_layers=1,
        num_heads=2,
        num_kv_heads=2,
        ffn_dim=6,
        mla=MLAConfig(q_lora_rank=3, kv_lora_rank=5, qk_nope_head_dim=4, qk_rope_head_dim=2, v_head_dim=7),
    )
    query = 4 * 3 + 3 * 2 * 6
    key_value = 4 * (5 + 2) + 5 * 2 * (4 + 7)
    products = query + key_value + 2 * 7 * 4 + 3 * 4 * 6 + 10 * 4
    attention = (9 / 2) * 2 * (6 + 7)  # 8 tokens: 4.5 keys on average
    assert training_flops_per_token(c, 8) == 6 * (products + attention)


def test_a_window_and_shared_experts_count() -> None:
    plain = {"vocab_size": 10, "d_model": 4, "num_layers": 6, "num_heads": 1, "num_kv_heads": 1, "ffn_dim": 8}
    whole = training_flops_per_token(ModelConfig(**plain), 8)
    window = ModelConfig(**plain, sliding_window=2, global_layer_every=3)
    # Of 8 queries the first meets one key, the others two; four of the six layers are local.
    assert whole - training_flops_per_token(window, 8) == 6 * 4 * (36 / 8 - 15 / 8) * 2 * 4
    assert training_flops_per_token(window, 2) == training_flops_per_token(ModelConfig(**plain), 2)
    moe = {"num_experts": 4, "top_k": 2, "ffn_dim": 3}
    bare = ModelConfig(**plain, moe=MoEConfig(**moe))
    shared = ModelConfig(**plain, moe=MoEConfig(**moe, num_shared_experts=1, shared_ffn_dim=5))
    assert num_parameters(shared) - num_parameters(bare) == 6 * 3 * 4 * 5
    extra = training_flops_per_token(shared, 8) - training_flops_per_token(bare, 8)
    assert extra == 6 * 6 * 3 * 4 * 5


def test_every_published_shape_has_a_recipe_with_its_source() -> None:
    assert PUBLISHED.keys() <= PUBLISHED_RECIPES.keys() <= ALL_PRESETS.keys()
    for name, recipe in PUBLISHED_RECIPES.items():
        assert recipe.source
        assert ("assumed" in recipe.source) != recipe.batch_published, name
    assert PUBLISHED_RECIPES["gpt3-175b"].global_batch == 1536
    assert PUBLISHED_RECIPES["gpt3-175b"].sequence_length == 2048
