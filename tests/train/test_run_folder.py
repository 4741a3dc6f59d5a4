from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.data.shards import build
from pippin.errors import PippinError
from pippin.train.ledger import read_ledger
from pippin.train.run import RunFolder


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_refused(bench: Any, folder: Path, message: str, **tables: dict[str, Any]) -> None:
    """The error is one line with the folder in it, and the folder stays as it was."""
    before = listing(folder)
    with pytest.raises(PippinError, match=message) as caught, RunFolder(folder, bench.job(**tables)):
        pass
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert listing(folder) == before


def test_another_job_in_the_folder_is_refused(bench: Any, finished: Any) -> None:
    assert_refused(bench, finished.folder, "holds another job", train={"learning_rate": 1e-4})


def test_other_files_in_the_folder_are_refused(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert_refused(bench, tmp_path, "holds other files")


def test_a_run_is_no_new_folder(finished: Any) -> None:
    with pytest.raises(PippinError, match="holds a run already"), RunFolder(finished.folder, None):
        pass


def test_other_saving_and_other_chips_are_the_same_job(bench: Any, finished: Any) -> None:
    job = bench.job(run={"evaluate_every_steps": 3}, chip={"scan_layers": True})
    with RunFolder(finished.folder, job) as run:
        assert run.summary() == finished.trained.summary


def test_a_file_in_the_place_of_the_folder_is_refused(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    for path in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(PippinError, match="a file, not a folder"), RunFolder(path, bench.job()):
            pass
    assert (tmp_path / "run").read_text() == "a file"


def test_one_process_at_a_time(bench: Any, tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path / "run", bench.job()),
        pytest.raises(PippinError, match="another process is running in this folder"),
        RunFolder(tmp_path / "run", bench.job()),
    ):
        pass
    with RunFolder(tmp_path / "run", bench.job()):  # free again
        pass


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    input()
"""


def test_the_lock_goes_with_its_process(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(PippinError, match="another process"), RunFolder(tmp_path / "run", bench.job()):
            pass
        holder.kill()
    with RunFolder(tmp_path / "run", bench.job()):
        pass


@pytest.mark.parametrize("left", [[".lock"], [".lock", ".job.toml.x1y2"], []])
def test_what_a_kill_at_the_very_start_leaves_is_no_obstacle(
    bench: Any, tmp_path: Path, left: list[str]
) -> None:
    for name in left:
        (tmp_path / name).write_text("")
    with RunFolder(tmp_path, bench.job()):
        assert (tmp_path / "job.toml").exists()


def test_a_start_that_fails_before_the_first_step_leaves_the_folder_free(bench: Any, tmp_path: Path) -> None:
    with pytest.raises(PippinError, match="no such corpus"), RunFolder(tmp_path / "run", bench.job()) as run:
        with run.ledger.span("data"):
            pass
        raise PippinError("no such corpus")
    assert set(listing(tmp_path / "run")) <= {".lock"}
    with RunFolder(tmp_path / "run", bench.job(train={"seed": 5})):
        pass


def test_a_failure_after_that_keeps_everything(bench: Any, tmp_path: Path) -> None:
    bench.stop_at(tmp_path / "run", 2)
    assert {"job.toml", "ledger.jsonl", "metrics.jsonl", "run.json"} <= listing(tmp_path / "run").keys()
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "run", bench.job()):
        raise ZeroDivisionError
    assert {"job.toml", "ledger.jsonl", "metrics.jsonl", "run.json"} <= listing(tmp_path / "run").keys()


def test_each_attempt_is_recorded(bench: Any, tmp_path: Path) -> None:
    bench.stop_at(tmp_path / "run", 2)
    bench.stop_at(tmp_path / "run", 4, bench.job(run={"checkpoint_every_steps": 3}))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["job_hash"] == bench.job().hash
    assert record["data_sha256"] == bench.dataset.sha256
    first, second = record["attempts"]
    assert second["started"] > first["started"]
    assert (first["run"]["checkpoint_every_steps"], second["run"]["checkpoint_every_steps"]) == (8, 3)
    assert {"jax", "jaxlib", "numpy", "pippin", "python"} <= first["versions"].keys()
    assert first["chip"]["platform"] and first["choices"]["compute_dtype"] == "float32"


def test_other_data_under_the_same_name_are_refused(bench: Any, tmp_path: Path, data_cache: Path) -> None:
    out, corpus = tmp_path / "run", Path(shutil.copytree(bench.corpus, tmp_path / "orchard"))
    bench.stop_at(out, 9)
    (corpus / "tree05.txt").write_text("something else entirely")
    changed = build(str(corpus), vocab_size=300, validation_fraction=0.15, cache_dir=data_cache)
    before = listing(out / "checkpoints")
    with pytest.raises(PippinError, match="has changed since this run began"):
        bench.train(out, dataset=changed)
    assert listing(out / "checkpoints") == before
    bench.train(out)


def test_the_folder_keeps_job_and_tokenizer(bench: Any, finished: Any) -> None:
    tokenizer = (finished.folder / "tokenizer.json").read_text()
    assert json.loads(tokenizer) == json.loads(bench.dataset.tokenizer().to_str())
    with RunFolder(finished.folder, bench.job()) as run:
        assert run.job.hash == bench.job().hash


def test_a_read_only_folder_is_one_line(bench: Any, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1 << 20)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for folder in (disk, disk / "run"):
        with pytest.raises(PippinError, match="read-only"), RunFolder(folder, bench.job()):
            pass


def test_the_ledger_counts_from_when_the_caller_says(tmp_path: Path, bench: Any) -> None:
    begun = time.time() - 3
    with RunFolder(tmp_path / "run", bench.job(), begun=begun) as run:
        run.ledger.sync()
    assert read_ledger(tmp_path / "run" / "ledger.jsonl")[0]["start"] == pytest.approx(begun, abs=1e-5)


def test_the_command_counts_from_its_own_start() -> None:
    """Imports included, but not the life of a shell that replaced itself by the command."""
    code = "import pippin.cli.main as m; print(m._BEGUN)"
    before = time.time()
    program = f"sleep 1.5; exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    result = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert before + 1.3 <= float(result.stdout) <= time.time()
