"""What one real assay leaves behind, and that it adds up."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pippin.assay.findings import ONLY_FULL
from pippin.job import load_job
from pippin.models.counts import training_flops_per_token
from pippin.report.schema import load_report
from pippin.train.metrics import read_metrics


def spans_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def test_both_rates_come_from_the_ledger_alone(assayed: Any) -> None:
    """The issue's definitions, written out again: nothing of Pippin's own account is used."""
    spans = spans_of(assayed.folder)
    steps = [span for span in spans if span["category"] == "step"]
    count = [span["tokens"][1] - span["tokens"][0] for span in steps]
    seconds = [span["end"] - span["start"] for span in steps]
    wall = spans[-1]["end"] - spans[0]["start"]
    assert assayed.report.tokens_per_second == pytest.approx(sum(count[1:]) / sum(seconds[1:]), rel=0.01)
    assert assayed.report.tokens_per_second_end_to_end == pytest.approx(sum(count) / wall, rel=0.01)
    assert assayed.report.tokens_per_second_end_to_end < assayed.report.tokens_per_second


def test_the_ledger_has_every_second_once(assayed: Any) -> None:
    spans = spans_of(assayed.folder)
    for before, after in itertools.pairwise(spans):
        assert 0 <= after["start"] - before["end"] <= 0.1
    by_category = assayed.report.seconds_by_category.model_dump()
    assert {span["category"] for span in spans} <= by_category.keys()
    assert sum(by_category.values()) == pytest.approx(assayed.report.wall_seconds, rel=0.01)
    steps = [span for span in spans if span["category"] == "step"]
    assert [span["step"] for span in steps] == list(range(1, assayed.report.steps + 1))
    assert [span["tokens"][0] for span in steps[1:]] == [span["tokens"][1] for span in steps[:-1]]


def test_wall_time_is_that_of_the_command(assayed: Any) -> None:
    """Within 2 % in an assay of minutes. In this one of seconds the interpreter's start, and drawing the page
    once the ledger is closed, count for more; on a busy machine they take seconds themselves."""
    assert assayed.wall_seconds - 5 < assayed.report.wall_seconds <= assayed.wall_seconds


def test_the_report_agrees_with_the_job_and_the_run(assayed: Any) -> None:
    report, job = assayed.report, load_job(assayed.folder / "job.toml")
    summary = json.loads((assayed.folder / "summary.json").read_text())
    metrics = read_metrics(assayed.folder / "metrics.jsonl")
    assert report.job_hash == job.hash == summary["job_hash"]
    assert report.seed == job.train.seed == 3
    assert report.steps == job.train.steps == len(metrics) >= 20
    assert report.parameter_sha256 == summary["parameter_sha256"]
    assert report.held_out.bits_per_byte == summary["validation_bits_per_byte"]
    assert report.validations[-1].bits_per_byte == report.held_out.bits_per_byte
    flops = training_flops_per_token(job.shape, job.train.sequence_length)
    assert report.model_flops_per_second == pytest.approx(flops * report.tokens_per_second)
    assert len(report.speed.windows) >= 5
    assert not report.full
    assert report.workload.preset == "pippin-3m" and "--model" in report.workload.preset_reason


def test_shares_and_prices_have_their_basis(assayed: Any) -> None:
    report = assayed.report
    peak = report.basis.measured_peak_flops_per_second
    in_dtype = [p.flops_per_second for p in report.matmul if p.dtype == report.basis.compute_dtype]
    assert peak == max(in_dtype)
    assert report.measured_peak_share == pytest.approx(report.model_flops_per_second / peak)
    assert report.price.usd_per_million_tokens == pytest.approx(2.5e6 / 3600 / report.tokens_per_second)
    assert report.price.source == "--price-per-hour" and report.price.date
    if report.chip.platform == "cpu":
        assert report.mfu is None and "no rated peak" in report.unknown["mfu"]
    if report.energy.joules is None:
        assert report.unknown["energy.joules"]


def test_the_training_learns_and_is_set_beside_the_references(assayed: Any) -> None:
    """The orchard's words follow a table: a bigram's entropy is far below a frequency table's."""
    held_out = assayed.report.held_out
    assert held_out.bits_per_byte < held_out.unigram_bits_per_byte
    for name in ("xz", "zstd", "xz_primed", "unigram", "trigram"):
        assert 0 < getattr(held_out, f"{name}_bits_per_byte") < 8
    assert held_out.fewer_bits_than_xz == pytest.approx(
        1 - held_out.bits_per_byte / held_out.xz_bits_per_byte
    )
    assert held_out.meaning.count(".") == 1
    assert math.isfinite(assayed.report.losses[-1].loss)
    assert assayed.report.losses[-1].loss < assayed.report.losses[0].loss


def test_the_sample_continues_held_out_text(assayed: Any) -> None:
    sample = assayed.report.sample
    texts = [path.read_text() for path in assayed.corpus.iterdir()]
    assert sample.prompt and any(text.startswith(sample.prompt) for text in texts)
    assert sample.text.strip()


def test_what_the_terminal_shows(assayed: Any) -> None:
    for words in ("tokens/s", "of measured peak", "held out", "$", str(assayed.folder / "report.html")):
        assert words in assayed.stdout
    assert "\x1b" not in assayed.stdout + assayed.stderr
    assert "validating" in assayed.stderr and "step " in assayed.stderr


