"""What is asked of the planner: a model, a batch, a precision, tokens; checked, with where each is from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pippin.catalog import Fleet
from pippin.catalog.catalog import Catalog
from pippin.errors import PippinError, nearest
from pippin.job import load_job
from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.models.published import PUBLISHED_RECIPES
from pippin.plan.at_hand import ASSAYED_STACK
from pippin.plan.calibration import Calibration
from pippin.plan.cost import TokenBudget, token_budget
from pippin.plan.counts import active_parameters, num_parameters
from pippin.plan.framework import FRAMEWORKS, PIPPIN, Framework, at_precision, trainer
from pippin.plan.search import Task
from pippin.plan.system import PLANNED, Precision, System

# Where neither the user nor a publication says: a million tokens an update.
_ASSUMED_BATCH, _ASSUMED_LENGTH = 512, 2048


@dataclass(frozen=True)
class Request:
    """A job to plan. Sequences an update, tokens a sequence, tokens in all. `compute_dtype` is the one that
    the job's arrays have on an accelerator."""

    model: str
    config: ModelConfig
    parameters: int
    global_batch: int
    sequence_length: int
    batch_basis: str
    budget: TokenBudget
    precision: Precision
    framework: Framework
    flash: bool
    compute_dtype: str

    @property
    def batch_tokens(self) -> int:
        return self.global_batch * self.sequence_length

    def task(self, fleet: Fleet, calibration: Calibration) -> Task:
        """The job on the chips of a fleet; a chip that was assayed runs the software it was assayed with.

        Raises:
            PippinError: the catalog lacks the chip's matrix rate or its memory.
        """
        assayed = f"{ASSAYED_STACK}/{fleet.chip.chip_id}" in calibration.assayed
        system = System.of(fleet.chip, self.precision, stack=ASSAYED_STACK if assayed else None)
        if not system.memory_bytes:
            raise PippinError(
                f"the catalog does not know the memory of {fleet.chip.name}",
                where="chip",
                fix="add it in a file of yours, see docs/catalog.md",
            )
        return Task(
            self.config,
            self.global_batch,
            self.sequence_length,
            system,
            calibration,
            self._framework_on(fleet),
            self.flash,
        )

    def _framework_on(self, fleet: Fleet) -> Framework:
        """Our own trainer is arranged by each chip's compiler; JAX runs on the cores of a CPU or laptop."""
        if self.framework is not PIPPIN:
            return self.framework
        return trainer(self.compute_dtype, cpu=fleet.chip.kind in ("cpu", "soc"))


def make_request(
    job: Path | None = None,
    model: str | None = None,
    *,
    global_batch: int | None = None,
    sequence_length: int | None = None,
    tokens: float | None = None,
    precision: str = "bf16",
    framework: str | None = None,
    flash: bool | None = None,
) -> Request:
    """Gathers what is asked; what is left out comes from the job, or from the model's published recipe.

    A job file is planned as `pippin train` does it (framework `pippin`, its own attention), a model as
    Megatron-Core would, with fused attention.

    Raises:
        PippinError: neither job nor model or both, an unknown name (the nearest is named), nonsense numbers.
    """
    if (job is None) == (model is None):
        raise PippinError(
            "give a job file or --model, one of them", fix="as in pippin plan --model gpt3-175b"
        )
    known = _from_job(job) if job else _from_model(model or "")
    name, config, batch, length, basis, published, source, fused, dtype = known
    if global_batch is not None or sequence_length is not None:
        given = [n for n, v in (("batch", global_batch), ("length", sequence_length)) if v is not None]
        basis = f"{' and '.join(given)} given by the user" + ("" if len(given) == 2 else f"; else {basis}")
    batch, length = global_batch or batch, sequence_length or length
    _check_sizes(config, global_batch, sequence_length, length)
    return Request(
        model=name,
        config=config,
        parameters=num_parameters(config),
        global_batch=batch,
        sequence_length=length,
        batch_basis=basis,
        budget=token_budget(tokens, published, source, active_parameters(config)),
        precision=_precision(precision),
        framework=at_precision(_framework(framework or ("pippin" if job else "megatron")), precision),
        flash=fused if flash is None else flash,
        compute_dtype=dtype,
    )


