"""The assay, as a recipe: find the chip, measure what it can do, pretrain on it, say what came out."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax

from pippin.assay import projection
from pippin.assay.build import build_report
from pippin.assay.findings import Findings, Metered, Request, SampleText
from pippin.assay.foresight import at_hand, calibration_of, memory_of_a_step, predict
from pippin.assay.in_full import InFull, measure_in_full
from pippin.assay.microbenchmarks import (
    Bandwidth,
    MatmulRate,
    Shape,
    large_squares,
    measure_matmul,
    measure_memory_bandwidth,
)
from pippin.assay.numerics.at_hand import assay_numerics, watch_for_errors
from pippin.assay.numerics.repeats import Repeating
from pippin.assay.pricing import catalog_prices
from pippin.assay.references import reference_scores
from pippin.assay.refusals import attempted
from pippin.assay.traced import StepTraces
from pippin.assay.training import median_step
from pippin.assay.workload import Probe, choose_preset, draft_job, probe, steps_for
from pippin.data.dataset import Dataset
from pippin.data.tokenizer import decode
from pippin.devices import EnergyTrace, MeterError, NoMeter, find_meter, peak_memory_bytes
from pippin.errors import PippinError
from pippin.job import DataTable, Job
from pippin.report.page import prepare, write_report
from pippin.report.schema import Report
from pippin.train.account import account
from pippin.train.ledger import read_ledger
from pippin.train.loop import Trained, pretrain
from pippin.train.metrics import read_metrics
from pippin.train.observer import Observer
from pippin.train.profile import Marks
from pippin.train.run import JOB, LEDGER, METRICS, RunFolder
from pippin.train.sample import Sampler, Sampling
from pippin.train.setup import Machine, find_machine, open_data, training_batches
from pippin.train.signals import Interrupted, StopRequest

_DTYPES = ("float32", "bfloat16", "float16")
_PROBE_SECONDS = 8.0
_SAMPLING = Sampling(max_tokens=160, temperature=0.8, top_p=0.95, seed=0)
_PROMPT_TOKENS = 8
# Validations in mid-run make the learning curve; together they are worth a tenth of the run's time.
_MOST_VALIDATIONS = 4
_VALIDATION_SHARE = 0.1
_TRAINED = "after the training, which is finished and saved; no report was written"


def default_folder(now: datetime.datetime) -> Path:
    """`assays/` and the local date and time."""
    return Path("assays") / now.strftime("%Y-%m-%d-%H%M%S")


def check(request: Request) -> None:
    """Refuses times and prices that make no sense.

    Raises:
        PippinError: names the option.
    """
    if not 0 < request.minutes < float("inf"):
        raise PippinError(f"{request.minutes} is not a time above 0", where="--minutes")
    price = request.price_per_hour
    if price is not None and not 0 <= price < float("inf"):
        raise PippinError(f"{price} is not a price from 0 up", where="--price-per-hour")


def assay(
    request: Request, out: Path, observer: Observer | None = None, *, begun: float | None = None
) -> Report:
    """Assays the chip at hand and writes `report.json` and `report.html` beside the run's own files.

    Args:
        request: what to do.
        out: a new or empty folder.
        observer: told of progress.
        begun: Unix time from which wall time counts; a command gives its process's start.

    Raises:
        PippinError: the folder holds something, the corpus cannot be used, the time is too short, or
            the training failed.
        Interrupted: Ctrl-C or SIGTERM.
    """
    check(request)
    observer, calibration = observer or Observer(), calibration_of(request.calibration)
    asked = projection.read(request)
    with StopRequest() as stop, RunFolder(out, None, begun=begun) as run:
        ledger = run.ledger
        with ledger.span("restart", "device"):
            machine = find_machine()
            prices = catalog_prices(machine)
            preset, why = choose_preset(request.model, machine)
            request = _resolved(request)
            draft = draft_job(preset, request.data, request.seed, num_devices=machine.chip.num_devices)
        with ledger.span("data", "corpus"):
            dataset = open_data(draft, observer)
        _leave_if_asked(stop)
        observer.phase("compiling, and timing a few steps")
        probed = probe(draft, machine, dataset, ledger, seconds=_PROBE_SECONDS, warn=observer.warn)
        job = _plan(request, preset, probed, dataset)
        _leave_if_asked(stop)
        with ledger.span("evaluation", "microbenchmarks"):
            rates, bandwidth = _microbenchmarks(draft, machine, observer)
            in_full = _in_full(job, probed, dataset, machine.rules.fp8, observer) if request.full else None
            watch = watch_for_errors(machine.choices) if request.full else None
        _leave_if_asked(stop)
        run.begin(job)
        with ledger.span("evaluation", "prediction"):
            here = at_hand(machine, rates, bandwidth)
            predicted = predict(run.job, here, calibration, out)
        peak = peak_memory_bytes(jax.local_devices())
        before = ledger.now()
        told = Repeating(watch, ledger, observer) if watch else observer
        traces = StepTraces(probed.program, ledger, job.train.steps, probed.step_seconds)
        with traces if request.full else nullcontext() as marks:
            trained, energy = _train(run, machine, dataset, probed, told, stop, marks)
        train_seconds = ledger.now() - before
        peaks = (peak, peak_memory_bytes(jax.local_devices()))
        _leave_if_asked(stop, _TRAINED)
        with ledger.span("evaluation", "reference compressors and counts"):
            references = reference_scores(dataset, observer)
        _leave_if_asked(stop, _TRAINED)
        with ledger.span("evaluation", "sample"):
            text = attempted(lambda: _sample(run.job, trained, dataset, observer))
        _leave_if_asked(stop, _TRAINED)
        with ledger.span("evaluation", "projection"):
            step, watts = median_step(read_ledger(out / LEDGER)), energy.watts(train_seconds)
            projected = projection.projected(asked, request, job, preset, here, calibration, step, watts)
        numerics = None
        if watch:
            with ledger.span("evaluation", "numerics"):
                leave = partial(_leave_if_asked, stop, _TRAINED)
                numerics = assay_numerics(probed.program, trained, dataset, watch, observer, leave)
        observer.phase("writing the report")
        with ledger.span("evaluation", "report"):
            prepare()
    # The ledger is closed: what it adds up to is what the report says.
    spans = read_ledger(out / LEDGER)
    report = build_report(
        Findings(
            request=request,
            machine=machine,
            job=run.job,
            preset=preset,
            preset_reason=why,
            dataset=dataset,
            account=account(spans),
            spans=spans,
            metrics=read_metrics(out / METRICS),
            rates=rates,
            bandwidth=bandwidth,
            references=references,
            sample=text,
            summary=trained.summary,
            energy=energy,
            train_seconds=train_seconds,
            predicted=predicted,
            projected=projected,
            step_memory=memory_of_a_step(machine, probed.program, peaks),
            prices=prices,
            in_full=in_full,
            traced=traces.traced if request.full else None,
            numerics=numerics,
        )
    )
    write_report(report, out)
    return report


def _resolved(request: Request) -> Request:
    """With the whole path of a corpus of files, so that the job can be repeated from any folder."""
    local = Path(request.data).exists() or request.data != DataTable().corpus
    return replace(request, data=str(Path(request.data).resolve())) if local else request


def _leave_if_asked(
    stop: StopRequest, kept: str = "before the training began; there is nothing to keep"
) -> None:
    if stop.requested:
        raise Interrupted(stop.requested, f"stopped {kept}")


def _microbenchmarks(draft: Job, machine: Machine, observer: Observer) -> tuple[list[MatmulRate], Bandwidth]:
    """Rates of large squares in every dtype, of the model's own shapes in the compute dtype; bandwidth."""
    observer.phase("measuring matrix products and memory")

    def tell(done: int, total: int, _: str) -> None:
        observer.progress(done, total)

    shape, rows = draft.shape, draft.tokens_per_step
    own: list[Shape] = [(rows, shape.d_model, shape.ffn_dim), (rows, shape.d_model, shape.vocab_size)]
    rates = measure_matmul(_DTYPES, large_squares(machine.chip.memory_bytes), progress=tell)
    rates += measure_matmul([machine.choices.compute_dtype], own, progress=tell)
    return rates, measure_memory_bandwidth(memory_bytes=machine.chip.memory_bytes)


