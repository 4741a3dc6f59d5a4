"""Seconds of one training step, for many models, layouts and systems at once: arrays in, arrays out.

The parts are computed by `compute`, `network` and `pipeline`; here they are put together. Every named part is
time on the critical path, and the parts add up to the step.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from pippin.plan.coefficients import Coefficients
from pippin.plan.compute import Device, LayerSeconds, Tokens, dense_layer, expert_layer, head_seconds
from pippin.plan.layout import Floats, Layouts
from pippin.plan.network import Network
from pippin.plan.pipeline import pipeline_seconds, split_layers
from pippin.plan.shape import Shapes
from pippin.plan.system import System, Systems
from pippin.plan.work import layer_counts, parameter_counts

if TYPE_CHECKING:
    from pippin.plan.calibration import Calibration

# AdamW with float32 state: gradient, master copy and two moments read, three of them and the weights written.
_UPDATE_BYTES = 30.0
_HALF, _GRADIENT = 2.0, 4.0  # bytes of a parameter, and of a gradient on its way to be summed


@dataclass(frozen=True)
class StepTime:
    """Seconds on the critical path of a step. The fields add up to `step_seconds`."""

    compute: Floats  # matrix products, forward and backward once
    attention: Floats
    memory: Floats  # elementwise passes
    launch: Floats  # waiting for the host
    recompute: Floats  # work done again in the backward pass
    tensor: Floats  # exposed exchange of tensor parallelism
    context: Floats
    expert: Floats
    data: Floats  # of gradients, and of parameters where they are sharded
    bubble: Floats  # pipeline stages waiting for each other, uneven ones included
    stage: Floats  # messages between stages
    optimizer: Floats
    straggler: Floats  # waiting for the slowest chip

    @property
    def step_seconds(self) -> Floats:
        return sum((getattr(self, f.name) for f in fields(self)), start=np.zeros(()))


def step_time(
    shapes: Shapes, layouts: Layouts, systems: Systems | System, calibration: Calibration
) -> StepTime:
    """The step of every row; all arguments broadcast against each other.

    Args:
        shapes: one model, or one per row.
        layouts: N layouts. Degrees must be valid: none is checked here.
        systems: one, or one per row.
        calibration: where the coefficients come from.
    """
    systems = Systems.of(systems) if isinstance(systems, System) else systems
    return evaluate(shapes, layouts, systems, calibration.coefficients(systems))


def evaluate(s: Shapes, lay: Layouts, systems: Systems, c: Coefficients) -> StepTime:
    """The step, from coefficients."""
    device, network, tokens = Device.of(systems, c), Network.of(systems, c), Tokens.of(lay)
    layer, parts = _layers(s, lay, tokens, device, network, c)
    product, logits = head_seconds(s, tokens, device, c)
    stages = split_layers(s.layers, lay.stage, lay.interleave)
    head = product + logits
    work, waiting = pipeline_seconds(stages, layer, head, lay)
    passes = np.asarray(lay.micro_batches, np.float64)
    layers, heads = passes * stages.mean, passes / lay.stage
    messages = passes * _messages(s, lay, tokens, network, c)
    data = _data(s, lay, tokens, network, c, work, passes)
    optimizer = _optimizer(s, lay, tokens, device, c)
    busy = work + waiting + messages + data + optimizer
    chips = np.asarray(lay.chips, np.float64)
    scale = c.scale * np.exp(c.drift * systems.age_years)
    return StepTime(
        compute=scale * (layers * parts.products + heads * product),
        attention=scale * layers * parts.attention,
        memory=scale * (layers * parts.memory + heads * logits),
        launch=scale * layers * parts.launch,
        recompute=scale * layers * parts.repeated,
        tensor=scale * layers * parts.tensor,
        context=scale * layers * parts.context,
        expert=scale * layers * parts.expert,
        data=scale * data,
        bubble=scale * waiting,
        stage=scale * messages,
        optimizer=scale * optimizer,
        straggler=scale * busy * (c.straggler * np.log2(chips)),
    )


@dataclass(frozen=True)
class _Layer:
    """A mean layer's parts on the critical path, of one micro-batch."""

    products: Any
    attention: Any
    memory: Any
    repeated: Any
    launch: Any
    tensor: Any
    context: Any
    expert: Any


def _layers(
    s: Shapes, lay: Layouts, t: Tokens, v: Device, network: Network, c: Coefficients
) -> tuple[Floats, _Layer]:
    """Seconds of a mean layer with its exchanges, and its parts."""
    with_experts = s.moe_layers / s.layers
    tensor = _tensor(s, lay, t, network, c)
    dense = _critical(s, lay, network, c, t, dense_layer(s, lay, t, v, c), tensor, 0.0)
    if not np.any(s.moe_layers):
        return dense
    exchange = v.experts * _expert(s, lay, t, network, c)
    experts = _critical(s, lay, network, c, t, expert_layer(s, lay, t, v, c), tensor, exchange)

    def mean(a: Any, b: Any) -> Any:
        return (1.0 - with_experts) * a + with_experts * b

    names = [f.name for f in fields(_Layer)]
    parts = {name: mean(getattr(dense[1], name), getattr(experts[1], name)) for name in names}
    return mean(dense[0], experts[0]), _Layer(**parts)


