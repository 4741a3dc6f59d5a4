"""Models and layouts as arrays."""

from __future__ import annotations

import numpy as np

from pippin.models.config import MLAConfig, ModelConfig, MoEConfig
from pippin.plan.layout import Layouts
from pippin.plan.shape import Shapes

DENSE = ModelConfig(vocab_size=100, d_model=32, num_layers=4, num_heads=4, num_kv_heads=2, ffn_dim=64)
MIXED = ModelConfig(
    vocab_size=100,
    d_model=32,
    num_layers=7,
    num_heads=4,
    num_kv_heads=4,
    ffn_dim=64,
    moe=MoEConfig(num_experts=8, top_k=2, ffn_dim=16, first_dense_layers=1, every=2),
    mla=MLAConfig(kv_lora_rank=8, qk_nope_head_dim=6, qk_rope_head_dim=2, v_head_dim=5),
)


def test_shapes_keep_the_order_and_the_meaning_of_configurations() -> None:
    shapes = Shapes.of([DENSE, MIXED])
    assert shapes.layers.tolist() == [4, 7]
    assert shapes.moe_layers.tolist() == [0, 3]  # of layers 1 to 6 every second
    assert shapes.num_experts.tolist() == [1, 8]
    assert shapes.head_dim.tolist() == [8, 8]
    assert shapes.value_dim.tolist() == [8, 5]
    assert shapes.take([1]).layers.tolist() == [7]


def test_layouts_count_chips_and_micro_batches_rounded_up() -> None:
    one, flag = np.array([1, 1]), np.array([True, False])
    layouts = Layouts(
        tensor=np.array([2, 1]),
        context=one,
        stage=np.array([2, 1]),
        interleave=one,
        data=np.array([4, 3]),
        expert=one,
        zero=one,
        sequence_parallel=flag,
        micro_batch=np.array([1, 2]),
        global_batch=np.array(16),
        sequence_length=np.array(128),
        recompute_layers=np.array([0.0, 1.0]),
        recompute_attention=flag,
        flash=flag,
        tensor_overlap=flag,
        data_overlap=flag,
    )
    assert len(layouts) == 2
    assert layouts.chips.tolist() == [16, 3]
    assert layouts.micro_batches.tolist() == [4, 3]
    assert layouts.take([1]).chips.tolist() == [3]
