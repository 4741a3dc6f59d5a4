"""The report's section on numerics: does the chip compute, and train, what the reference does?"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pippin.report.quantities import Count, NatsPerToken, Seconds, Section, Share

Distance = Annotated[float, Field(ge=0, json_schema_extra={"unit": "relative"})]


class OperationError(Section):
    """One result of a single operation on the chip, beside a formula in float64 on the host."""

    operation: str = Field(description="The operation, in words.")
    part: str = Field(description="Its result, or what the gradient is by.")
    error: Distance = Field(description="Norm of the difference over the norm of what is right.")
    tolerance: Distance = Field(description="What a sound chip may be off by: see docs/numerics.md.")
    worst: Distance = Field(
        description="Largest difference of an element, over its size plus the root mean square of all."
    )
    worst_tolerance: Distance = Field(description="What a sound chip's worst element may be off by.")


class WholeProductErrors(Section):
    """One matrix product of whole numbers, which every sound chip gives exactly."""

    operation: str = Field(description="The product, in words.")
    part: str = Field(description="Its result, or what the gradient is by.")
    terms: Count = Field(description="Terms of each sum.")
    elements: Count = Field(description="Elements of the result.")
    wrong: Count = Field(description="Elements that were not the right whole number.")
    largest_error: float = Field(ge=0, description="By how much the worst one was off.")


class LayerError(Section):
    """An output or a gradient of the whole model on the chip, beside the reference."""

    layer: str = Field(description="Where in the model.")
    quantity: str = Field(
        description="The output, or what the gradient is by; spread: as all devices compute it together."
    )
    error: Distance = Field(description="Norm of the difference over the norm of the reference.")
    tolerance: Distance = Field(
        description="What a change of one unit in the last place of every parameter does, times a margin."
    )


class ShortRun(Section):
    """The losses of one seed, step by step, nats a token."""

    seed: int = Field(description="Seed of parameters and batches.")
    chip: tuple[NatsPerToken, ...] = Field(description="Losses on the chip.")
    reference: tuple[NatsPerToken, ...] = Field(description="Losses in the reference.")


class Equivalence(Section):
    """Two one-sided tests of the losses at the end of the short runs, over the seeds."""

    verdict: str | None = Field(description="equivalent, different, or cannot tell.")
    margin: NatsPerToken = Field(description="The largest mean difference that counts as none.")
    mean: NatsPerToken | None = Field(description="Mean over seeds of chip less reference.")
    low: NatsPerToken | None = Field(description="Lower end of its 90 % interval.")
    high: NatsPerToken | None = Field(description="Upper end of its 90 % interval.")
    steps: Count = Field(description="Steps of each run.")
    last_steps: Count = Field(description="Last steps of each run, over which losses are averaged.")
    seeds: Count = Field(description="Seeds, the same on both sides.")


class Determinism(Section):
    """The first seed's run on the chip, twice."""

    identical: bool = Field(description="Whether losses and parameters were the same bits.")
    loss_difference: float = Field(ge=0, description="Largest difference of a step's loss, nats a token.")
    parameter_difference: Distance = Field(description="Difference of the last parameters, by norm.")


class RepeatedComputation(Section):
    """A fixed computation, repeated during the training and after it."""

    repeats: Count = Field(description="Times it was carried out, on all devices together.")
    during_training: Count = Field(description="Times between the steps of the training, on each device.")
    devices: Count = Field(description="Devices that carried it out.")
    over_seconds: Seconds = Field(description="From the first to the last time.")
    wrong: Count = Field(description="Times its result was not what it should be.")
    error_rate_below: Share | None = Field(
        description="Error rate of one repeat that is ruled out at 95 %: three over the repeats."
    )
    flops: float = Field(ge=0, json_schema_extra={"unit": "FLOP"}, description="FLOPs of one repeat.")


class Numerics(Section):
    """Whether the chip computes, and trains, what a float32 reference does."""

    passed: bool | None = Field(description="True: nothing was beyond its tolerance. False: see failures.")
    verdict: str = Field(min_length=1, description="The same in words.")
    failures: tuple[str, ...] = Field(description="What was beyond its tolerance, the likeliest cause first.")
    reference: str = Field(description="What the chip was compared with.")
    limits: str = Field(description="What this comparison cannot show.")
    compute_dtype: str = Field(description="Number format of the matrix products on the chip.")
    num_layers: Count = Field(description="Layers of the model that was compared.")
    batch_size: Count = Field(description="Sequences of a step in the comparison.")
    sequence_length: Count = Field(description="Their length in tokens.")
    reduced: bool = Field(description="Whether layers or tokens are fewer than in the training.")
    operations: tuple[OperationError, ...] = Field(description="Single operations.")
    whole_products: tuple[WholeProductErrors, ...] = Field(description="Products of whole numbers.")
    layers: tuple[LayerError, ...] = Field(description="Outputs and gradients, layer by layer.")
    runs: tuple[ShortRun, ...] = Field(description="Short runs on both sides.")
    equivalence: Equivalence = Field(description="Whether the short runs come to the same loss.")
    determinism: Determinism = Field(description="The same run twice.")
    repeats: RepeatedComputation = Field(description="The same computation many times.")
    seconds: Seconds = Field(description="Time the comparison took.")
