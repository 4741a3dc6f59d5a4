"""`pippin sample`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from pippin.errors import PippinError
from pippin.train.sample import Sampling, open_sampler


def run(run: Path, prompt: str, *, max_tokens: int, temperature: float, top_p: float, seed: int) -> None:
    """Prints the prompt and what follows it, as it comes."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise PippinError("not valid UTF-8", where="--prompt") from error
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    sampler = open_sampler(run)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a stream that lacks a character gets "?" in its place
    print(prompt, end="", flush=True)
    for piece in sampler.stream(prompt, sampling):
        print(piece, end="", flush=True)
    print()
