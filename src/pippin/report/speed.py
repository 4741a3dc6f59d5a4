"""Speed in separate windows of the run, kept whole: what a comparison with another run rests on."""

from __future__ import annotations

from pydantic import Field

from pippin.report.quantities import Count, Joules, Seconds, Section, Tokens

WINDOW_DEFINITION = (
    "steps that follow one another; seconds and joules are of the steps' own spans, so validation, saving "
    "and waiting for input between them are not in it; the first step of the run is in no window"
)


class SpeedWindow(Section):
    """A stretch of steps. Tokens over seconds is its rate."""

    start_step: Count = Field(description="First step of the window.")
    stop_step: Count = Field(description="Step after the last of the window.")
    start_seconds: Seconds = Field(description="When its first step began, from the start of the command.")
    end_seconds: Seconds = Field(description="When its last step ended, from the start of the command.")
    tokens: Tokens = Field(gt=0, description="Tokens of its steps.")
    seconds: Seconds = Field(gt=0, description="Time of its steps' spans, without what lies between them.")

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class Speed(Section):
    """The training rate and the energy in windows spread over the run."""

    definition: str = Field(description="What a window is.")
    windows: tuple[SpeedWindow, ...] = Field(
        min_length=1, description="The windows in the order of time; together, all steps after the first."
    )
    window_joules: tuple[Joules, ...] | None = Field(description="Energy of each window's steps.")
