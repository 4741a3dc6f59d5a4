"""The job's products and attention are all the FLOPs that the report counts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.assay.components import Workpiece, experts
from pippin.assay.job_products import attention_flops, job_products
from pippin.models.attention import reference_attention
from pippin.models.config import ModelConfig, MoEConfig
from pippin.models.counts import forward_flops


@given(
    layers=st.integers(1, 5), kv_heads=st.integers(1, 3), group=st.integers(1, 3), head=st.integers(1, 4),
    ffn=st.integers(1, 70), length=st.integers(2, 40), batch=st.integers(1, 4), reuse=st.integers(0, 4),
)  # fmt: skip
def test_products_and_attention_are_the_forward_pass(
    layers: int, kv_heads: int, group: int, head: int, ffn: int, length: int, batch: int, reuse: int
) -> None:
    config = ModelConfig(
        vocab_size=31, d_model=12, num_layers=layers, num_heads=kv_heads * group, num_kv_heads=kv_heads,
        head_dim=2 * head, ffn_dim=ffn, kv_reuse_layers=min(reuse, layers - 1),
    )  # fmt: skip
    products = sum(product.calls * product.flops for product in job_products(config, batch, length))
    attention = batch * layers * attention_flops(config, length)
    assert products + attention == batch * forward_flops(config, length)


def test_shapes_of_each_pass() -> None:
    config = ModelConfig(
        vocab_size=100, d_model=12, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=6, ffn_dim=20
    )
    by_name = {product.name: product for product in job_products(config, 3, 5)}
    assert by_name["query"].passes == {
        "forward": (15, 12, 24),
        "by activations": (15, 24, 12),
        "by weights": (12, 15, 24),
    }
    assert by_name["output"].shape == (15, 24, 12) and by_name["output"].result == (3, 5, 12)
    assert by_name["key, value"].shape == (15, 12, 12) and by_name["key, value"].calls == 4
    assert by_name["gate, up"].shape == (15, 12, 20) and by_name["down"].shape == (15, 20, 12)
    assert by_name["head"].shape == (15, 12, 100) and by_name["head"].result == (3, 5, 100)


@pytest.mark.parametrize("length", [2, 7])
def test_attention_is_causal(length: int) -> None:
    config = ModelConfig(vocab_size=9, d_model=8, num_layers=1, num_heads=2, num_kv_heads=1, ffn_dim=8)
    pairs = sum(1 for query in range(length) for key in range(length) if key <= query)
    assert attention_flops(config, length) == 2 * 2 * pairs * math.prod((config.num_heads, config.head_dim))


def test_experts_as_programs_of_their_own() -> None:
    """With the products and attention they are the forward pass, and they run forward and backward."""
    moe = MoEConfig(num_experts=4, top_k=2, ffn_dim=10)
    config = ModelConfig(
        vocab_size=31, d_model=12, num_layers=3, num_heads=2, num_kv_heads=1, ffn_dim=8, moe=moe
    )
    piece = Workpiece(config, 2, 8, "float32", reference_attention)
    (routed, run), (alone, run_alone) = experts(piece, moe)
    products = sum(product.calls * product.flops for product in job_products(config, 2, 8))
    every = products + 2 * 3 * attention_flops(config, 8) + routed.calls * routed.flops // 3
    assert every == 2 * forward_flops(config, 8)
    # 16 tokens in 2 of 4 experts: 8 rows of each, 3 matrices of 12 x 10, forward and backward.
    assert (alone.calls, alone.flops) == (0, 4 * 8 * 3 * 12 * 10 * 6)
    run(1)
    run_alone(1)