def test_the_job_repeats_the_training_bit_for_bit(
    assayed: Any, home: Path, pippin: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    again = home / "again"
    done = pippin("train", str(assayed.folder / "job.toml"), "--out", str(again))
    assert done.returncode == 0, done.stderr
    summary = json.loads((again / "summary.json").read_text())
    assert summary["parameter_sha256"] == assayed.report.parameter_sha256
    losses = [line["loss"] for line in read_metrics(again / "metrics.jsonl")]
    assert losses == [line["loss"] for line in read_metrics(assayed.folder / "metrics.jsonl")]


def test_sample_works_on_an_assay(
    assayed: Any, pippin: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = pippin("sample", str(assayed.folder), "--prompt", "an apple", "--max-tokens", "8")
    assert done.returncode == 0 and done.stdout.startswith("an apple")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--minutes", "0"), "--minutes"),
        (("--minutes", "nan"), "--minutes"),
        (("--minutes", "0.0001"), "too short"),
        (("--price-per-hour", "-1"), "--price-per-hour"),
        (("--model", "pippin-3n"), "did you mean 'pippin-3m'?"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_options_get_one_line(
    options: tuple[str, ...],
    words: str,
    home: Path,
    corpus: Path,
    tmp_path: Path,
    pippin: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    defaults = () if "--data" in options else ("--data", str(corpus))
    model = () if "--model" in options else ("--model", "pippin-3m")
    done = pippin("assay", "--out", str(tmp_path / "out"), *defaults, *model, *options)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1] and done.stderr.splitlines()[-1].startswith("pippin: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "report.json").exists()


def test_an_assay_is_never_overwritten(
    assayed: Any, corpus: Path, pippin: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = {path: path.read_bytes() for path in assayed.folder.iterdir() if path.is_file()}
    done = pippin("assay", "--data", str(corpus), "--out", str(assayed.folder))
    assert done.returncode == 2 and "holds a run already" in done.stderr
    assert {path: path.read_bytes() for path in assayed.folder.iterdir() if path.is_file()} == before


def test_a_stop_keeps_the_training(
    home: Path, corpus: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    out = tmp_path / "out"
    options = ("--minutes", "5", "--model", "pippin-3m", "--data", str(corpus), "--out", str(out))
    process = start("assay", *options)
    metrics, patience = out / "metrics.jsonl", time.monotonic() + 300
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < patience:
        time.sleep(0.1)
    process.terminate()
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 143, stderr
    assert f"pippin train {out / 'job.toml'} --out {out}" in stderr.splitlines()[-1]
    assert list((out / "checkpoints").glob("step_*")) and not (out / "report.json").exists()


def test_the_prediction_was_made_before_the_first_step_and_its_error_is_told(assayed: Any) -> None:
    made = json.loads((assayed.folder / "prediction.json").read_text())
    first = next(span for span in spans_of(assayed.folder) if span["category"] == "step")
    assert datetime.fromisoformat(made["made"]).timestamp() <= first["start"]
    said, report = assayed.report.prediction, assayed.report
    assert said is not None and said.step_seconds == made["step_seconds"]
    assert said.measured_step_seconds == report.step_seconds.median
    assert said.step_error == pytest.approx(report.step_seconds.median / made["step_seconds"] - 1)
    inside = made["step_seconds_low"] <= report.step_seconds.median <= made["step_seconds_high"]
    assert said.step_inside == inside
    assert sum(part.seconds for part in said.parts) == pytest.approx(said.step_seconds)
    if report.chip.platform == "cpu":
        assert "no rated peak" in said.basis and said.mfu is None
    assert abs(said.memory_error) < 0.5


def test_a_target_is_projected_here_and_on_another_chip_which_was_not_measured(assayed: Any) -> None:
    said = assayed.report.projection
    assert said is not None and said.target == "pippin-1b" and said.seconds_to_project < 60
    here, trainium = said.fleets
    assert here.measured and not trainium.measured
    assert here.days_low < here.days < here.days_high
    price = next(cost for cost in said.costs if cost.fleet == here.fleet)
    assert price.usd == pytest.approx(2.5 * 24 * here.days)
    page = (assayed.folder / "report.html").read_text()
    if assayed.report.chip.platform == "cpu":
        assert "says nothing about the price or the speed of Trainium" in page
    assert "no published run of this chip" in trainium.evidence


@pytest.mark.slow
def test_the_assay_in_full(
    home: Path, corpus: Path, tmp_path: Path, pippin: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Through the command, with everything that --full measures."""
    out = tmp_path / "full"
    options = ("--full", "--minutes", "0.3", "--model", "pippin-3m", "--data", str(corpus))
    done = pippin("assay", *options, "--out", str(out))
    assert done.returncode == 0, done.stderr
    report = load_report(out / "report.json")
    assert report.full
    for section in ("microbenchmarks", "waterfall", "numerics", "prediction"):
        assert getattr(report, section) is not None, report.unknown[section]
    assert report.waterfall is not None and report.numerics is not None
    assert report.waterfall.sum_seconds == pytest.approx(report.waterfall.whole_seconds, rel=0.02)
    assert report.numerics.passed is not False, report.numerics.failures
    assert not set(report.unknown.values()) & {ONLY_FULL}
