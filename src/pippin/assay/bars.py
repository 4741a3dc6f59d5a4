"""The bars of the waterfall, in order: title, and how each is measured. docs/waterfall.md says more."""

from __future__ import annotations

from dataclasses import dataclass

_LESS = "less its FLOPs at the measured rate"
BARS: dict[str, tuple[str, str]] = {
    "arithmetic": ("Arithmetic at the peak", "model FLOPs of all steps over the rated peak"),
    "matrix_rate": (
        "Achievable matrix rate",
        "model FLOPs at the matrix rate measured here, less those at the rated peak",
    ),
    "shapes": (
        "Shapes of the products",
        "the layers' products alone, at their shapes and with their conversions, less a launch each and "
        "their FLOPs at the measured rate",
    ),
    "attention": ("Attention", f"gradients less gradients without attention, {_LESS}"),
    "norms": ("Norms", "all norms alone, forward and backward, less a launch each"),
    "elementwise": (
        "Elementwise work",
        "rotary embedding, the gate of the feed-forward part and the residual sums alone, less a launch each",
    ),
    "embedding": ("Embedding", "the look-up and its gradient alone, less a launch"),
    "vocabulary": (
        "Vocabulary loss",
        f"gradients less gradients without the loss over the vocabulary, {_LESS}",
    ),
    "optimizer": ("Optimiser", "what follows the gradients, as a program of its own, less a launch"),
    "recomputation": ("Recomputation", "gradients as run less gradients with nothing recomputed"),
    "communication": (
        "Exposed communication",
        "gradients less those of devices that do not speak to one another",
    ),
    "bubble": ("Pipeline bubble", "the time in which stages of the pipeline wait"),
    "host": ("Launching", "placing the batch and launching one program, each alone"),
    "unexplained": ("Unexplained", "a remainder: the step timed alone, less everything above"),
    "pace": (
        "Slower in the run",
        "a remainder, its cause not measured: the run's steps less as many steps timed alone",
    ),
    "input": ("Input", "ledger: opening the corpus and making batches"),
    "compile": ("Compiling", "ledger: compiling the step and the evaluation"),
    "checkpoint": ("Checkpoints", "ledger: saving checkpoints"),
    "evaluation": ("Evaluation", "ledger: validations in the run and after it"),
    "start": ("Start", "ledger: starting the process, finding the device, making the state"),
    "failures": ("Failures", "ledger: failed spans, steps dropped or done again, time until a restart"),
    "idle": ("Idle", "ledger: time that no part of the program claimed"),
}
# Where no peak is published the waterfall begins one step lower.
FROM_MEASURED = (
    "Arithmetic at the measured rate",
    "model FLOPs of all steps over the matrix rate measured here",
)


@dataclass(frozen=True)
class Bar:
    """A part of the training's time.

    `seconds` is None where `reason` says why; it may be negative. `low` and `high` are the 95 % interval of
    the median over the rounds, None for what was measured once.
    """

    key: str
    seconds: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
