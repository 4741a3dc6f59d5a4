"""The versioned schema of `report.json`: what an assay measured, with the basis of every number.

A number that is not known is null, and `unknown` says why under its dotted path. Nothing here draws; this
module imports neither JAX nor the plotting library, so that any program can read a report.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from pippin.errors import PippinError, explained, nearest
from pippin.report.microbenchmarks import Microbenchmarks
from pippin.report.numerics import Numerics
from pippin.report.prediction import Prediction
from pippin.report.projection import Projection
from pippin.report.quantities import (
    Count,
    Flops,
    FlopsPerSecond,
    Minutes,
    Seconds,
    Section,
    Sha256,
    Share,
    Tokens,
    TokensPerSecond,
)
from pippin.report.sections import (
    Basis,
    Chip,
    Energy,
    HeldOut,
    LossPoint,
    MatrixProduct,
    MemoryBandwidth,
    Price,
    Sample,
    SecondsByCategory,
    StepSeconds,
    ValidationPoint,
    Workload,
)
from pippin.report.speed import Speed
from pippin.report.waterfall import Waterfall
from pippin.storage import write_atomic

SCHEMA_VERSION = "2.0"

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Report(Section):
    """One assay: a chip, a training run on it, and what the run says about the chip."""

    schema_version: Literal["2.0"] = Field(description="Version of this schema.")
    created: str = Field(description="When the assay ended, ISO 8601 in UTC.")
    pippin_version: str = Field(description="Version of Pippin.")
    versions: dict[str, str] = Field(description="Versions of the programs underneath.")
    job_hash: Sha256 = Field(description="Hash of what decides the mathematics: model, data, training, seed.")
    data_sha256: Sha256 = Field(description="Hash of the tokens trained on and scored.")
    seed: int = Field(description="Seed of parameters and batches.")
    command: str = Field(description="The command that made this report.")

    chip: Chip = Field(description="The chip that was measured.")
    workload: Workload = Field(description="The model and the text it was trained on.")

    full: bool = Field(
        description="Whether everything was measured (--full); sections that need it are null without."
    )
    minutes_requested: Minutes = Field(
        description="Minutes of training asked for; the whole command takes longer."
    )
    steps: Count = Field(description="Training steps done.")
    tokens: Tokens = Field(description="Tokens trained on.")
    wall_seconds: Seconds = Field(description="Wall time of the whole command.")
    train_seconds: Seconds = Field(description="Wall time of the training run within it.")
    tokens_per_second: TokensPerSecond = Field(
        description="Training rate: tokens of the steps after the first over the time of those steps."
    )
    tokens_per_second_end_to_end: TokensPerSecond = Field(
        description="All tokens over all wall time, with compiling, scoring and saving."
    )
    seconds_by_category: SecondsByCategory = Field(description="Where the wall time went.")
    goodput: Share = Field(ge=0, le=1, description="Time in training steps over wall time.")
    flops_per_token: Flops = Field(description="Model FLOPs of one token, forward and backward.")
    model_flops_per_second: FlopsPerSecond = Field(description="FLOPs per token times the training rate.")
    mfu: Share | None = Field(
        ge=0,
        le=1,
        description="Model FLOP/s over the rated peak; above 1 is refused, as the peak must be wrong.",
    )
    measured_peak_share: Share | None = Field(
        ge=0, description="Model FLOP/s over the highest matrix-product rate measured in the compute dtype."
    )
    basis: Basis = Field(description="What the efficiency numbers rest on.")
    microbenchmarks: Microbenchmarks | None = Field(
        description="What the device does with the job's parts one by one."
    )
    waterfall: Waterfall | None = Field(
        description="Where the training's time went, from the peak down to the delivered tokens."
    )
    matmul: tuple[MatrixProduct, ...] = Field(description="Rates of single matrix products.")
    memory_bandwidth: MemoryBandwidth = Field(description="Rate of streaming through memory.")
    numerics: Numerics | None = Field(
        description="Whether the chip computes, and trains, what a float32 reference does."
    )

    losses: tuple[LossPoint, ...] = Field(
        min_length=1, description="Training loss over the run; a long run is thinned."
    )
    validations: tuple[ValidationPoint, ...] = Field(description="Scores on validation text in the run.")
    step_seconds: StepSeconds = Field(description="How long the steps took.")
    prediction: Prediction | None = Field(
        description="What the planner expected of this training, made before its first step."
    )
    speed: Speed = Field(description="The training rate in separate windows of the run.")
    held_out: HeldOut = Field(description="Quality on text the model never saw.")
    projection: Projection | None = Field(
        description="What a target model would take on this machine and on fleets of other chips."
    )
    sample: Sample | None = Field(description="Text the trained model wrote.")

    price: Price = Field(description="What the training costs.")
    energy: Energy = Field(description="What the training drew.")
    parameter_sha256: Sha256 = Field(description="Hash of the trained parameters.")
    unknown: dict[str, Reason] = Field(description="Dotted path of every null, and why it is null.")

    @field_validator("command", mode="before")
    @classmethod
    def _join_command(cls, command: Any) -> Any:
        return shlex.join(command) if isinstance(command, list | tuple) else command

    @field_validator("created")
    @classmethod
    def _check_utc(cls, created: str) -> str:
        if datetime.fromisoformat(created).utcoffset() != timedelta(0):
            raise ValueError("is not a time in UTC")
        return created

    @model_validator(mode="after")
    def _check_unknown(self) -> Report:
        nulls = set(null_paths(self.model_dump(exclude={"unknown"})))
        if missing := sorted(nulls - set(self.unknown)):
            raise ValueError(f"null, but `unknown` gives no reason: {', '.join(missing)}")
        if extra := sorted(set(self.unknown) - nulls):
            raise ValueError(f"`unknown` gives a reason for what is not null: {', '.join(extra)}")
        return self

    def to_json(self) -> str:
        """The report as JSON text, one line for each point of a curve."""
        return _dump(self.model_dump(mode="json")) + "\n"


def null_paths(value: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of the nulls in a JSON value; list items are numbered from 0."""
    if value is None:
        yield path
        return
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for key, item in items:
        yield from null_paths(item, f"{path}.{key}" if path else str(key))


