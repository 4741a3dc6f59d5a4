"""A trace of a few steps, and what the metrics see inside a step."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pippin.errors import PippinError
from pippin.train.ledger import read_ledger
from pippin.train.loop import pretrain
from pippin.train.metrics import read_metrics
from pippin.train.observer import Observer
from pippin.train.profile import FOLDER, ProfileSteps, Tracer
from pippin.train.run import LEDGER, METRICS, RunFolder
from pippin.train.signals import Interrupted, StopRequest


def test_the_steps_are_a_half_open_range() -> None:
    assert ProfileSteps.parse("10:13") == ProfileSteps(10, 13)


@pytest.mark.parametrize("text", ["10", "13:10", "3:3", "0:2", "a:b", "1:2:3", "-1:4", ""])
def test_what_is_no_range_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PippinError, match=r"--profile-steps: .*FIRST:STOP") as caught:
        ProfileSteps.parse(text)
    assert "\n" not in str(caught.value)


def traced(
    bench: Any, folder: Path, steps: str, stop: StopRequest | None = None, observer: Any = None
) -> None:
    job = bench.job(train={"steps": 8})
    with RunFolder(folder, job) as run, Tracer(ProfileSteps.parse(steps), run) as tracer:
        watcher = observer or Observer()
        pretrain(run, bench.machine, bench.dataset, bench.program, watcher, stop or StopRequest(), tracer)


def steps_in(path: Path) -> set[int]:
    """The steps that a trace holds, read as a browser would."""
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert any(
        event.get("name", "").startswith(("dot", "jit", "PjRt", "Execute", "Thunk")) for event in events
    )
    return {int(event["args"]["step_num"]) for event in events if event.get("name") == "step"}


def test_the_trace_holds_the_steps_asked_for_and_no_other(bench: Any, tmp_path: Path) -> None:
    traced(bench, tmp_path / "run", "3:5")
    (trace,) = (tmp_path / "run" / FOLDER).iterdir()
    assert trace.name == "steps_3-4.json.gz"
    assert steps_in(trace) == {3, 4}
    spans = read_ledger(tmp_path / "run" / LEDGER)
    named = [span["name"] for span in spans if span["category"] == "evaluation"]
    assert named[:2] == ["trace begins", "trace written"]
    assert all(later["start"] == earlier["end"] for earlier, later in pairwise(spans))


def test_a_stop_in_the_middle_still_writes_what_was_traced(bench: Any, stop_at: Any, tmp_path: Path) -> None:
    observer = stop_at(4)
    with pytest.raises(Interrupted):
        traced(bench, tmp_path / "run", "3:7", observer.stop, observer)
    (trace,) = (tmp_path / "run" / FOLDER).iterdir()
    assert steps_in(trace) == {3, 4}


def test_steps_that_never_run_are_not_passed_over_in_silence(bench: Any, tmp_path: Path) -> None:
    job = bench.job(train={"steps": 2})
    with RunFolder(tmp_path / "run", job) as run, Tracer(ProfileSteps.parse("10:13"), run) as tracer:
        pretrain(run, bench.machine, bench.dataset, bench.program, Observer(), StopRequest(), tracer)
        assert tracer.missed
    assert not (tmp_path / "run" / FOLDER).exists()


def test_every_step_says_how_long_it_waited_and_what_it_needed(finished: Any) -> None:
    lines = read_metrics(finished.folder / METRICS)
    assert all(0 <= line["input_wait_seconds"] < 10 for line in lines)
    peaks = [line["peak_memory_bytes"] for line in lines]
    assert peaks == sorted(peaks)
    assert peaks[0] > 50 << 20  # an interpreter with JAX in it
