"""The waterfall's part of the report: from the peak to the delivered tokens, every lost second by name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pippin.report.quantities import (
    FlopsPerSecond,
    Seconds,
    Section,
    Share,
    SignedSeconds,
    Tokens,
    TokensPerSecond,
)


class WaterfallBar(Section):
    """One part of the training's time."""

    key: str = Field(description="Name for programs.")
    title: str = Field(description="Name.")
    seconds: SignedSeconds | None = Field(
        description="Seconds of the training; below 0 where measurements contradict one another."
    )
    low: SignedSeconds | None = Field(
        description="Lower end of the 95 % interval over the groups of traced steps."
    )
    high: SignedSeconds | None = Field(description="Upper end of it.")
    method: str = Field(description="How it was measured.")


class Waterfall(Section):
    """Where the training's time went, from the arithmetic at the peak down to the delivered tokens."""

    begins_at: Literal["rated peak", "measured rate"] = Field(description="What the first bar rests on.")
    rate_flops_per_second: FlopsPerSecond = Field(description="That rate, of all devices together.")
    measured_flops_per_second: FlopsPerSecond = Field(
        description="Highest matrix-product rate measured here, of all devices together."
    )
    whole_seconds: Seconds = Field(
        description="Wall time of the training: of the command, less the assay's own measuring."
    )
    own_seconds: Seconds = Field(description="Wall time of the assay's own measuring, in no bar.")
    tokens: Tokens = Field(description="Tokens delivered in that time.")
    tokens_per_second_at_peak: TokensPerSecond = Field(description="Tokens over the first bar alone.")
    tokens_per_second: TokensPerSecond = Field(description="Tokens over the whole.")
    step_seconds: Seconds | None = Field(description="Time of a traced step, the median of the groups.")
    rounds: int = Field(ge=0, description="Groups of steps that were traced, spread over the run.")
    sum_seconds: Seconds = Field(description="Sum of all bars; the whole, but for rounding.")
    unexplained_share: Share = Field(
        description="Size of the remainder, the bar `unexplained`, over `whole_seconds`."
    )
    unexplained_step_share: Share = Field(description="The same over the time of the training's steps.")
    bars: tuple[WaterfallBar, ...] = Field(min_length=1, description="The parts, in order.")
