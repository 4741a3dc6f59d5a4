"""Times several programs in turn, round after round, so that what slows the machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from pippin.assay.timing import MIN_REPEATS, PATIENCE, Clock, elapsed, enough_calls
from pippin.devices import compile_program

Runs = Callable[[int], None]  # makes so many calls, and returns when the last one's result is there
Rounds = dict[str, list[float]]

# A program's turn lasts at least this long: the clock and the launch of a call weigh little in it.
_TURN_SECONDS = 0.004
_MAX_CALLS = 4096


def interleave(programs: Mapping[str, Runs], seconds: float, *, clock: Clock = time.perf_counter) -> Rounds:
    """Times every program once a round, each right after a call that is not timed: as in a run of its own it
    finds its arrays in the caches, not those of the program before it.

    Args:
        programs: by name; each is run once before anything is timed.
        seconds: time for all rounds together; up to `PATIENCE` times as much for `MIN_REPEATS` rounds.
        clock: monotonic seconds.

    Returns:
        Seconds of one call, for each program a value a round: values of the same round belong together.
    """
    calls = {name: _calls(run, clock) for name, run in programs.items()}
    timed: Rounds = {name: [] for name in programs}
    began = clock()
    rounds = 0
    while rounds == 0 or clock() - began < (seconds if rounds >= MIN_REPEATS else PATIENCE * seconds):
        for name, run in programs.items():
            run(1)
            timed[name].append(elapsed(run, calls[name], clock) / calls[name])
        rounds += 1
    return timed


def compile_ahead(function: Callable[..., Any], *arguments: Any) -> Runs:
    """The function compiled for these arguments, and run once. Each call is timed to its result, as are the
    steps of a run: from the host's call, with the launch."""
    compiled = compile_program(jax.jit(function).lower(*arguments))
    run = blocking(lambda: compiled(*arguments))
    run(1)
    return run


def blocking(call: Callable[[], Any]) -> Runs:
    """Calls that each wait for their result."""

    def run(calls: int) -> None:
        for _ in range(calls):
            jax.block_until_ready(call())

    return run


def _calls(run: Runs, clock: Clock) -> int:
    run(1)
    return enough_calls(run, clock, _TURN_SECONDS, _MAX_CALLS)[0]
