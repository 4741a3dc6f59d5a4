"""The planner's prediction of the assay, made before the training began, and how far it was off."""

from __future__ import annotations

from pydantic import Field

from pippin.report.quantities import Bytes, Seconds, Section, Share, TokensPerSecond


class PredictedPart(Section):
    """One part of the predicted step; the parts add up to it."""

    name: str = Field(description="What takes the time, by docs/step-time.md.")
    seconds: Seconds = Field(description="Time on the critical path of a step.")


class Prediction(Section):
    """What the planner expected of this training on this chip, beside what was measured."""

    made: str = Field(description="When it was made, ISO 8601 in UTC: before the first step.")
    step_seconds: Seconds = Field(description="Expected time of one step.")
    step_seconds_low: Seconds = Field(description="Lower end of its interval.")
    step_seconds_high: Seconds = Field(description="Upper end of its interval.")
    measured_step_seconds: Seconds = Field(description="Median time of the steps after the first.")
    step_error: Share = Field(description="Measured over predicted step time, less 1: above 0, slower.")
    step_inside: bool = Field(description="Whether the measured step time is inside the interval.")
    tokens_per_second: TokensPerSecond = Field(description="Tokens of a step over its expected time.")
    tokens_per_second_low: TokensPerSecond = Field(description="Lower end of its interval.")
    tokens_per_second_high: TokensPerSecond = Field(description="Upper end of its interval.")
    mfu: Share | None = Field(ge=0, description="Model FLOPs of a step over the rated peak times its time.")
    mfu_low: Share | None = Field(ge=0, description="Lower end of its interval.")
    mfu_high: Share | None = Field(ge=0, description="Upper end of its interval.")
    memory_bytes: Bytes = Field(description="Expected peak memory of one device in a step.")
    memory_bytes_low: Bytes | None = Field(description="Lower end of its interval.")
    memory_bytes_high: Bytes | None = Field(description="Upper end of its interval.")
    memory_interval: str = Field(description="What that interval means, or why there is none.")
    memory_basis: str = Field(description="What the memory figure rests on.")
    measured_memory_bytes: Bytes | None = Field(description="Memory that a step takes on one device.")
    measured_memory_method: str | None = Field(description="How the memory was measured.")
    memory_error: Share | None = Field(description="Measured over predicted memory, less 1.")
    parts: tuple[PredictedPart, ...] = Field(description="What the expected step is made of.")
    basis: str = Field(description="What the chip's rates in the prediction are.")
    calibration: str = Field(description="The calibration of the planner that it rests on.")
    interval: str = Field(description="What the interval means.")
