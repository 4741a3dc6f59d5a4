from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.train.ledger import CATEGORIES, Ledger, read_ledger

START = 1_700_000_000.0


class Clock:
    """Unix time and the monotonic clock of one machine, moved by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.unix, self.monotonic = START, 50.0
        patch.setattr(time, "perf_counter", lambda: self.monotonic)

    def __call__(self) -> float:
        return self.unix

    def pass_(self, seconds: float) -> None:
        self.unix += seconds
        self.monotonic += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def gaps(spans: list[dict[str, Any]]) -> list[float]:
    """Seconds between each span's end and the start of the next; negative where they overlap."""
    return [later["start"] - earlier["end"] for earlier, later in itertools.pairwise(spans)]


def lengths(spans: list[dict[str, Any]], *names: str) -> list[float]:
    return [round(span["end"] - span["start"], 6) for span in spans if span["name"] in names]


# What happens in a process: time passes, a span of some category ends well or badly, the process dies.
EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 5)),
    st.tuples(st.sampled_from(CATEGORIES), st.floats(0, 5)),
    st.tuples(st.just("fail"), st.floats(0, 5)),
    st.tuples(st.sampled_from(["kill", "stop"]), st.floats(-30, 30)),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(EVENTS, max_size=25))
def test_spans_follow_one_another_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        ledger = Ledger(path, begin=clock() - 1.5, clock=clock)
        for what, seconds in events:
            if what == "wait":
                clock.pass_(seconds)
            elif what in ("kill", "stop"):
                if what == "stop":
                    ledger.close()
                clock.unix += seconds  # a new process, whose clock may have been set back
                clock.monotonic = abs(seconds)
                ledger = Ledger(path, begin=clock() - 0.5, clock=clock)
            else:
                try:
                    with ledger.span("step" if what == "fail" else what):  # type: ignore[arg-type]
                        clock.pass_(seconds)
                        if what == "fail":
                            raise KeyError
                except KeyError:
                    pass
        ledger.close()
    spans = read_ledger(path)
    assert spans[0]["start"] == START - 1.5
    assert gaps(spans) == [0.0] * (len(spans) - 1)
    assert all(span["end"] >= span["start"] for span in spans)
    assert {span["category"] for span in spans} <= set(CATEGORIES)
    assert sum(span.get("failed", False) for span in spans) == sum(what == "fail" for what, _ in events)


