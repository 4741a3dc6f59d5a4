"""What a ledger says of a training's time, by what it went into; an assay's own measuring is set apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Span = dict[str, Any]


@dataclass(frozen=True)
class RunTime:
    """What the ledger says of the training, in seconds; `own` is the assay's measuring."""

    steps: int
    tokens: int
    step_seconds: float
    input: float
    compile: float
    checkpoint: float
    evaluation: float
    start: float
    failures: float
    idle: float
    own: float

    @property
    def whole(self) -> float:
        """Of the training: all but the assay's own measuring."""
        parts = (self.input, self.compile, self.checkpoint, self.evaluation, self.start, self.failures)
        return self.step_seconds + sum(parts) + self.idle


def run_time(spans: Sequence[Span]) -> RunTime:
    """Sorts every span of the ledger. A step that was dropped, failed, or done again counts as a failure."""
    last = {span["step"]: place for place, span in enumerate(spans) if "tokens" in span}
    seconds: dict[str, float] = {}
    tokens = 0
    for place, span in enumerate(spans):
        if last.get(span.get("step", -1)) == place:
            tokens += span["tokens"][1] - span["tokens"][0]
        kind = _kind(span, place, last)
        seconds[kind] = seconds.get(kind, 0.0) + span["end"] - span["start"]
    names = ("input", "compile", "checkpoint", "evaluation", "start", "failures", "idle", "own")
    return RunTime(
        len(last), tokens, seconds.get("step", 0.0), **{name: seconds.get(name, 0.0) for name in names}
    )


def _kind(span: Span, place: int, last: dict[int, int]) -> str:
    category, name = span["category"], span.get("name")
    if "failed" in span or (category, name) == ("restart", "not running"):
        return "failures"
    if category == "step":
        return "step" if last.get(span.get("step", -1)) == place else "failures"
    if category == "evaluation" and name != "validation":
        return "own"
    other = {"data": "input", "restart": "start"}
    return other.get(category, str(category))
