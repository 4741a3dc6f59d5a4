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
        "traced steps: the layers' products with their conversions, less their FLOPs at the measured rate",
    ),
    "experts": (
        "Experts' products",
        f"traced steps: the products of experts, with those of empty slots, {_LESS} for the experts that a "
        "token meets",
    ),
    "routing": (
        "Routing to experts",
        "traced steps: the router, tokens sorted to experts and back, less the router's FLOPs at the "
        "measured rate",
    ),
    "attention": ("Attention", f"traced steps: attention, {_LESS}"),
    "norms": ("Norms", "traced steps: all norms, forward and backward"),
    "elementwise": (
        "Elementwise work",
        "traced steps: rotary embedding, the gate of the feed-forward part, residual sums, slices of "
        "stacked layers, sums over micro-batches",
    ),
    "embedding": ("Embedding", "traced steps: the look-up and its gradient"),
    "vocabulary": ("Vocabulary loss", f"traced steps: the head and the loss over the vocabulary, {_LESS}"),
    "optimizer": ("Optimiser", "traced steps: what follows the gradients"),
    "recomputation": ("Recomputation", "traced steps: what backward computes again instead of keeping it"),
    "communication": (
        "Exposed communication",
        "traced steps: time in which a device runs collectives and nothing else",
    ),
    "bubble": (
        "Pipeline bubble",
        "traced steps: the ticks in which the pipeline fills and drains, one forward and one backward for "
        "each stage after the first, whatever is done in them",
    ),
    "host": (
        "Launching",
        "traced steps: time in which no operation runs, as for placing the batch and launching the program",
    ),
    "unexplained": (
        "Unexplained",
        "a remainder: the run's steps less everything above; what the compiler gave no name is in it",
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
    the median over the groups of traced steps, None for what was measured once.
    """

    key: str
    seconds: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
