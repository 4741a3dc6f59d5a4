"""What a training framework keeps in memory, in bytes an element, and how it goes about a step."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Framework:
    """Bytes an element, unless a name says otherwise.

    `logit` counts every array of tokens x vocabulary that is alive at the peak. At once exist the logits of
    as many tokens as have `loss_chunk_bytes` of them in float32, but of no fewer than `loss_chunk_tokens` (0:
    of a whole micro-batch). `weight_scratch` is how many copies of one layer's weights, in the compute type,
    the backward pass needs beside the gradients. `extra_stream` and `extra_hidden` count arrays as wide as
    the model, and as the feed-forward part, that are kept of a layer because its elementwise work is not
    fused.
    """

    name: str
    parameter: float  # the copy that the forward pass reads
    gradient: float
    optimizer: float  # master copy and moments together
    activation: float
    linear_input: float  # what a product keeps of its input
    scores: float  # a layer's S x S array, where attention is not flash; 0: none is kept even so
    logit: float
    loss_chunk_tokens: int
    loss_chunk_bytes: int
    weight_scratch: float
    extra_stream: float
    extra_hidden: float
    margin: float  # share of the device's memory that stays free: fragmentation, runtime, libraries
    source: str


# Megatron-Core: bf16 parameters, float32 gradients, float32 master copy and two moments: the 18 bytes a
# parameter of its distributed optimizer (arXiv 1910.02054). 5 bytes a score: arXiv 2205.05198, equation 1.
# `logit` and `weight_scratch` are fitted (`memory_fit`) to the runs in data/memory_runs.csv. The margin is
# what SimuMax leaves (`mem_factor` 0.94 in its strategies).
MEGATRON = Framework(
    name="Megatron-Core",
    parameter=2,
    gradient=4,
    optimizer=12,
    activation=2,
    linear_input=2,
    scores=5,
    logit=3.2,
    loss_chunk_tokens=0,
    loss_chunk_bytes=0,
    weight_scratch=1.2,
    extra_stream=0,
    extra_hidden=0,
    margin=0.06,
    source="two constants fitted to 37 runs on 8 B200, truncated models (SimuMax)",
)

# Our trainer as XLA compiles it for a CPU: float32 throughout (bfloat16 is widened there), AdamW updates
# beside the gradients, a loss in chunks (`models/loss.py`), attention that keeps no scores (no backend does),
# transposed copies of some products' inputs. The product of gate and up is computed again: one hidden array
# fewer. Arrays counted on compiled steps; tests/plan/test_memory_xla.py holds it to XLA's own figure.
PIPPIN = Framework(
    name="Pippin",
    parameter=4,
    gradient=8,
    optimizer=8,
    activation=4,
    linear_input=4,
    scores=0,
    logit=8,
    loss_chunk_tokens=512,
    loss_chunk_bytes=1 << 25,
    weight_scratch=0,
    extra_stream=2,
    extra_hidden=-1,
    margin=0.06,
    source="arrays counted on steps that XLA compiled for a CPU; fused kernels keep less",
)


def trainer(compute_dtype: str, *, cpu: bool) -> Framework:
    """Our trainer as the compiler of a kind of chip arranges it: the one description for all who ask for its
    memory there.

    For accelerators elementwise work is fused, so that nothing is kept twice, and arrays are as wide as the
    compute type. Gate and up are float32 in any type. Counted from what the model keeps, not fitted;
    tests/portability/test_compile_ahead.py holds it to what the compiler for TPUs says.
    """
    if cpu:
        return PIPPIN
    width = 2 if compute_dtype == "bfloat16" else 4
    # Beside the product's input a token's hidden element keeps gate and up, 4 bytes each; the product itself
    # is computed again. `activations._hidden` counts one of the two, and `extra_hidden` the rest.
    return replace(
        PIPPIN,
        name=f"Pippin, {compute_dtype}, fused",
        activation=width,
        linear_input=width,
        extra_stream=0,
        extra_hidden=(2 * 4 - width) / width - 1,
        source="arrays counted as the model keeps them; held to steps compiled for a TPU v5e",
    )


FRAMEWORKS = {"megatron": MEGATRON, "pippin": PIPPIN}


def at_precision(base: Framework, precision: str) -> Framework:
    """The framework at a precision of its matrix products.

    fp8 and fp4 keep the bf16 parameters and narrow copies besides (fp8 its transpose too, which Hopper's
    products need), and the inputs of products narrow; attention and norms stay in bf16.
    """
    if base is PIPPIN:
        return base
    if precision == "fp8":
        return replace(base, parameter=4, linear_input=1)
    if precision == "fp4":
        # 4 bits and a scale for every 16 elements, plain and transposed.
        return replace(base, parameter=2 + 2 * 0.5625, linear_input=0.5625)
    if precision == "int8":
        return replace(base, parameter=3, linear_input=1)
    return base
