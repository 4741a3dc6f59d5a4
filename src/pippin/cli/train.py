"""`pippin train`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from pippin.cli.display import Display
from pippin.job import load_job
from pippin.train.loop import train
from pippin.train.profile import ProfileSteps
from pippin.train.signals import Interrupted


def run(path: Path, out: Path, overrides: list[str], *, begun: float, profile_steps: str | None) -> None:
    """Trains and prints one closing line."""
    profile = ProfileSteps.parse(profile_steps) if profile_steps else None
    job = load_job(path, overrides)
    try:
        with Display(sys.stderr) as display:
            trained = train(job, out, display, begun=begun, profile=profile)
    except Interrupted as stop:
        print(f"pippin: {stop}", file=sys.stderr, flush=True)
        raise typer.Exit(stop.exit_status) from stop
    summary = trained.summary
    done = "was finished already" if trained.state is None else "finished"
    print(
        f"{done}: {summary['steps']} steps, {summary['tokens']:,} tokens, "
        f"{summary['validation_bits_per_byte']:.4f} held-out bits per byte, "
        f"{summary['tokens_per_second'] or 0:,.0f} tokens/s ({out})"
    )
