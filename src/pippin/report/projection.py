"""What a target model would take on the measured machine and on fleets of other chips."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pippin.report.quantities import (
    Bytes,
    Count,
    Dollars,
    Joules,
    Seconds,
    Section,
    Share,
    Tokens,
    TokensPerSecond,
)

Days = Annotated[float, Field(ge=0, json_schema_extra={"unit": "days"})]


class ProjectedFleet(Section):
    """The target on one fleet. Low and high are the ends of an interval."""

    fleet: str = Field(description="The fleet, or the measured machine.")
    chip: str = Field(description="Its chip.")
    measured: bool = Field(description="Whether it is the chip that this assay measured.")
    evidence: str = Field(description="What the figures of this chip rest on, in a sentence.")
    runs_of_chip: Count = Field(description="Published runs of this chip that the calibration saw.")
    chips: Count = Field(description="Chips at work and standing by.")
    layout: str = Field(description="The layout that the planner found.")
    memory_bytes: Bytes = Field(description="Expected memory of a device.")
    memory_bytes_low: Bytes | None = Field(description="Lower end of its interval.")
    memory_bytes_high: Bytes | None = Field(description="Upper end of its interval.")
    memory_interval: str = Field(description="What that interval means, or why there is none.")
    fits: bool = Field(description="Whether that fits; where not, times are as if it did.")
    days: Days = Field(description="Days to train the target.")
    days_low: Days = Field(description="Lower end of its interval.")
    days_high: Days | None = Field(description="Upper end of its interval.")
    tokens_per_second: TokensPerSecond = Field(description="Tokens that last over wall time.")
    tokens_per_second_low: TokensPerSecond = Field(description="Lower end of its interval.")
    tokens_per_second_high: TokensPerSecond = Field(description="Upper end of its interval.")
    goodput: Share | None = Field(description="Share of the time that failures and saving leave.")
    goodput_low: Share | None = Field(description="Lower end of its interval.")
    goodput_high: Share | None = Field(description="Upper end of its interval.")
    mfu: Share | None = Field(description="Model FLOPs over the rated peak, failures aside.")
    mfu_low: Share | None = Field(description="Lower end of its interval.")
    mfu_high: Share | None = Field(description="Upper end of its interval.")
    joules: Joules | None = Field(description="Energy of the chips.")
    joules_low: Joules | None = Field(description="Lower end of its interval.")
    joules_high: Joules | None = Field(description="Upper end of its interval.")
    power_basis: str = Field(description="Whose power that is.")
    rests_on: str = Field(description="Calibration and assumptions.")


class ProjectedCost(Section):
    """The target's cost on one price of a fleet."""

    fleet: str = Field(description="The fleet.")
    provider: str = Field(description="Who asks the price.")
    instance: str = Field(description="The instance that is priced.")
    kind: str = Field(description="Kind of price: on demand, capacity block, reserved, spot.")
    term: str = Field(description="Term of a reservation; empty where there is none.")
    region: str = Field(description="Region the price holds for.")
    date: str = Field(description="Date of the price.")
    source: str = Field(description="Where the price is published, and whose it stands in for.")
    usd_per_chip_hour: Dollars | None = Field(description="Price of one chip for an hour.")
    usd: Dollars | None = Field(description="Cost of the whole training.")
    usd_low: Dollars | None = Field(description="Lower end of its interval.")
    usd_high: Dollars | None = Field(description="Upper end of its interval.")
    usd_per_million_tokens: Dollars | None = Field(description="The same for a million tokens.")
    usd_per_million_tokens_low: Dollars | None = Field(description="Lower end of its interval.")
    usd_per_million_tokens_high: Dollars | None = Field(description="Upper end of its interval.")


class ProjectedRuns(Section):
    """Published runs that a fleet's figures rest on."""

    fleet: str = Field(description="The fleet.")
    source: str = Field(description="Who published them.")
    runs: Count = Field(description="How many of this chip the calibration saw.")


class RefusedFleet(Section):
    """A fleet that cannot train the target."""

    fleet: str = Field(description="The fleet.")
    reason: str = Field(description="Why not.")


class Projection(Section):
    """What a target model would take: here, and on the fleets asked for."""

    target: str = Field(description="The model.")
    target_parameters: Count = Field(description="Its parameters.")
    target_tokens: float = Field(gt=0, description="Tokens it is trained on.")
    target_tokens_basis: str = Field(description="Where that number is from.")
    global_batch: Count = Field(description="Sequences an update.")
    target_sequence_length: Tokens = Field(description="Tokens of a sequence.")
    batch_basis: str = Field(description="Where batch and length are from.")
    precision: str = Field(description="Precision of the fleets' matrix products.")
    meaning: str = Field(description="What this assay does and does not say of other chips.")
    interval: str = Field(description="What the intervals mean.")
    seconds_to_project: Seconds = Field(description="How long the planner took.")
    fleets: tuple[ProjectedFleet, ...] = Field(description="The measured machine first, then the fleets.")
    costs: tuple[ProjectedCost, ...] = Field(description="Every price of every fleet.")
    runs: tuple[ProjectedRuns, ...] = Field(description="The published runs behind each fleet.")
    refused: tuple[RefusedFleet, ...] = Field(description="Fleets that cannot train the target.")