def _critical(
    s: Shapes,
    lay: Layouts,
    network: Network,
    c: Coefficients,
    t: Tokens,
    layer: LayerSeconds,
    tensor: Any,
    expert: Any,
) -> tuple[Floats, _Layer]:
    """Device time and exchanges of a layer, or the host's time to launch it, whichever is longer."""
    context = _context(s, lay, t, network, c, layer.attention)
    device = layer.device + tensor + context + expert
    # A smooth maximum: near the point where they are equal some of both shows.
    square_d, square_h = device * device, layer.launch * layer.launch
    total = np.sqrt(np.sqrt(square_d * square_d + square_h * square_h))
    waiting = total - device
    return total, _Layer(
        layer.products, layer.attention, layer.memory, layer.repeated, waiting, tensor, context, expert
    )


def _tensor(s: Shapes, lay: Layouts, t: Tokens, network: Network, c: Coefficients) -> Floats:
    """Two all-reduces forward, two backward, two more where the layer is done again: gathers and scatters."""
    one = network.gather_seconds(_HALF * t.whole * s.d_model, t.tensor, 1.0, axes=1.0)
    shown = np.where(lay.tensor_overlap, np.minimum(c.tensor_exposed, 1.0), 1.0)
    return shown * (8.0 + 4.0 * lay.recompute_layers) * one * (t.tensor > 1)


def _context(
    s: Shapes, lay: Layouts, t: Tokens, network: Network, c: Coefficients, attention: Floats
) -> Floats:
    """Keys and values make a round of the ring forward, and with their gradients one and a half backward."""
    width = layer_counts(s).kv_width
    whole = _HALF * t.whole * lay.context * width / t.tensor
    one = network.gather_seconds(whole, np.asarray(lay.context, np.float64), t.tensor)
    time = (3.0 + lay.recompute_layers) * one
    shown = np.minimum(c.context_exposed, 1.0)
    return shown * time + np.maximum((1.0 - shown) * time - attention, 0.0)


def _expert(s: Shapes, lay: Layouts, t: Tokens, network: Network, c: Coefficients) -> Floats:
    """Tokens go to their experts and back, forward and backward."""
    expert = np.asarray(lay.expert, np.float64)
    sent = _HALF * (t.whole / t.tensor) * s.top_k * s.d_model
    one = network.exchange_seconds(sent, expert, 1.0, s.top_k)
    shown = np.minimum(c.expert_exposed, 1.0)
    return shown * (4.0 + 2.0 * lay.recompute_layers) * one * (expert > 1)


def _messages(s: Shapes, lay: Layouts, t: Tokens, network: Network, c: Coefficients) -> Floats:
    """A micro-batch's activations to the next stage and their gradients back, once for each virtual stage."""
    stride = t.tensor * lay.context * lay.data
    one = network.send_seconds(_HALF * t.whole * s.d_model / t.tensor, stride)
    return c.stage_exposed * 2.0 * lay.interleave * one * (lay.stage > 1)


def _shards(s: Shapes, lay: Layouts, t: Tokens) -> tuple[Floats, Floats]:
    """Parameters of a rank before data-parallel sharding: dense ones, and those of experts."""
    layers, experts, tables = parameter_counts(s)
    expert = np.asarray(lay.expert, np.float64)
    dense = (layers + tables) / (t.tensor * lay.stage)
    return dense, experts / (np.where(expert > 1, expert, t.tensor) * lay.stage)


def _data(
    s: Shapes, lay: Layouts, t: Tokens, network: Network, c: Coefficients, work: Floats, passes: Floats
) -> Floats:
    """Gradients summed and parameters gathered over the data ranks, less what runs beside compute.

    ZeRO 0 sums gradients with one all-reduce a step; 1 scatters gradients and gathers parameters; 2 keeps no
    whole gradients, so it scatters them in every micro-batch; 3 gathers parameters twice there too. On a
    torus ZeRO 3 shards within the slice, and slices sum gradients once a step.
    """
    dense, experts = _shards(s, lay, t)
    ranks = np.asarray(lay.data * lay.context, np.float64)
    expert = np.where(np.asarray(lay.expert) > 1, lay.expert, t.tensor).astype(np.float64)
    expert_ranks = np.maximum(ranks * t.tensor / expert, 1.0)
    every = lay.zero >= 3
    sliced = every & (network.axes > 1)
    size = np.where(sliced, network.inside(ranks, t.tensor), ranks)
    expert_size = np.where(sliced, network.inside(expert_ranks, expert), expert_ranks)
    one = network.gather_seconds(dense, size, t.tensor)
    between = dense / size * (1.0 - size / ranks)
    if np.any(s.moe_layers):
        one = one + network.gather_seconds(experts, expert_size, expert) * (s.moe_layers > 0)
        between = between + experts / expert_size * (1.0 - expert_size / expert_ranks)
    scattered = np.where(lay.zero == 2, passes, 1.0)
    moved = np.where(lay.zero >= 1, _GRADIENT * scattered + _HALF, 2.0 * _GRADIENT)
    time = one * np.where(every, 3.0 * _HALF * passes, moved) + 2.0 * _HALF * between / network.out
    window = np.where(lay.zero >= 2, work, work / passes)
    shown = np.where(lay.data_overlap, np.minimum(c.data_exposed, 1.0), 1.0)
    return shown * time + np.maximum((1.0 - shown) * time - window, 0.0)


def _optimizer(s: Shapes, lay: Layouts, t: Tokens, v: Device, c: Coefficients) -> Floats:
    dense, experts = _shards(s, lay, t)
    split = lay.zero >= 1
    ranks = np.asarray(lay.data * lay.context, np.float64)
    expert = np.where(np.asarray(lay.expert) > 1, lay.expert, t.tensor)
    expert_ranks = np.maximum(ranks * t.tensor / expert, 1.0)
    held = dense / np.where(split, ranks, 1.0) + experts / np.where(split, expert_ranks, 1.0)
    return c.update + c.optimizer * _UPDATE_BYTES * v.byte * held
