"""What a run tells whoever watches it. The engine itself prints nothing."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunPlan:
    """What is about to be trained, once everything is set up."""

    total_steps: int
    first_step: int
    tokens_per_step: int
    num_parameters: int
    choices: str


@dataclass(frozen=True)
class StepReport:
    """One finished step, as in `metrics.jsonl`."""

    step: int
    tokens: int
    loss: float
    tokens_per_second: float
    validation_bits_per_byte: float | None


class Observer:
    """Silent. Subclasses override what they care about."""

    def phase(self, what: str) -> None:
        """Something that may take longer than two seconds begins."""

    def progress(self, done: int, total: int) -> None:
        """The phase has come this far."""

    def warn(self, message: str) -> None:
        """Something the user should know, though the run goes on."""

    def started(self, plan: RunPlan) -> None:
        """Training begins or goes on."""

    def step(self, report: StepReport) -> None:
        """A step has ended."""

    def saved(self, step: int, seconds: float) -> None:
        """A checkpoint is on disk."""


@dataclass
class RecordingObserver(Observer):
    """Keeps what it was told, for tests."""

    phases: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plans: list[RunPlan] = field(default_factory=list)
    steps: list[StepReport] = field(default_factory=list)
    saves: list[int] = field(default_factory=list)

    def phase(self, what: str) -> None:
        self.phases.append(what)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def started(self, plan: RunPlan) -> None:
        self.plans.append(plan)

    def step(self, report: StepReport) -> None:
        self.steps.append(report)

    def saved(self, step: int, seconds: float) -> None:
        self.saves.append(step)
