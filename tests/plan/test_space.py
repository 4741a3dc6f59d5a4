"""The space of layouts: valid, without doubles, and as large as it must be."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.layout import Layouts
from pippin.plan.space import Space, divisors, enumerate_space

GPT3 = ModelConfig(**preset("gpt3-175b"))
DEEPSEEK = ModelConfig(**preset("deepseek-v3"))
LLAMA = ModelConfig(**preset("llama3.1-405b"))


def every(space: Space) -> list[tuple[object, ...]]:
    """All layouts of a space, one tuple each."""
    found: list[tuple[object, ...]] = []
    for rows, choices, zeros in space.groups():
        for choice in choices:
            for zero in zeros:
                layouts = space.layouts(rows, choice, zero)
                columns = [np.broadcast_to(getattr(layouts, f.name), len(rows)) for f in fields(Layouts)]
                found += zip(*(column.tolist() for column in columns), strict=True)
    return found


@given(st.integers(1, 5000))
def test_divisors_divide_and_none_is_missing(number: int) -> None:
    assert list(divisors(number)) == [d for d in range(1, number + 1) if number % d == 0]


@settings(max_examples=20, deadline=None)
@given(
    config=st.sampled_from([GPT3, DEEPSEEK, LLAMA]),
    chips=st.integers(1, 3000),
    batch=st.sampled_from([1, 6, 48, 1536]),
    flash=st.booleans(),
    lean=st.booleans(),
)
def test_degrees_are_valid(config: ModelConfig, chips: int, batch: int, flash: bool, lean: bool) -> None:
    space = enumerate_space(config, chips, batch, 2048, flash=flash, lean=lean)
    d = space.degrees
    assert np.all(space.chips <= chips)
    assert np.all(config.num_heads % d["tensor"] == 0)
    assert np.all(2048 % (2 * d["context"]) == 0)
    assert np.all(batch % (d["data"] * d["micro_batch"]) == 0)
    assert np.all(d["stage"] * d["interleave"] <= config.num_layers)
    passes = batch // (d["data"] * d["micro_batch"])
    assert np.all((d["interleave"] == 1) | (passes % d["stage"] == 0))
    if config.moe:
        assert np.all(config.moe.num_experts % d["expert"] == 0)
        assert np.all((d["data"] * d["context"] * d["tensor"]) % d["expert"] == 0)
    else:
        assert np.all(d["expert"] == 1)


@pytest.mark.parametrize(("config", "flash"), [(GPT3, True), (GPT3, False), (DEEPSEEK, True)])
def test_no_two_layouts_differ_in_fields_without_effect_only(config: ModelConfig, flash: bool) -> None:
    space = enumerate_space(config, 16, 8, 512, flash=flash)
    layouts = every(space)
    assert len(layouts) == space.size() > 1000
    names = [f.name for f in fields(Layouts)]
    seen = set()
    for values in layouts:
        row = dict(zip(names, values, strict=True))
        if row["tensor"] == 1:
            row["sequence_parallel"] = row["tensor_overlap"] = None
        if row["data"] * row["context"] == 1:  # type: ignore[operator]
            row["zero"] = row["data_overlap"] = None
        if row["flash"] or row["recompute_layers"] == 1:
            row["recompute_attention"] = None
        seen.add(tuple(row.values()))
    assert len(seen) == len(layouts)


def test_the_space_is_at_least_calculons() -> None:
    """1,081,872: what Calculon counts for this job without an offload tier, with its overlap options."""
    assert enumerate_space(GPT3, 4096, 1536, 2048).size() >= 1_081_872


def test_a_ragged_fleet_is_used_as_far_as_the_batch_divides() -> None:
    space = enumerate_space(LLAMA, 100_000, 2048, 8192)
    assert space.chips.max() <= 100_000
    assert space.chips.max() > 90_000
    filled = 2 * space.chips > 100_000
    assert np.all(filled | (space.degrees["data"] == 2048))


def test_more_chips_than_a_batch_can_use_is_a_space_all_the_same() -> None:
    tiny = ModelConfig(vocab_size=64, d_model=8, num_layers=2, num_heads=2, num_kv_heads=1, ffn_dim=16)
    space = enumerate_space(tiny, 10_000, 4, 512)
    assert 0 < space.chips.max() == 4 * 2 * 2 * 2  # batch, heads, stages, context


def test_lean_spaces_are_part_of_the_whole() -> None:
    lean = set(every(enumerate_space(DEEPSEEK, 16, 8, 512, lean=True)))
    assert lean and lean <= set(every(enumerate_space(DEEPSEEK, 16, 8, 512)))
