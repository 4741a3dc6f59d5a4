"""The nested tables of the report. Descriptions say how a number is got; the page prints them."""

from __future__ import annotations

from pydantic import Field

from pippin.report.pricing import CatalogPrice
from pippin.report.quantities import (
    BitsPerByte,
    Bytes,
    BytesPerSecond,
    Count,
    Dollars,
    FlopsPerSecond,
    Joules,
    NatsPerToken,
    Seconds,
    Section,
    Share,
    TeraflopsPerSecond,
    Tokens,
)


class Rules(Section):
    """What the chip-rule table chose for this chip."""

    rule_name: str = Field(description="Name of the rule that matched the chip.")
    attention: str = Field(description="Attention backend.")
    attention_reason: str = Field(description="Why that one, where the rule wishes for another too.")
    scan_layers: bool = Field(description="Whether the layers run in one scanned loop or unrolled.")
    compute_dtype: str = Field(description="Number format of the matrix products in training.")
    remat: str = Field(description="What the backward pass computes again: none, selective, full.")
    prng: str = Field(description="Pseudo-random number generator.")
    compiler_options: str = Field(
        default="none",
        description="Options of XLA with which all that trains was compiled, name=value each.",
    )
    why: str = Field(description="Why this rule suits the chip.")


class Chip(Section):
    """The chip that was measured."""

    name: str = Field(min_length=1, description="Name of the chip, as it gives itself.")
    platform: str = Field(description="Platform the program was compiled for: cpu, cuda, tpu, neuron.")
    device_kind: str = Field(description="Kind of device, as the runtime names it.")
    num_devices: Count = Field(description="Devices that took part in the training.")
    cores: Count | None = Field(description="Logical processor cores this process may use.")
    physical_cores: Count | None = Field(description="Physical processor cores behind them.")
    simd: tuple[str, ...] = Field(description="Vector instruction sets that bear on matrix products.")
    memory_bytes: Bytes | None = Field(description="Memory the training may use, per device.")
    catalog_id: str | None = Field(description="Entry in Pippin's catalog of chips.")
    unit: str = Field(description="What rates are counted per: a chip, a core, a machine.")
    rules: Rules = Field(description="What the chip-rule table chose.")


class Workload(Section):
    """The model and the text it was trained on."""

    preset: str = Field(description="Model preset.")
    preset_reason: str = Field(description="Why this preset.")
    num_parameters: Count = Field(description="Parameters of the model, embeddings included.")
    num_embedding_parameters: Count = Field(description="Parameters in the embedding tables.")
    sequence_length: Tokens = Field(description="Length of one training sequence.")
    batch_size: Count = Field(description="Sequences in one step.")
    num_layers: Count = Field(description="Transformer layers.")
    d_model: Count = Field(description="Width of the residual stream.")
    vocab_size: Count = Field(description="Entries in the tokenizer's vocabulary.")
    corpus: str = Field(description="The text.")
    corpus_licence: str = Field(description="Licence of the text.")
    corpus_source: str = Field(description="Where the text is from.")
    train_tokens_available: Tokens = Field(description="Tokens in the training split.")
    epochs: float = Field(ge=0, description="Times the run went through the training split.")


class SecondsByCategory(Section):
    """Wall time by what it was spent on; every second is in exactly one category of the ledger."""

    step: Seconds = Field(description="Training steps.")
    compile: Seconds = Field(description="Compiling the step and the evaluation.")
    data: Seconds = Field(description="Building or opening the corpus, and making batches.")
    evaluation: Seconds = Field(
        description="Scoring the validation text; the probe, microbenchmarks, references and the sample."
    )
    checkpoint: Seconds = Field(description="Saving checkpoints.")
    restart: Seconds = Field(
        description="Starting the process, finding the device, making or restoring the state."
    )
    idle: Seconds = Field(description="Everything else.")


class Basis(Section):
    """What the efficiency numbers rest on."""

    flop_definition: str = Field(description="What counts as a model FLOP.")
    compute_dtype: str = Field(description="Number format of the matrix products in training.")
    peak_tflops: TeraflopsPerSecond | None = Field(description="Rated peak, the divisor of MFU.")
    peak_dtype: str | None = Field(description="Number format of the rated peak.")
    peak_source: str | None = Field(description="Where the rated peak is published.")
    peak_date: str | None = Field(description="Day the source was read.")
    peak_unit: str | None = Field(description="What the rated peak is for: a chip, a core.")
    measured_peak_flops_per_second: FlopsPerSecond | None = Field(
        description="Highest matrix-product rate measured here in the compute dtype."
    )
    measured_peak_dtype: str | None = Field(description="Number format of the measured peak.")
    measured_peak_method: str | None = Field(description="How the measured peak was measured.")
    tokens_per_second_definition: str = Field(description="What the training rate counts.")
    tokens_per_second_end_to_end_definition: str = Field(description="What the end-to-end rate counts.")