def test_a_span_lasts_as_long_as_its_block_and_carries_its_fields(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", begin=START - 2, clock=clock)
    clock.pass_(3)
    with ledger.span("step") as span:
        clock.pass_(0.25)
        span.fields = {"step": 1, "tokens": [0, 64], "digest": "aa"}
    clock.pass_(0.0005)  # too short to be told of: it joins the next
    with ledger.span("data", "corpus"):
        clock.pass_(1)
    ledger.close()
    assert span.seconds == pytest.approx(0.25)
    rows = [
        (s["category"], s["name"], round(s["end"] - s["start"], 6)) for s in read_ledger(ledger_of(tmp_path))
    ]
    assert rows == [
        ("restart", "start of the process", 2.0),
        ("idle", "between spans", 3.0),
        ("step", "step", 0.25),
        ("data", "corpus", 1.0005),
        ("idle", "stopped", 0.0),
    ]
    assert read_ledger(ledger_of(tmp_path))[2]["tokens"] == [0, 64]


def ledger_of(folder: Path) -> Path:
    return folder / "ledger.jsonl"


def test_a_block_left_by_an_exception_is_failed_and_loses_its_fields(tmp_path: Path) -> None:
    ledger = Ledger(ledger_of(tmp_path), begin=time.time())
    with pytest.raises(KeyboardInterrupt), ledger.span("step") as span:
        span.fields = {"step": 7, "tokens": [0, 64]}
        raise KeyboardInterrupt
    with ledger.span("step"):
        pass
    ledger.close()
    failed, well = [s for s in read_ledger(ledger_of(tmp_path)) if s["category"] == "step"]
    assert failed["failed"] is True
    assert "tokens" not in failed and "step" not in failed
    assert "failed" not in well


def test_two_spans_cannot_be_open_at_once(tmp_path: Path) -> None:
    ledger = Ledger(ledger_of(tmp_path), begin=time.time())
    with pytest.raises(RuntimeError, match="'outer' is open already"), ledger.span("data", "outer"):
        ledger.span("step").__enter__()
    ledger.close()


@pytest.mark.parametrize(("stopped", "category"), [(True, "idle"), (False, "restart")])
def test_the_time_between_processes_is_idle_after_a_stop_and_restart_after_a_kill(
    tmp_path: Path, clock: Clock, stopped: bool, category: str
) -> None:
    first = Ledger(ledger_of(tmp_path), begin=START, clock=clock)
    with first.span("step"):
        clock.pass_(2)
    if stopped:
        first.close()
    clock.pass_(60)
    Ledger(ledger_of(tmp_path), begin=clock() - 3, clock=clock).close()
    spans = read_ledger(ledger_of(tmp_path))
    between = next(span for span in spans if span["name"] == "not running")
    assert between["category"] == category
    assert lengths(spans, "not running", "start of the process") == [0.0, 57.0, 3.0]


def test_time_goes_on_when_the_clock_was_set_back_between_processes(tmp_path: Path, clock: Clock) -> None:
    first = Ledger(ledger_of(tmp_path), begin=START, clock=clock)
    with first.span("step"):
        clock.pass_(100)
    first.close()
    clock.unix -= 3600
    second = Ledger(ledger_of(tmp_path), begin=clock() - 1, clock=clock)
    with second.span("step") as span:
        clock.pass_(4)
    second.close()
    spans = read_ledger(ledger_of(tmp_path))
    assert span.seconds == pytest.approx(4)
    assert lengths(spans, "step") == [100.0, 4.0]
    assert min(gaps(spans)) >= 0


def test_a_clock_set_while_a_process_runs_changes_nothing(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(ledger_of(tmp_path), begin=START, clock=clock)
    with ledger.span("step") as span:
        clock.pass_(2)
        clock.unix -= 1000
    ledger.close()
    assert span.seconds == pytest.approx(2)


def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    path = ledger_of(tmp_path)
    Ledger(path, begin=time.time()).close()
    whole = path.read_bytes()
    for torn in (b'{"category": "st', b"\0\0\0\0", b'{"category": "step", "start": 1, "end": 2}'):
        path.write_bytes(whole + torn)
        assert len(read_ledger(path)) == whole.count(b"\n")
        Ledger(path, begin=time.time()).close()
        assert path.read_bytes().startswith(whole + b'{"category": "idle"')
        read_ledger(path)


@pytest.mark.parametrize(
    "damage", [b'{"category": "st', b"[1, 2]", b"", b'{"category": "step"}', b"\xff\xfe"]
)
def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path, damage: bytes) -> None:
    path = ledger_of(tmp_path)
    Ledger(path, begin=time.time()).close()
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], damage, *lines[1:]]))
    with pytest.raises(PippinError, match=r"ledger\.jsonl:2: damaged line"):
        read_ledger(path)
    with pytest.raises(PippinError, match=r"ledger\.jsonl:2: damaged line"):
        Ledger(path, begin=time.time())


def test_every_line_is_on_disk_when_its_span_ends(tmp_path: Path) -> None:
    """A kill loses the open span only."""
    ledger = Ledger(ledger_of(tmp_path), begin=time.time())
    for step in range(3):
        with ledger.span("step") as span:
            span.fields = {"step": step}
        last = json.loads(ledger_of(tmp_path).read_text().splitlines()[-1])
        assert last["step"] == step
    ledger.close()


def test_a_full_disk_leaves_no_half_line(small_disk: Callable[[int], Path]) -> None:
    path = small_disk(8192) / "ledger.jsonl"
    ledger = Ledger(path, begin=time.time())
    (path.parent / "filler").write_bytes(b"x" * 4096)
    with pytest.raises(PippinError, match="no space left"):
        for _ in range(200):
            with ledger.span("data", "n" * 50):
                pass
    assert path.read_bytes().endswith(b"}\n")
    (path.parent / "filler").unlink()
    ledger.close()  # space was made meanwhile: the next line is whole again
    assert read_ledger(path)[-1]["name"] == "stopped"
