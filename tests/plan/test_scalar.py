"""A thousand random layouts, evaluated once more by plain arithmetic on Python numbers.

The formulas are written out here without arrays and without the planner's own counts, so that a mistake of
broadcasting, gathering or chunking shows. Where the formulas change, this changes with them.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.calibration import shipped_calibration
from pippin.plan.framework import MEGATRON, Framework
from pippin.plan.layout import Layouts
from pippin.plan.memory import memory
from pippin.plan.search import Task
from pippin.plan.shape import Shapes
from pippin.plan.space import enumerate_space
from pippin.plan.steptime import step_time
from pippin.plan.system import System

Row = dict[str, Any]


class Counts:
    """What a layer of a model holds, as Python integers."""

    def __init__(self, c: ModelConfig) -> None:
        d, heads, moe, mla = c.d_model, c.num_heads, c.moe, c.mla
        self.qk = mla.qk_nope_head_dim + mla.qk_rope_head_dim if mla else c.head_dim
        self.v = mla.v_head_dim if mla else c.head_dim
        self.matrices = 3 if c.gated_ffn else 2
        self.own = 1 - c.kv_reuse_layers / c.num_layers
        self.query = d * heads * self.qk
        if mla and mla.q_lora_rank:
            self.query = mla.q_lora_rank * (d + heads * self.qk)
        self.out = heads * self.v * d
        self.expanded = heads * (mla.qk_nope_head_dim + self.v) if mla else 0
        self.latent = mla.kv_lora_rank + mla.qk_rope_head_dim if mla else 0
        self.q_rank = mla.q_lora_rank if mla else 0
        self.kv_rank = mla.kv_lora_rank if mla else 0
        plain = c.num_kv_heads * (self.qk + self.v)
        self.kv_width = self.latent if mla else plain * self.own
        self.key_value = d * self.latent + self.kv_rank * self.expanded if mla else d * plain
        self.kv_mean = self.key_value if mla else self.key_value * self.own
        self.norm_vectors = self.kv_rank + (self.q_rank if self.q_rank else 0)
        self.dense = self.matrices * d * c.ffn_dim
        self.expert = self.matrices * d * moe.ffn_dim if moe else 0
        self.shared = self.matrices * d * moe.shared_ffn_dim if moe else 0
        self.router = d * moe.num_experts if moe else 0
        self.experts, self.top_k = (moe.num_experts, moe.top_k) if moe else (1, 1)
        self.moe_layers, self.lead = c.num_moe_layers, moe.first_dense_layers if moe else 0


class Links:
    """Collectives on two tiers."""

    def __init__(self, s: System, c: Any) -> None:
        self.s, self.up = s, s.scaleup_bytes_per_second * float(c.scaleup)
        self.out = s.scaleout_bytes_per_second * float(c.scaleout)

    def inside(self, size: float, stride: float) -> float:
        return min(max(math.floor(self.s.domain_chips / stride), 1), size)

    def gather(self, array_bytes: float, size: float, stride: float, axes: float | None = None) -> float:
        inside = self.inside(size, stride)
        up = self.up if axes is None else self.up * min(axes / self.s.ring_axes, 1.0)
        near, far = (inside - 1) / up, (1 - inside / size) / self.out
        latency = self.s.scaleup_latency * math.log2(inside) + self.s.scaleout_latency * math.log2(
            size / inside
        )
        return array_bytes / inside * (near + far) + latency

    def all_to_all(self, rank_bytes: float, size: float, copies: float) -> float:
        inside = self.inside(size, 1.0)
        across = size / inside
        near, far = (inside - 1) / size / self.up, (1 - inside / size) * min(1, across / copies) / self.out
        latency = self.s.scaleup_latency * (inside > 1) + self.s.scaleout_latency * (across > 1)
        return rank_bytes * (near + far) + latency

    def send(self, message: float, stride: float) -> float:
        if stride < self.s.domain_chips:
            return message / (self.up / self.s.ring_axes) + self.s.scaleup_latency
        return message / self.out + self.s.scaleout_latency


def stage_layers(layers: int, row: Row) -> tuple[float, float, float]:
    """Layers of the fullest stage, of the last one, and their mean."""
    p, chunks = row["stage"], row["stage"] * row["interleave"]
    if layers % chunks == 0:
        return (layers / p,) * 3
    if (layers + 2) % chunks == 0 and p > 1:
        most = min((layers + 2) / p, layers)
        return most, most - 1, layers / p
    return min(math.ceil(layers / chunks) * row["interleave"], layers), math.floor(layers / p), layers / p


def scalar_step(config: ModelConfig, row: Row, system: System, c: Any) -> float:
    """Seconds of a step at bf16 with software of today."""
    n, links = Counts(config), Links(system, c)
    d, t, p, mb = config.d_model, row["tensor"], row["stage"], row["micro_batch"]
    ep, again = row["expert"], row["recompute_layers"]
    tokens = mb * row["sequence_length"] / row["context"]
    cut = tokens / t if row["sequence_parallel"] else tokens
    product = 1 / (system.matrix_flops * float(c.matrix))
    half = 1 / (system.half_flops * float(c.matrix))
    byte = 1 / system.memory_bytes_per_second

    def attention_parts() -> tuple[float, float]:
        length = row["sequence_length"]
        pairs = (length * (length + 1) / 2 if row["flash"] else length * length) * mb / (t * row["context"])
        short = (1 + 64 / n.qk) / (1 + 64 / 128)
        width = config.num_heads * (n.qk + n.v)
        rate = 1 / (system.half_flops * float(c.attention))
        operations = 2 * rate * short * width * pairs
        scores = 0.0 if row["flash"] else 12 * 2 * byte * float(c.softmax) * config.num_heads * pairs
        return operations, scores

    def layer(with_experts: bool) -> tuple[float, float]:
        """Seconds of a layer, and of it what the attention takes."""
        qkv = n.query + n.kv_mean + n.out
        whole = 3 * d + (2 * (n.q_rank + n.kv_width) if config.mla else 0)
        sliced = config.num_heads * (n.qk + n.v) + (n.expanded if config.mla else n.kv_width)
        if with_experts:
            assert config.moe is not None
            shared_ffn, ffn = config.moe.shared_ffn_dim, config.moe.ffn_dim
            local = n.experts / ep if ep > 1 else n.experts / t
            copies, slice_ = n.top_k / t, (1 if ep > 1 else t)
            weights = (qkv + n.shared) / t + copies * n.expert
            traffic = (qkv + n.shared) / t + local * n.expert
            edges = whole + (2 * d if shared_ffn else 0) + (sliced + n.matrices * shared_ffn) / t
            edges += copies * (2 * d * slice_ + n.matrices * ffn)
            hidden = n.matrices * (shared_ffn + n.top_k * ffn)
        else:
            weights = traffic = (qkv + n.dense) / t
            edges = whole + 2 * d + (sliced + n.matrices * config.ffn_dim) / t
            hidden = n.matrices * config.ffn_dim
        operations = tokens * (2 * product * weights + float(c.activation_traffic) * 2 * byte * edges)
        products = 3 * (operations + float(c.weight_traffic) * 2 * byte * traffic)
        inner = tokens / t * (2.7 * hidden + 6 * (config.num_heads * (n.qk + n.v) + n.kv_width))
        passes = byte * float(c.memory) * 2 * (cut * 24 * d + inner)
        launch = float(c.launch)
        if with_experts:
            moved = cut * n.top_k * (1 if row["sequence_parallel"] else 1 / t)
            passes += float(c.permute) * 8 * 2 * byte * moved * d
            launch *= float(c.launch_experts)
        forward, scores = attention_parts()
        attention = (1 + (2.5 if row["flash"] else 2)) * forward + scores
        repeated = again * (products / 3 + forward + 0.4 * scores + 10 / 24 * passes)
        if row["recompute_attention"] and not row["flash"]:
            repeated += (1 - again) * (forward + 0.4 * scores)
        device = products + attention + passes + repeated + tensor_seconds() + context_seconds(attention)
        if with_experts and ep > 1:
            sent = 2 * tokens / t * n.top_k * d
            exposed = min(float(c.expert_exposed), 1)
            device += exposed * (4 + 2 * again) * links.all_to_all(sent, ep, n.top_k)
        launch *= 1 + again / 3
        return (device**4 + launch**4) ** 0.25, attention

    def tensor_seconds() -> float:
        if t == 1:
            return 0.0
        shown = min(float(c.tensor_exposed), 1) if row["tensor_overlap"] else 1
        return shown * (8 + 4 * again) * links.gather(2 * tokens * d, t, 1.0, axes=1.0)

    def context_seconds(attention: float) -> float:
        whole = 2 * tokens * row["context"] * n.kv_width / t
        time = (3 + again) * links.gather(whole, row["context"], t)
        shown = min(float(c.context_exposed), 1)
        return shown * time + max((1 - shown) * time - attention, 0)

    share = n.moe_layers / config.num_layers
    each = (1 - share) * layer(False)[0] + (share * layer(True)[0] if share else 0)
    vocabulary = config.vocab_size / t
    head = 6 * tokens * d * vocabulary * half + 6 * byte * float(c.weight_traffic) * d * vocabulary
    head += float(c.memory) * 20 * byte * tokens * vocabulary
    passes = math.ceil(row["global_batch"] / (mb * row["data"]))
    most, last, mean_layers = stage_layers(config.num_layers, row)
    mean = mean_layers * each + head / p
    slowest = max(most * each, last * each + head, mean)
    work, waiting = passes * mean, passes * (slowest - mean) + (p - 1) / row["interleave"] * mean
    stride = t * row["context"] * row["data"]
    messages = 0.0
    if p > 1:
        messages = (
            2 * passes * float(c.stage_exposed) * row["interleave"] * links.send(2 * tokens * d / t, stride)
        )
    # Data parallelism and the optimiser.
    norms, tables = 2 * d, config.vocab_size * d * (1 if config.tie_embeddings else 2)
    tables += config.learned_positions * d
    dense = config.num_layers * (n.query + n.out + n.q_rank * bool(n.q_rank) + norms)
    dense += (config.num_layers - config.kv_reuse_layers) * (n.key_value + n.kv_rank)
    dense += (config.num_layers - n.moe_layers) * n.dense + n.moe_layers * (n.shared + n.router) + tables
    dense /= t * p
    spread = ep if ep > 1 else t
    experts = n.moe_layers * n.experts * n.expert / (spread * p)
    ranks = row["data"] * row["context"]
    expert_ranks = max(ranks * t / spread, 1)
    zero = row["zero"]
    sliced = zero == 3 and system.ring_axes > 1
    size = links.inside(ranks, t) if sliced else ranks
    one, between = links.gather(dense, size, t), dense / size * (1 - size / ranks)
    if n.moe_layers:
        size = links.inside(expert_ranks, spread) if sliced else expert_ranks
        one += links.gather(experts, size, spread)
        between += experts / size * (1 - size / expert_ranks)
    time = one * {0: 8, 1: 6, 2: 4 * passes + 2, 3: 6 * passes}[zero] + 4 * between / links.out
    window = work if zero >= 2 else work / passes
    shown = min(float(c.data_exposed), 1) if row["data_overlap"] else 1
    exchange = shown * time + max((1 - shown) * time - window, 0)
    held = dense / (ranks if zero else 1) + experts / (expert_ranks if zero else 1)
    update = float(c.update) + float(c.optimizer) * 30 * byte * held
    busy = work + waiting + messages + exchange + update
    return float(c.scale) * busy * (1 + float(c.straggler) * math.log2(stride * p))


def scalar_memory(config: ModelConfig, row: Row, f: Framework, slice_chips: float) -> float:
    """Bytes of the fullest stage."""
    return max(_stage_bytes(config, row, f, slice_chips, k) for k in range(row["stage"]))


def _stage_bytes(config: ModelConfig, row: Row, f: Framework, slice_chips: float, k: int) -> float:
    n, d, t, p = Counts(config), config.d_model, row["tensor"], row["stage"]
    most, at_end, _ = stage_layers(config.num_layers, row)
    ends = most * p == config.num_layers + 2
    layers = at_end if k == p - 1 else most - 1 if k == 0 and ends else most
    before = k * most - (ends and k > 0)
    lead = min(max(n.lead - before, 0), layers)
    moe = (layers - lead) * n.moe_layers / max(config.num_layers - n.lead, 1)
    own = min(max(config.num_layers - config.kv_reuse_layers - before, 0), layers)
    # Parameters of the rank.
    latent = d * (n.q_rank + n.latent) if config.mla else 0
    key_value = n.key_value + n.kv_rank
    attention = (n.query + n.q_rank + n.out + key_value - latent) / t + latent
    table = config.vocab_size * d / t
    dense = layers * (attention + 2 * d) - (layers - own) * key_value / t + (layers - moe) * n.dense / t
    dense += moe * (n.shared / t + n.router)
    dense += table + config.learned_positions * d if k == 0 else 0
    dense += table if k == p - 1 and not (config.tie_embeddings and k == 0) else 0
    spread = row["expert"] if row["expert"] > 1 else t
    experts = moe * n.experts * n.expert / spread
    ranks = row["data"] * row["context"]
    expert_ranks = max(1, ranks * t // spread)
    if row["zero"] == 3 and slice_chips < math.inf:
        ranks = min(max(slice_chips // t, 1), ranks)
        expert_ranks = min(max(slice_chips // spread, 1), expert_ranks)
    total = 0.0
    for stage, size in ((3, f.parameter), (2, f.gradient), (1, f.optimizer)):
        split = row["zero"] >= stage
        total += size * (dense / (ranks if split else 1) + experts / (expert_ranks if split else 1))
    one_layer = (dense + experts) / max(layers, 1)
    total += (2 * f.activation * one_layer if row["zero"] == 3 else 0) + (
        f.gradient * one_layer if row["zero"] >= 2 else 0
    )
    kept, working = _layer_bytes(config, row, f, n, moe / max(layers, 1), layers > moe, moe > 0)
    if row["interleave"] > 1:
        chunks = 2 * (p - k - 1) + (row["interleave"] - 1) * p + 1
        flying = chunks / row["interleave"]
    else:
        flying = p - k
    flying = min(flying, math.ceil(row["global_batch"] / (row["micro_batch"] * row["data"])))
    total += flying * layers * kept
    tokens = row["micro_batch"] * row["sequence_length"] / row["context"]
    logits = f.logit * tokens * config.vocab_size / t if k == p - 1 else 0.0
    feed_forward = n.expert + n.shared / t + n.router if moe else n.dense / t
    scratch = attention + feed_forward + (table / max(f.weight_scratch, 1) if k == p - 1 else 0)
    total += max(logits, working) + f.weight_scratch * f.activation * scratch
    return total + _exchange_bytes(config, row, f, n, tokens)


def _layer_bytes(
    config: ModelConfig, row: Row, f: Framework, n: Counts, moe_share: float, some_dense: bool, some_moe: bool
) -> tuple[float, float]:
    """What a layer of the stage keeps for its backward pass, and what must be there while it runs."""
    d, t, heads = config.d_model, row["tensor"], config.num_heads
    tokens = row["micro_batch"] * row["sequence_length"] / row["context"]
    share = t if row["sequence_parallel"] else 1
    norms = tokens * d / share * (2 * f.activation + 2 * f.linear_input + (0 if config.gated_ffn else 2))
    if config.mla:
        wide = 2 * (n.q_rank + n.kv_rank) + config.mla.qk_rope_head_dim
        keys = (wide * t + heads * (n.qk + n.v) + n.expanded) * f.activation
    else:
        keys = n.own * max(config.num_kv_heads, t) * (n.qk + n.v) * f.activation
    attention = tokens / t * (heads * n.v * f.linear_input + heads * n.qk * f.activation + keys)
    core = tokens / t * heads * (4 if row["flash"] else f.scores * row["sequence_length"])
    side = (n.matrices - 1) * f.activation + f.linear_input
    dense = norms + attention + core + tokens / t * config.ffn_dim * side
    experts = 0.0
    if config.moe:
        routed = tokens / t * n.top_k * (d * (f.linear_input + f.activation) + config.moe.ffn_dim * side)
        experts = routed + tokens / share * n.experts * 8 + tokens / t * config.moe.shared_ffn_dim * side
        experts += norms + attention + core
    saved = core if row["recompute_attention"] else 0
    kept = (1 - moe_share) * (dense - saved) + moe_share * (experts - saved)
    again = row["recompute_layers"]
    working = saved
    if again:
        working = max(dense if some_dense else 0, experts if some_moe else 0)
    return again * tokens * d / share * f.activation + (1 - again) * kept, working


def _exchange_bytes(config: ModelConfig, row: Row, f: Framework, n: Counts, tokens: float) -> float:
    stream, t = tokens * config.d_model * f.activation, row["tensor"]
    total = 2 * stream if t > 1 and row["sequence_parallel"] else 0.0
    if row["context"] > 1:
        total += 2 * tokens * config.num_kv_heads * (n.qk + n.v) * f.activation / t
    if row["expert"] > 1 and config.moe:
        total += 2 * stream * n.top_k / t
    return total


def task(name: str, chip: str, batch: int, length: int, flash: bool = True) -> Task:
    config = ModelConfig(**preset(name))
    return Task(config, batch, length, System.of(chip), shipped_calibration(), MEGATRON, flash)


JOBS = {
    "gpt3": task("gpt3-175b", "a100_80", 1536, 2048),
    "no-flash": task("gpt3-175b", "h100_sxm", 1536, 2048, flash=False),
    "deepseek": task("deepseek-v3", "b200_sxm", 960, 4096),
    "llama": task("llama3.1-405b", "gb200_nvl72", 2048, 8192),
    "kimi": task("kimi-k2", "trn2", 1024, 4096),
    "apple": task("apple-on-device-3b", "tpu_v5p", 512, 4096),
}


def random_layouts(job: Task, chips: int, count: int, seed: int) -> list[Row]:
    """Layouts of the job's space, drawn evenly from its groups of choices."""
    rng = np.random.default_rng(seed)
    space = enumerate_space(job.config, chips, job.global_batch, job.sequence_length, flash=job.flash)
    groups = list(space.groups())
    found: list[Row] = []
    while len(found) < count:
        rows, choices, zeros = groups[rng.integers(len(groups))]
        zero = int(rng.choice(zeros))
        layouts = space.layouts(rows[[rng.integers(len(rows))]], choices[rng.integers(len(choices))], zero)
        found.append({f.name: np.ravel(getattr(layouts, f.name))[0].item() for f in fields(Layouts)})
    return found


@pytest.mark.parametrize("name", JOBS)
def test_random_layouts_equal_a_plain_scalar_evaluation(name: str) -> None:
    """200 of each of six jobs, two of them on a torus, more than a thousand in all."""
    job = JOBS[name]
    drawn = random_layouts(job, 4096, 200, seed=7)
    many = Layouts(**{key: np.array([row[key] for row in drawn]) for key in drawn[0]})
    shapes = Shapes.of(job.config)
    steps = step_time(shapes, many, job.system, job.calibration).step_seconds
    held = memory(shapes, many, job.framework, job.slice_chips).total
    coefficients = job.calibration.coefficients(job.system)
    for i, row in enumerate(drawn):
        planned = scalar_memory(job.config, row, job.framework, job.slice_chips)
        assert held[i] == pytest.approx(planned, rel=1e-9), row
        assert steps[i] == pytest.approx(scalar_step(job.config, row, job.system, coefficients), rel=1e-9), (
            row
        )
