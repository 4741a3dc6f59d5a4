"""Whole assays one after the other: which are made, which are kept, and what Ctrl-C does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.assay.alike import machine_at_hand
from pippin.assay.repeat import StoppedError, repeat
from pippin.devices import detect
from pippin.errors import PippinError
from pippin.report.schema import SCHEMA_VERSION
from pippin.train.setup import versions

# Stands for `pippin`: says what it was asked, and fails, waits or writes a report as it is told.
FAKE = """
import json, os, signal, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
(out / "asked.json").write_text(json.dumps([os.getpid(), *sys.argv[1:]]))
if os.environ.get("FAKE_FAILS_AT") == out.name:
    sys.exit(3)
if os.environ.get("FAKE_WAITS_AT") == out.name:
    def leave(number, _):
        (out / "signals").open("a").write(f"{number} ")
        sys.exit(128 + number)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    (out / "ready").touch()
    time.sleep(60)
print("what a run prints is not what the whole prints")
(out / "report.json").write_text(os.environ.get("FAKE_REPORT", "{}"))
"""
HERE = {
    "schema_version": "2.0",
    "versions": {"jax": "0.10.2", "numpy": "2.4.1"},
    "chip": {"name": "Xeon", "cores": 2},
}
REPORT = HERE | {
    "chip": {"name": "Xeon", "cores": 2, "simd": ["avx2"]},
    "workload": {"preset": "pippin-3m"},
    "seed": 0,
}


@pytest.fixture
def make() -> Callable[..., list[str]]:
    def run(
        out: Path,
        times: int = 3,
        options: tuple[str, ...] = ("--minutes", "1"),
        here: dict[str, Any] | None = None,
    ) -> list[str]:
        told: list[str] = []
        command = (sys.executable, "-c", FAKE)
        runs = repeat(options, times, out, told.append, command=command, at_hand=lambda: here or {})
        assert runs == [out / f"run-{number}" for number in range(1, times + 1)]
        return told

    return run


def asked(run: Path) -> list[str]:
    return list(json.loads((run / "asked.json").read_text()))


def test_each_run_is_a_process_and_a_folder_of_its_own(
    make: Callable[..., list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = make(tmp_path / "out")
    runs = [tmp_path / f"out/run-{number}" for number in (1, 2, 3)]
    assert len({asked(run)[0] for run in runs} - {os.getpid()}) == 3
    for run in runs:
        assert asked(run)[1:] == ["assay", "--minutes", "1", "--out", str(run)]
    assert [line.partition(":")[0] for line in told] == ["run 1 of 3", "run 2 of 3", "run 3 of 3"]
    assert capfd.readouterr().out == ""


def test_finished_runs_are_kept_and_an_unfinished_one_is_set_aside(
    make: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("FAKE_FAILS_AT", "run-2")
    with pytest.raises(StoppedError) as stopped:
        make(out)
    assert stopped.value.status == 3 and not (out / "run-3").exists()
    first = asked(out / "run-1")
    monkeypatch.delenv("FAKE_FAILS_AT")
    told = make(out, times=4)
    assert "kept from before" in told[0] and asked(out / "run-1") == first
    assert (out / "run-2-unfinished-1/asked.json").exists()
    assert all((out / f"run-{number}/report.json").exists() for number in (1, 2, 3, 4))


def test_other_options_and_other_files_are_refused(make: Callable[..., list[str]], tmp_path: Path) -> None:
    make(tmp_path / "out", times=2)
    with pytest.raises(PippinError, match="begun with --minutes 1"):
        make(tmp_path / "out", options=("--minutes", "2"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(PippinError, match="holds other files"):
        make(tmp_path / "other")
    with pytest.raises(PippinError, match="--repeat: 1 is not a number of runs"):
        make(tmp_path / "new", times=1)


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"chip": {"name": "Epyc", "cores": 2}}, "chip Xeon, not Epyc as here"),
    ({"chip": {"name": "Xeon", "cores": 1}}, "number of cores 2, not 1 as here"),
    ({"versions": {"jax": "0.11.0", "numpy": "2.4.1"}}, "jax 0.10.2, not 0.11.0 as here"),
    ({"schema_version": "3.0"}, "schema version 2.0, not 3.0 as here"),
]


@pytest.mark.parametrize(("change", "says"), OTHERS)
def test_a_kept_run_of_another_machine_or_version_is_refused(
    make: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.setenv("FAKE_REPORT", json.dumps(REPORT))
    make(tmp_path / "out", times=2, here=HERE)
    assert "kept from before" in make(tmp_path / "out", times=2, here=HERE)[0]
    with pytest.raises(PippinError, match=says) as refused:
        make(tmp_path / "out", times=3, here=HERE | change)
    assert "run-1: this run, kept from before" in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "out/run-3").exists()  # refused before any time went into it


def test_a_run_of_another_job_is_refused(
    make: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options are the same, and the text that they name has changed."""
    monkeypatch.setenv("FAKE_REPORT", json.dumps(REPORT | {"data_sha256": "a" * 64}))
    make(tmp_path / "out", times=2, here=HERE)
    monkeypatch.setenv("FAKE_REPORT", json.dumps(REPORT | {"data_sha256": "b" * 64}))
    with pytest.raises(PippinError, match="run-3: this run has text bbbbbbbbbbbb, not aaaaaaaaaaaa as run-1"):
        make(tmp_path / "out", times=3, here=HERE)
    with pytest.raises(PippinError, match="run-3: this run has text"):  # and is not kept as if it belonged
        make(tmp_path / "out", times=3, here=HERE)


def test_what_a_report_says_of_this_machine_is_what_is_found_of_it() -> None:
    found = machine_at_hand()
    chip, here = detect(), versions()
    assert found["versions"] == here and found["schema_version"] == SCHEMA_VERSION
    assert (found["chip"]["name"], found["chip"]["cores"]) == (chip.name, chip.cores)
    assert found["chip"]["platform"] == "cpu" and found["chip"]["num_devices"] >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_run_once_and_ends_the_whole(tmp_path: Path, number: signal.Signals) -> None:
    code = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from pippin.assay.repeat import StoppedError, repeat
        try:
            repeat([], 3, Path({str(tmp_path / "out")!r}), print, command=(sys.executable, "-c", {FAKE!r}))
        except StoppedError as stop:
            sys.exit(stop.status)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "FAKE_WAITS_AT": "run-2"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        ready, patience = tmp_path / "out/run-2/ready", time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < patience
            time.sleep(0.01)
        os.killpg(process.pid, number)  # as a terminal does: to the whole group
        assert process.wait(60) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "out/run-2/signals").read_text() == f"{int(number)} "
    assert not (tmp_path / "out/run-3").exists()
