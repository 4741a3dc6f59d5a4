"""The options of `pippin plan`. What is heavy is imported when the verb runs, so that `--help` is instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _models(incomplete: str) -> list[str]:
    from pippin.models.presets import ALL_PRESETS

    return [name for name in ALL_PRESETS if name.startswith(incomplete)]


def _chips(incomplete: str) -> list[str]:
    from pippin.catalog import load_chips

    return [name for name in load_chips() if name.startswith(incomplete)]


def _fleets(incomplete: str) -> list[str]:
    from pippin.catalog.fleets import load_fleet_rows

    return [name for name in load_fleet_rows() if name.startswith(incomplete)]


def plan(
    job: Annotated[Path | None, typer.Argument(help="A job file (TOML).", metavar="[JOB.toml]")] = None,
    model: Annotated[
        str | None, typer.Option(help="A model by name instead of a job.", autocompletion=_models)
    ] = None,
    chip: Annotated[
        list[str] | None,
        typer.Option(help="Any number of this chip; several are set side by side.", autocompletion=_chips),
    ] = None,
    fleet: Annotated[
        list[str] | None,
        typer.Option(help="A fleet of the catalog; several are set side by side.", autocompletion=_fleets),
    ] = None,
    chips: Annotated[int | None, typer.Option(help="How many chips.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens to train on.")] = None,
    global_batch: Annotated[int | None, typer.Option(help="Sequences an update.")] = None,
    sequence_length: Annotated[int | None, typer.Option(help="Tokens a sequence.")] = None,
    precision: Annotated[str, typer.Option(help="bf16, fp8, fp4 or int8.")] = "bf16",
    objective: Annotated[str, typer.Option(help="time, cost or energy.")] = "time",
    max_days: Annotated[float | None, typer.Option(help="Train within so many days.")] = None,
    fault_tolerance: Annotated[
        str, typer.Option(help="What a failure stops: the whole job (synchronous), or a replica (replicas).")
    ] = "synchronous",
    mtbf_years: Annotated[
        float | None, typer.Option(help="Years between failures of one chip, instead of the published range.")
    ] = None,
    restart_seconds: Annotated[float | None, typer.Option(help="From a failure to the next step.")] = None,
    checkpoint_seconds: Annotated[float | None, typer.Option(help="Stall of a checkpoint.")] = None,
    spare_nodes: Annotated[int | None, typer.Option(help="Hot spare hosts; by default enough.")] = None,
    learners: Annotated[
        list[int] | None, typer.Option(help="Learners that train apart; repeatable, by default 8 and 64.")
    ] = None,
    learner_batch: Annotated[
        int | None, typer.Option(help="Sequences an update of each learner, instead of the job's batch.")
    ] = None,
    inner_steps: Annotated[int, typer.Option(help="Steps of a learner between two exchanges.")] = 100,
    wire_bits: Annotated[int, typer.Option(help="Bits a parameter in an exchange.")] = 8,
    link_gbit_per_second: Annotated[
        float | None, typer.Option(help="Link of a whole learner, instead of the fleet's own network.")
    ] = None,
    facility_overhead: Annotated[
        float | None, typer.Option(help="Energy of the facility over that of its chips (PUE and hosts).")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="TENSOR=8,...",
            help="Evaluate this layout beside the best; job: the job file's mesh.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="How many layouts to show.", min=1, max=64)] = 5,
    framework: Annotated[
        str | None, typer.Option(help="Whose memory: megatron, or pippin (the default for a job file).")
    ] = None,
    flash: Annotated[bool | None, typer.Option("--flash/--no-flash", help="Fused attention.")] = None,
    explain_memory: Annotated[
        bool, typer.Option("--explain-memory", help="Show what fills each stage's memory.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A calibration of yours; by default the shipped one.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--catalog", metavar="FILE", help="Chips, prices and fleets of yours (TOML)."),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with plots.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, nothing else.")] = False,
) -> None:
    """Find the best layouts of a job on a fleet: step, memory, goodput, time, cost, energy."""
    from pippin.cli.plan import Asked, run
    from pippin.plan.compare import LEARNERS, Wishes, check_mode
    from pippin.plan.failures import recovery

    wishes = Wishes(
        objective=objective,
        mode=check_mode(fault_tolerance),
        max_days=max_days,
        mtbf_years=mtbf_years,
        times=recovery().given(
            restart=restart_seconds, checkpoint=checkpoint_seconds, spare_nodes=spare_nodes
        ),
        facility_overhead=facility_overhead,
        inner_steps=inner_steps,
        wire_bits=wire_bits,
        link_gbit_per_second=link_gbit_per_second,
        learners=tuple(learners or LEARNERS),
        learner_batch=learner_batch,
    )
    run(
        Asked(
            job=job,
            model=model,
            chip_ids=chip or [],
            fleets=fleet or [],
            chips=chips,
            tokens=tokens,
            global_batch=global_batch,
            sequence_length=sequence_length,
            precision=precision,
            calibration=calibration,
            catalog=file,
            layout=layout,
            framework=framework,
            flash=flash,
            count=top,
            explain_memory=explain_memory,
            html=html,
            as_json=as_json,
            wishes=wishes,
        )
    )