def _in_full(
    job: Job, probed: Probe, dataset: Dataset, fp8: Sequence[str], observer: Observer
) -> InFull | str:
    """The step's parts alone, on the first batch of the run, and the device's copies; or why not."""
    batch = training_batches(job, dataset).at(0)
    return attempted(lambda: measure_in_full(probed.program, batch, observer, fp8=fp8))


def _plan(request: Request, preset: str, probed: Probe, dataset: Dataset) -> Job:
    """The job with as many steps as the time holds, so that its schedule ends with the time."""
    seconds = 60 * request.minutes
    steps = steps_for(seconds, probed.step_seconds)
    # Windows overlap by half: each brings half a sequence of new tokens.
    advance = probed.program.job.train.sequence_length / 2
    validation = dataset.manifest.splits.validation.tokens / advance * probed.window_seconds
    times = min(_MOST_VALIDATIONS, 1 + int(_VALIDATION_SHARE * seconds / validation))
    return draft_job(
        preset,
        request.data,
        request.seed,
        steps=steps,
        batch_size=probed.batch_size,
        evaluate_every_steps=-(-steps // times),
    )


def _train(
    run: RunFolder,
    machine: Machine,
    dataset: Dataset,
    probed: Probe,
    observer: Observer,
    stop: StopRequest,
    marks: Marks | None,
) -> tuple[Trained, Metered]:
    """Pretrains, with the energy meter running where there is one."""
    meter = find_meter(machine.chip.platform)
    try:
        if isinstance(meter, NoMeter):
            trained = pretrain(run, machine, dataset, probed.program, observer, stop, marks)
            return trained, Metered(None, None, None, meter.reason)
        with EnergyTrace(meter, run.ledger.now) as trace:
            trained = pretrain(run, machine, dataset, probed.program, observer, stop, marks)
        try:
            return trained, Metered(meter.read_joules(), meter.name, meter.scope, "", trace)
        except MeterError as error:
            return trained, Metered(None, None, None, str(error))
    except Interrupted as interrupted:
        raise Interrupted(
            interrupted.signal_number,
            f"stopped and saved, without a report; `pippin train {run.path / JOB} --out {run.path}` goes on "
            "with the training",
        ) from interrupted
    finally:
        if not isinstance(meter, NoMeter):
            meter.close()


def _sample(job: Job, trained: Trained, dataset: Dataset, observer: Observer) -> SampleText:
    """Lets the model go on from the first words of a held-out document."""
    observer.phase("writing a sample")
    tokenizer = dataset.tokenizer()
    prompt = decode(tokenizer, next(dataset.documents("validation"))[:_PROMPT_TOKENS])
    assert trained.state is not None
    sampler = Sampler(job, trained.state["parameters"], tokenizer)
    text = "".join(sampler.stream(prompt, _SAMPLING))
    return SampleText(prompt, text, _SAMPLING.temperature, _SAMPLING.top_p, _SAMPLING.seed)