# What chips with matrix units train in; a job may say otherwise.
_USUAL_DTYPE = "bfloat16"
_Known = tuple[str, ModelConfig, int, int, str, float | None, str, bool, str]


def _from_job(path: Path) -> _Known:
    job = load_job(path)
    train = job.train
    tokens = float(train.steps * job.tokens_per_step)
    name = str(job.model.get("preset", path.stem))
    return (
        name,
        job.shape,
        train.batch_size,
        train.sequence_length,
        f"of {path.name}",
        tokens,
        path.name,
        (job.chip.attention or "reference") != "reference",
        job.chip.compute_dtype or _USUAL_DTYPE,
    )


def _from_model(name: str) -> _Known:
    try:
        fields = preset(name)
    except PippinError as error:
        raise PippinError(error.what, where="--model", fix=error.fix) from error
    config = ModelConfig(**{"vocab_size": 8192} | fields)
    recipe = PUBLISHED_RECIPES.get(name)
    if recipe is None:
        assumed = (_ASSUMED_BATCH, _ASSUMED_LENGTH, "assumed: a million tokens")
        return name, config, *assumed, None, "", True, _USUAL_DTYPE
    return (
        name,
        config,
        recipe.global_batch,
        recipe.sequence_length,
        recipe.source,
        recipe.tokens,
        recipe.source,
        True,
        _USUAL_DTYPE,
    )


def _check_sizes(config: ModelConfig, batch: int | None, given_length: int | None, length: int) -> None:
    if batch is not None and batch < 1:
        raise PippinError(
            f"a global batch of {batch} sequences", where="--global-batch", fix="give at least 1"
        )
    if given_length is not None and given_length < 2:
        raise PippinError(
            f"sequences of {given_length} tokens", where="--sequence-length", fix="give at least 2"
        )
    if config.learned_positions and length > config.learned_positions:
        raise PippinError(
            f"{length} tokens, the model has {config.learned_positions} learned positions",
            where="--sequence-length",
            fix=f"give at most {config.learned_positions}",
        )


def _precision(name: str) -> Precision:
    for known in PLANNED:
        if name == known:
            return known
    close = nearest(name, PLANNED)
    raise PippinError(
        f"no precision '{name}'",
        where="--precision",
        fix=f"did you mean '{close}'?" if close else f"one of {', '.join(PLANNED)}",
    )


def _framework(name: str) -> Framework:
    if name not in FRAMEWORKS:
        close = nearest(name, FRAMEWORKS)
        fix = f"did you mean '{close}'?" if close else f"one of {', '.join(FRAMEWORKS)}"
        raise PippinError(f"no framework '{name}'", where="--framework", fix=fix)
    return FRAMEWORKS[name]


def find_fleet(catalog: Catalog, chip: str | None, fleet: str | None, chips: int | None) -> tuple[Fleet, int]:
    """The fleet asked for, and how many of its chips.

    Raises:
        PippinError: neither or both, an unknown name, no number of chips, or one that makes no sense.
    """
    if (chip is None) == (fleet is None):
        raise PippinError(
            "give --chip or --fleet, one of them",
            fix=f"as in --chip {'trn2' if fleet is None else fleet} --chips 4096",
        )
    found = catalog.fleet(fleet) if fleet else catalog.fleet_of_chip(chip or "")
    count = chips if chips is not None else found.chips_at_most
    if count is None:
        raise PippinError("how many chips?", where="--chips", fix="as in --chips 4096")
    if count < 1:
        raise PippinError(f"{count:,} chips train nothing", where="--chips", fix="give at least 1")
    return found, count