def _dump(value: Any, indent: str = "") -> str:
    """JSON with two spaces of indent; a list item that holds no further list or table stays on one line."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(key)}: {_dump(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        lines = [inner + json.dumps(item, allow_nan=False) for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


class SchemaVersionError(PippinError):
    """The report was written by a Pippin whose reports this one does not read."""


def load_report(path: Path) -> Report:
    """Reads and checks a report.

    Raises:
        PippinError: it cannot be read, is not JSON, is of another schema version, or breaks the schema;
            the message names the field.
    """
    with explained(path):
        content = path.read_bytes()
    try:
        return Report.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise _as_pippin_error(error, path) from error


def _as_pippin_error(error: ValidationError, path: Path) -> PippinError:
    problems = error.errors(include_url=False)
    first = next((p for p in problems if p["loc"] == ("schema_version",)), problems[0])
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return PippinError(f"not valid JSON: {first['msg']}", where=path)
    if field == "schema_version" and first["type"] == "literal_error":
        return SchemaVersionError(
            f"schema version {first['input']!r}, and this Pippin reads {SCHEMA_VERSION}",
            where=path,
            fix="assay again, or read it with the version of Pippin that wrote it",
        )
    known = nearest(field, Report.model_fields) if first["type"] == "extra_forbidden" else None
    message = first["msg"].removeprefix("Value error, ")
    more = f"; {len(problems) - 1} more" if len(problems) > 1 else ""
    return PippinError(
        f"{field}: {message}{more}" if field else message + more,
        where=path,
        fix=f"did you mean {known}?" if known else "is this a report.json that Pippin wrote?",
    )


def json_schema() -> dict[str, Any]:
    """The published JSON schema of `report.json`; `unit` beside a field is the unit of its number."""
    schema = Report.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_json_schema(path: Path) -> None:
    """Writes the published schema, `docs/report.schema.json`."""
    write_atomic(path, json.dumps(json_schema(), indent=2) + "\n")