class MatrixProduct(Section):
    """The rate of one product of an m x k with a k x n matrix."""

    dtype: str = Field(description="Number format of the operands.")
    m: Count = Field(description="Rows of the left matrix.")
    k: Count = Field(description="Columns of the left matrix, rows of the right one.")
    n: Count = Field(description="Columns of the right matrix.")
    flops_per_second: FlopsPerSecond | None = Field(
        description="2 m k n over the median time of one product; null where the device does not run it."
    )
    low: FlopsPerSecond | None = Field(description="Lower end of the median's 95 % interval.")
    high: FlopsPerSecond | None = Field(description="Upper end of the median's 95 % interval.")
    repeats: Count = Field(description="Timed repeats.")


class MemoryBandwidth(Section):
    """The rate at which the chip reads and writes its own memory."""

    bytes_per_second: BytesPerSecond | None = Field(description="Bytes read and written over median time.")
    low: BytesPerSecond | None = Field(description="Lower end of the median's 95 % interval.")
    high: BytesPerSecond | None = Field(description="Upper end of the median's 95 % interval.")
    method: str | None = Field(description="How it was measured.")
    array_bytes: Bytes | None = Field(description="Size of the array that was streamed.")


class LossPoint(Section):
    """The training loss of one step."""

    step: Count = Field(description="Number of the step, from 1.")
    tokens: Tokens = Field(description="Tokens trained on up to and with this step.")
    loss: NatsPerToken = Field(description="Mean cross-entropy of the step's batch.")


class ValidationPoint(Section):
    """The score on validation text in the course of the run."""

    step: Count = Field(description="Steps done when it was scored.")
    tokens: Tokens = Field(description="Tokens trained on when it was scored.")
    bits_per_byte: BitsPerByte = Field(description="Sum of -log2 p over the text, over its UTF-8 bytes.")


class StepSeconds(Section):
    """How long one step took, over the steps after the first."""

    median: Seconds = Field(description="Median time of one step.")
    p10: Seconds = Field(description="10th percentile.")
    p90: Seconds = Field(description="90th percentile.")


class HeldOut(Section):
    """How well the trained model predicts text it never saw, beside compressors on the same text."""

    bits_per_byte: BitsPerByte = Field(
        description="Sum of -log2 p over every token, each scored once, over the text's UTF-8 bytes."
    )
    utf8_bytes: Bytes = Field(description="Size of the held-out text.")
    tokens: Tokens = Field(description="Tokens in the held-out text.")
    documents: Count = Field(description="Documents in the held-out text.")
    xz_bits_per_byte: BitsPerByte = Field(description="xz -9 on the same text.")
    zstd_bits_per_byte: BitsPerByte = Field(description="zstd -19 on the same text.")
    xz_primed_bits_per_byte: BitsPerByte | None = Field(
        description="What the held-out text adds to xz once it has read the training text."
    )
    unigram_bits_per_byte: BitsPerByte | None = Field(
        description="A table of token frequencies, counted on the training text, same tokens."
    )
    trigram_bits_per_byte: BitsPerByte | None = Field(
        description="Smoothed counts of three tokens in a row, counted on the training text, same tokens."
    )
    fewer_bits_than_xz: Share = Field(le=1, description="1 - model / xz -9; below 0 the model is worse.")
    meaning: str = Field(description="What the comparison does and does not mean.")


class Sample(Section):
    """Text the trained model wrote."""

    prompt: str = Field(description="Text the model was given.")
    text: str = Field(description="Text it wrote after the prompt; the prompt is not repeated.")
    temperature: float = Field(ge=0, description="Sampling temperature.")
    top_p: float = Field(gt=0, le=1, description="Share of probability that sampling draws from.")
    seed: int = Field(description="Seed of the sampling.")


class Price(Section):
    """What the measured training costs."""

    usd_per_hour: Dollars | None = Field(description="Price of what was measured, per hour.")
    kind: str | None = Field(description="Kind of price: on demand, spot, reserved, own.")
    region: str | None = Field(description="Region the price holds for.")
    date: str | None = Field(description="Day the price was read.")
    source: str | None = Field(description="Who gave the price.")
    usd_per_million_tokens: Dollars | None = Field(description="Price over the training rate.")
    usd_per_million_tokens_end_to_end: Dollars | None = Field(description="Price over the end-to-end rate.")
    scope: str = Field(description="What the price covers.")
    catalog: tuple[CatalogPrice, ...] | None = Field(
        description="Prices in the catalog of instances that carry this chip."
    )


class Energy(Section):
    """What the measured training drew."""

    joules: Joules | None = Field(
        description="Meter reading after the training less before it, less what --full does between steps."
    )
    joules_per_token: Joules | None = Field(description="Joules over tokens trained on.")
    meter: str | None = Field(description="The meter that was read.")
    scope: str | None = Field(description="What the meter covers.")
