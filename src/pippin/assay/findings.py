"""From what an assay found to the report: every number in its place, every unknown with its reason."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pippin.assay.microbenchmarks import Bandwidth, MatmulRate, best_rate
from pippin.assay.references import MEANING, References
from pippin.catalog import why_no_peak
from pippin.data.dataset import Dataset
from pippin.job import Job
from pippin.models.counts import (
    FLOP_DEFINITION,
    num_embedding_parameters,
    num_parameters,
    training_flops_per_token,
)
from pippin.report.schema import SCHEMA_VERSION, Report
from pippin.train.account import Account, finished_steps
from pippin.train.setup import Machine, mfu, versions

_MOST_LOSS_POINTS = 500
_WINDOWS = 10


@dataclass(frozen=True)
class Request:
    """What the user asked for. The price is in US dollars an hour of the whole machine."""

    minutes: float = 3.0
    model: str | None = None
    data: str = "sotu"
    price_per_hour: float | None = None
    seed: int = 0
    command: tuple[str, ...] = ("pippin", "assay")


@dataclass(frozen=True)
class Metered:
    """Energy of the training. `joules` is None where `reason` says why."""

    joules: float | None
    meter: str | None
    scope: str | None
    reason: str


@dataclass(frozen=True)
class SampleText:
    """What the model wrote after a prompt."""

    prompt: str
    text: str
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Findings:
    """Everything the report is made from."""

    request: Request
    machine: Machine
    job: Job
    preset: str
    preset_reason: str
    dataset: Dataset
    account: Account
    spans: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    rates: list[MatmulRate]
    bandwidth: Bandwidth
    references: References
    sample: SampleText
    summary: dict[str, Any]
    energy: Metered
    train_seconds: float


class _Unknown(dict[str, str]):
    """Collects the reason of every null."""

    def known(self, path: str, value: Any, reason: str) -> Any:
        """The value; where it is None, its reason is noted."""
        if value is None:
            self[path] = reason
        return value


def build_report(found: Findings) -> Report:
    """Makes the report. Rates are those of the ledger; nothing is measured here."""
    unknown = _Unknown()
    job, rate = found.job, found.account.tokens_per_second
    assert rate is not None and found.account.tokens_per_second_end_to_end is not None
    flops = training_flops_per_token(job.shape, job.train.sequence_length)
    delivered = flops * rate
    measured = best_rate(found.rates, found.machine.choices.compute_dtype)
    peak = measured.flops_per_second if measured else None
    share = unknown.known(
        "measured_peak_share",
        delivered / (peak * found.machine.num_chips) if peak else None,
        "no matrix product ran in the compute dtype",
    )
    return Report.model_validate(
        {
            "schema_version": SCHEMA_VERSION,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "pippin_version": versions()["pippin"],
            "versions": versions(),
            "job_hash": job.hash,
            "data_sha256": found.dataset.sha256,
            "seed": job.train.seed,
            "command": list(found.request.command),
            "chip": _chip(found, unknown),
            "workload": _workload(found),
            "minutes_requested": found.request.minutes,
            "steps": found.account.steps,
            "tokens": found.account.tokens,
            "wall_seconds": found.account.wall_seconds,
            "train_seconds": found.train_seconds,
            "tokens_per_second": rate,
            "tokens_per_second_end_to_end": found.account.tokens_per_second_end_to_end,
            "seconds_by_category": found.account.seconds_by_category,
            "goodput": found.account.seconds_by_category["step"] / found.account.wall_seconds,
            "flops_per_token": flops,
            "model_flops_per_second": delivered,
            "mfu": _mfu(found, rate, delivered, unknown),
            "measured_peak_share": share,
            "basis": _basis(found, measured, unknown),
            "matmul": _matmul(found.rates, unknown),
            "memory_bandwidth": _bandwidth(found.bandwidth, unknown),
            **_curves(found.metrics),
            "step_seconds": _step_seconds(found.spans),
            "held_out": _held_out(found, unknown),
            "sample": asdict(found.sample),
            "price": _price(found, rate, unknown),
            "energy": _energy(found, unknown),
            "parameter_sha256": found.summary["parameter_sha256"],
            "unknown": unknown,
        }
    )


def _chip(found: Findings, unknown: _Unknown) -> dict[str, Any]:
    chip, known, rules = found.machine.chip, found.machine.known, found.machine.rules
    fields: dict[str, Any] = {
        name: unknown.known(
            f"chip.{name}", getattr(chip, name), chip.unknown.get(name, "the system does not say")
        )
        for name in ("name", "platform", "device_kind", "cores", "physical_cores", "simd", "memory_bytes")
    }
    return fields | {
        "num_devices": chip.num_devices,
        "catalog_id": unknown.known(
            "chip.catalog_id", known and known.chip_id, f"the catalog has no entry for {chip.device_kind}"
        ),
        "unit": known.unit if known else ("machine" if chip.platform == "cpu" else "device"),
        "rules": {
            "rule_name": rules.rule_name,
            **asdict(found.machine.choices),
            "prng": rules.prng,
            "why": rules.why,
        },
    }


def _workload(found: Findings) -> dict[str, Any]:
    shape, train, manifest = found.job.shape, found.job.train, found.dataset.manifest
    return {
        "preset": found.preset,
        "preset_reason": found.preset_reason,
        "num_parameters": num_parameters(shape),
        "num_embedding_parameters": num_embedding_parameters(shape),
        "sequence_length": train.sequence_length,
        "batch_size": train.batch_size,
        "num_layers": shape.num_layers,
        "d_model": shape.d_model,
        "vocab_size": shape.vocab_size,
        "corpus": manifest.name,
        "corpus_licence": manifest.licence,
        "corpus_source": manifest.source,
        "train_tokens_available": manifest.splits.train.tokens,
        "epochs": found.account.tokens / manifest.splits.train.tokens,
    }


def _mfu(found: Findings, rate: float, delivered: float, unknown: _Unknown) -> float | None:
    rated = found.machine.peak_flops_per_second
    why = _why_no_peak(found)
    if rated and delivered > rated:
        why = f"the share of the rated peak would be {delivered / rated:.2f}: the catalog's peak is wrong"
    share: float | None = unknown.known("mfu", mfu(found.job, found.machine, rate), why)
    return share


def _why_no_peak(found: Findings) -> str:
    chip = found.machine.chip
    # A CPU's device kind is just "cpu"; its name says which it is.
    named = chip.name if chip.platform == "cpu" else chip.device_kind
    return why_no_peak(found.machine.known, found.machine.choices.compute_dtype, device_kind=named)


def _basis(found: Findings, measured: MatmulRate | None, unknown: _Unknown) -> dict[str, Any]:
    peak, why = found.machine.peak, _why_no_peak(found)
    rated = {
        "peak_tflops": peak and peak.tflops,
        "peak_dtype": peak and peak.dtype,
        "peak_source": peak and peak.source,
        "peak_date": peak and peak.date.isoformat(),
        "peak_unit": peak and peak.unit,
    }
    method = measured and (
        f"median of {measured.repeats} timed products of {measured.m} x {measured.k} by "
        f"{measured.k} x {measured.n}, float32 result; the highest of the shapes measured"
    )
    own = {
        "measured_peak_flops_per_second": measured and measured.flops_per_second,
        "measured_peak_dtype": measured and measured.dtype,
        "measured_peak_method": method,
    }
    return {
        "flop_definition": FLOP_DEFINITION,
        "compute_dtype": found.machine.choices.compute_dtype,
        **{name: unknown.known(f"basis.{name}", value, why) for name, value in rated.items()},
        **{
            name: unknown.known(f"basis.{name}", value, "no matrix product ran in the compute dtype")
            for name, value in own.items()
        },
        "tokens_per_second_definition": (
            "tokens of the steps after the first over the time of those steps' spans"
        ),
        "tokens_per_second_end_to_end_definition": (
            "all tokens trained on over all wall time from the start of the process to the end of the "
            "ledger: data, microbenchmarks, compile, steps, saves, validation, references and sample included"
        ),
    }


def _matmul(rates: list[MatmulRate], unknown: _Unknown) -> list[dict[str, Any]]:
    rows = []
    for index, rate in enumerate(rates):
        row = asdict(rate)
        reason = row.pop("reason") or "not measured"
        rows.append(
            {name: unknown.known(f"matmul.{index}.{name}", value, reason) for name, value in row.items()}
        )
    return rows


def _bandwidth(bandwidth: Bandwidth, unknown: _Unknown) -> dict[str, Any]:
    names = ("bytes_per_second", "low", "high", "method", "array_bytes")
    reason = f"{bandwidth.repeats} repeats are too few for an interval"
    return {
        name: unknown.known(f"memory_bandwidth.{name}", getattr(bandwidth, name), reason) for name in names
    }


def _curves(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    stride = -(-len(metrics) // _MOST_LOSS_POINTS)
    thinned = [line for line in metrics if line["step"] % stride == 0 or line["step"] in (1, len(metrics))]
    return {
        "losses": [{name: line[name] for name in ("step", "tokens", "loss")} for line in thinned],
        "validations": [
            {
                "step": line["step"],
                "tokens": line["tokens"],
                "bits_per_byte": line["validation_bits_per_byte"],
            }
            for line in metrics
            if "validation_bits_per_byte" in line
        ],
    }


def _step_seconds(spans: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures over the steps after the first, and the rate in ten separate windows of them."""
    steps = finished_steps(spans)[1:]
    seconds = np.array([span["end"] - span["start"] for span in steps])
    tokens = np.array([span["tokens"][1] - span["tokens"][0] for span in steps])
    windows = [
        {
            "start_step": steps[part[0]]["step"],
            "stop_step": steps[part[-1]]["step"] + 1,
            "tokens_per_second": float(tokens[part].sum() / seconds[part].sum()),
        }
        for part in np.array_split(np.arange(len(steps)), min(_WINDOWS, len(steps)))
    ]
    p10, median, p90 = np.percentile(seconds, [10, 50, 90]).tolist()
    return {"median": median, "p10": p10, "p90": p90, "windows": windows}


