"""The options of `pippin catalog`, a verb with two below it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

catalog = typer.Typer(help="What Pippin knows of chips, instances, prices and fleets, with its sources.")
CatalogFile = Annotated[
    Path | None,
    typer.Option("--catalog", metavar="FILE", help="Chips, prices and fleets of yours (TOML)."),
]


@catalog.command("list", epilog="Example: pippin catalog list fleets")
def catalog_list(
    what: Annotated[str, typer.Argument(help="chips, instances, prices, fleets or clusters.")] = "chips",
    file: CatalogFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
) -> None:
    """List a table of the catalog."""
    from pippin.cli.catalog import show_list

    show_list(what, file, as_json=as_json)


@catalog.command("show", epilog="Example: pippin catalog show trn2")
def catalog_show(
    name: Annotated[str, typer.Argument(help="A chip, instance, fleet or cluster.", metavar="NAME")],
    file: CatalogFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
) -> None:
    """Show all that is known of one chip, instance, fleet or cluster."""
    from pippin.cli.catalog import show_entry

    show_entry(name, file, as_json=as_json)
