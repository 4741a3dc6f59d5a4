"""`pippin score`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from pippin.cli.display import Display
from pippin.train.score import score


def run(run: Path, corpus: str | None, overrides: list[str], *, as_json: bool) -> None:
    """Scores and prints one line, or the same as JSON."""
    with Display(sys.stderr) as display:
        result = score(run, corpus, overrides, display)
    if as_json:
        print(json.dumps(asdict(result)))
        return
    print(
        f"{result.bits_per_byte:.4f} bits per byte of {result.validation_bytes:,} held-out bytes of "
        f"{result.corpus} ({result.validation_tokens:,} tokens; step {result.step})"
    )
