"""The report's sections of the training run: curves, steps, held-out scores, price and energy."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import Any

import numpy as np

from pippin.assay.findings import Findings, Unknown
from pippin.assay.numerics.repeats import REPEAT_CHECK
from pippin.assay.references import MEANING
from pippin.assay.traced import TRACE
from pippin.train.account import finished_steps

_MOST_LOSS_POINTS = 500


def curves(metrics: list[dict[str, Any]]) -> dict[str, Any]:
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


def median_step(spans: list[dict[str, Any]]) -> float:
    """Seconds of the median step, the first left out."""
    return float(step_seconds_section(spans)["median"])


def step_seconds_section(spans: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures over the steps after the first."""
    seconds = [span["end"] - span["start"] for span in finished_steps(spans)[1:]]
    p10, median, p90 = np.percentile(seconds, [10, 50, 90]).tolist()
    return {"median": median, "p10": p10, "p90": p90}


def held_out_section(found: Findings, unknown: Unknown) -> dict[str, Any]:
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


def price_section(found: Findings, rate: float, unknown: Unknown) -> dict[str, Any]:
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
    unlisted = f"the catalog has no entry for {found.machine.chip.device_kind}"
    known["catalog"] = unknown.known("price.catalog", found.prices, unlisted)
    return known | {"scope": "the whole machine, by the hour"}


def sample_section(found: Findings, unknown: Unknown) -> dict[str, Any] | None:
    """What the model wrote; None where the device refused to let it."""
    if isinstance(found.sample, str):
        unknown.known("sample", None, found.sample)
        return None
    return asdict(found.sample)


def energy_section(found: Findings, unknown: Unknown) -> dict[str, Any]:
    """Of the training alone: what --full does between its steps is of the assay, not of the training."""
    energy = found.energy
    joules = energy.without([span for span in found.spans if span["name"] in (REPEAT_CHECK, TRACE)])
    fields = {
        "joules": joules,
        "joules_per_token": joules / found.account.tokens if joules is not None else None,
        "meter": energy.meter,
        "scope": energy.scope,
    }
    reason = energy.why_no_windows
    return {name: unknown.known(f"energy.{name}", value, reason) for name, value in fields.items()}
