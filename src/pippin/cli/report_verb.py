"""The options of `pippin report`, which is a verb by itself and has one below it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

_ONE = "one"  # the command that `pippin report DIR` stands for


class _WithDefault(TyperGroup):
    """A group whose first word may be a folder: `report DIR` beside `report serve FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = {name for name, command in self.commands.items() if not command.hidden}
        if args and args[0] not in named | {"--help"}:
            args = [_ONE, *args]
        return super().parse_args(ctx, args)


report = typer.Typer(
    cls=_WithDefault,
    no_args_is_help=True,
    subcommand_metavar="DIR [--open] | serve FOLDER",
    help="Draw the page of an assay anew and print its summary, or serve a folder of many.",
    epilog="Example: pippin report assays/laptop --open",
)
_Open = Annotated[bool, typer.Option("--open", help="Show it in the browser.")]


@report.command(_ONE, hidden=True, epilog="Example: pippin report assays/laptop --open")
def one(
    place: Annotated[Path, typer.Argument(help="An assay's folder, or its report.json.", metavar="DIR")],
    open_page: _Open = False,
) -> None:
    """Draw report.html from report.json, and print the summary."""
    from pippin.cli.report import run

    run(place, open_page=open_page)


@report.command(epilog="Example: pippin report serve assays --open")
def serve(
    folder: Annotated[Path, typer.Argument(help="A folder that holds assays.", metavar="FOLDER")],
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8417,
    open_page: _Open = False,
) -> None:
    """Show a table of many assays on this machine, to sort, filter and compare."""
    from pippin.cli.report import serve as run

    run(folder, port, open_page=open_page)