def _held_out(found: Findings, unknown: _Unknown) -> dict[str, Any]:
    bits, split = found.summary["validation_bits_per_byte"], found.dataset.manifest.splits.validation
    scores = asdict(found.references)
    reasons = scores.pop("unknown")
    return {
        "bits_per_byte": bits,
        "utf8_bytes": split.utf8_bytes,
        "tokens": split.tokens - split.documents,  # the boundaries are not text
        "documents": split.documents,
        **{
            f"{name}_bits_per_byte": unknown.known(
                f"held_out.{name}_bits_per_byte", value, reasons.get(name, "")
            )
            for name, value in scores.items()
        },
        "fewer_bits_than_xz": 1 - bits / found.references.xz,
        "meaning": MEANING,
    }


def _price(found: Findings, rate: float, unknown: _Unknown) -> dict[str, Any]:
    price = found.request.price_per_hour
    given = price is not None
    end_to_end = found.account.tokens_per_second_end_to_end
    fields = {
        "usd_per_hour": price,
        "kind": "as given by the user" if given else None,
        "date": datetime.date.today().isoformat() if given else None,
        "source": "--price-per-hour" if given else None,
        "usd_per_million_tokens": price * 1e6 / (3600 * rate) if price is not None else None,
        "usd_per_million_tokens_end_to_end": price * 1e6 / (3600 * end_to_end)
        if price is not None and end_to_end
        else None,
    }
    why = "no price was given: see --price-per-hour"
    known = {name: unknown.known(f"price.{name}", value, why) for name, value in fields.items()}
    known["region"] = unknown.known("price.region", None, "the price was given without one" if given else why)
    return known | {"scope": "the whole machine, by the hour"}


def _energy(found: Findings, unknown: _Unknown) -> dict[str, Any]:
    energy = found.energy
    fields = {
        "joules": energy.joules,
        "joules_per_token": energy.joules / found.account.tokens if energy.joules is not None else None,
        "meter": energy.meter,
        "scope": energy.scope,
    }
    return {name: unknown.known(f"energy.{name}", value, energy.reason) for name, value in fields.items()}
