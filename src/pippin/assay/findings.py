"""What an assay was asked, what it found, and the reasons of what it did not find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pippin.assay.in_full import InFull
from pippin.assay.microbenchmarks import Bandwidth, MatmulRate
from pippin.assay.numerics.check import Numerics
from pippin.assay.references import References
from pippin.assay.traced import Traced
from pippin.data.dataset import Dataset
from pippin.devices import EnergyTrace
from pippin.job import Job
from pippin.plan.projection import Projection
from pippin.train.account import Account, Span
from pippin.train.setup import Machine

ONLY_FULL = "measured only with --full"


@dataclass(frozen=True)
class Request:
    """What the user asked for. The price is in US dollars an hour of the whole machine.

    `full` measures what takes minutes more; the sections of the report that need it are null without.
    """

    minutes: float = 3.0
    model: str | None = None
    data: str = "sotu"
    price_per_hour: float | None = None
    seed: int = 0
    command: tuple[str, ...] = ("pippin", "assay")
    full: bool = False
    calibration: Path | None = None
    target: str | None = None
    fleets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metered:
    """Energy from the training's begin to its end. `joules` is None where `reason` says why; `trace` has it
    over time."""

    joules: float | None
    meter: str | None
    scope: str | None
    reason: str
    trace: EnergyTrace | None = None

    def step_joules(self, steps: Sequence[Span]) -> list[float] | None:
        """Joules in the span of each step."""
        if self.trace is None or self.trace.error:
            return None
        return [self.trace.joules_between(span["start"], span["end"]) for span in steps]

    def without(self, spans: Sequence[Span]) -> float | None:
        """Joules of the training but for these spans of it; None where theirs are not known."""
        spent = self.step_joules(spans) if spans else []
        return None if self.joules is None or spent is None else self.joules - sum(spent)

    @property
    def why_no_windows(self) -> str:
        return (self.trace and self.trace.error) or self.reason

    def watts(self, seconds: float) -> tuple[float | None, str]:
        """Mean power over so many seconds, and of what; None where no meter was read."""
        if self.joules is None or not seconds:
            return None, ""
        return self.joules / seconds, f"{self.meter}, {self.scope}"


@dataclass(frozen=True)
class SampleText:
    """What the model wrote after a prompt."""

    prompt: str
    text: str
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Findings:
    """Everything the report is made from. A part that only `--full` measures is None without; what the
    device refused, a reason."""

    request: Request
    machine: Machine
    job: Job
    preset: str
    preset_reason: str
    dataset: Dataset
    account: Account
    spans: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    rates: list[MatmulRate]
    bandwidth: Bandwidth
    references: References
    sample: SampleText | str
    summary: dict[str, Any]
    energy: Metered
    train_seconds: float
    predicted: dict[str, Any]
    step_memory: tuple[int | None, str]
    prices: list[dict[str, Any]] | None
    projected: tuple[Projection, float] | None = None
    in_full: InFull | str | None = None
    traced: Traced | None = None
    numerics: Numerics | str | None = None  # a reason where it could not be compared


class Unknown(dict[str, str]):
    """Collects the reason of every null."""

    def known(self, path: str, value: Any, reason: str) -> Any:
        """The value; where it is None, its reason is noted."""
        if value is None:
            self[path] = reason
        return value
