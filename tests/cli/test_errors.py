"""Every expected failure of `pippin train`: one line on stderr, status 2, nothing overwritten."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.storage import canonical_sha256
from pippin.train.checkpoint import steps_in


def files_of(folder: Path) -> dict[str, bytes]:
    """Names and contents of all files but the lock, which is empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def assert_one_line(result: Any, *messages: str) -> None:
    """For a process or for an outcome in this one; progress may stand before the line."""
    status = result.returncode if hasattr(result, "returncode") else result.status
    out, err = (result.stdout, result.stderr) if hasattr(result, "stdout") else (result.out, result.err)
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert [line.startswith("pippin: ") for line in lines] == [False] * (len(lines) - 1) + [True], err
    assert "Traceback" not in err
    for message in messages:
        assert message in lines[-1]


@pytest.fixture
def refused(here: Callable[..., Any], job: Path, tmp_path: Path) -> Callable[..., None]:
    """Trains into `out` (a new folder by default), expects these messages, and no file to have changed."""

    def run(
        *messages: str, out: Path | None = None, sets: list[str] | None = None, file: Path | None = None
    ) -> None:
        folder = out or tmp_path / "out"
        before = files_of(folder)
        options = [word for value in sets or [] for word in ("--set", value)]
        outcome = here("train", file or job, "--out", folder, *options)
        assert_one_line(outcome, *messages)
        assert files_of(folder) == before

    return run


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ("train.step=3", ["unknown key 'train.step'", "did you mean 'steps'?"]),
        ("trian.steps=3", ["unknown key 'trian'", "did you mean 'train'?"]),
        ("model.heads=3", ["unknown key 'model.heads'", "did you mean 'num_heads'?"]),
        ("data.vocabulary=300", ["unknown key 'data.vocabulary'"]),
        ("model.preset=pippin-5n", ["no preset named 'pippin-5n'", "did you mean 'pippin-5m'?"]),
        ("train.steps=many", ["train.steps", "'many'"]),
        ("train.steps=0", ["train.steps", "got 0"]),
        ("train.steps", ["'train.steps' is not table.key=value"]),
        ("model.num_heads=3", ["d_model 32 does not divide into num_heads 3"]),
        ("model.num_kv_heads=3", ["num_heads 2 does not divide into num_kv_heads 3"]),
        ("model.head_dim=5", ["head_dim 5 is odd"]),
        ("model.vocab_size=200", ["model.vocab_size: 200 is smaller than the tokenizer's", "set at least"]),
        ("chip.compiler_options={x=1.5}", ["x must be a whole number, true, false or text"]),
        ("chip.compiler_options={xla_no_such=1}", ["'xla_no_such' cannot be set", "chip.compiler_options"]),
        ("data.corpus=nowhere", ['there is no corpus "nowhere"']),
        ("data.tokenizer=nowhere.json", ["nowhere.json: no such file"]),
    ],
)
def test_an_impossible_job(refused: Callable[..., None], change: str, messages: list[str]) -> None:
    refused(*messages, sets=[change])


def test_a_sequence_longer_than_the_text_is_noticed_before_the_compiler_starts(
    here: Callable[..., Any], job: Path, tmp_path: Path
) -> None:
    outcome = here("train", job, "--out", tmp_path / "out", "--set", "train.sequence_length=9000")
    assert_one_line(outcome, "the training split has", "a shorter sequence")
    assert "compiling" not in outcome.err
    assert files_of(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[train\nsteps = 3", "not valid TOML"),
        (b"\xff\xfe\x00binary", "not valid TOML"),
        (b"", "'model' is missing"),
        (b"[model]\npreset = 'pippin-3m'\n", "'train' is missing"),
        (b"[model]\npreset = 'pippin-3m'\n[train]\nbatch_size = 2\n", "'train.steps' is missing"),
    ],
)
def test_a_broken_job_file(
    refused: Callable[..., None], tmp_path: Path, content: bytes, message: str
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_bytes(content)
    refused(str(broken), message, file=broken)


def test_no_job_file(refused: Callable[..., None], tmp_path: Path) -> None:
    refused("missing.toml: no such file or folder", file=tmp_path / "missing.toml")
    refused("it is a folder, not a file", file=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "there is no text in it"),
        ("blank.txt", b" \n\n\t\n", "there is no text in it"),
        ("binary.txt", b"\x7fELF\x00\x01\x02", "a binary file: NUL at byte 4"),
        ("latin1.txt", "naïve café".encode("latin-1"), "not UTF-8"),
        ("broken.jsonl", b'{"text": "a"}\n{"text": \n', "broken.jsonl:2: not valid JSON"),
    ],
)
def test_a_corpus_without_text(
    refused: Callable[..., None], tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    refused(name, message, sets=[f"data.corpus={tmp_path / name}"])


def test_an_empty_folder_as_corpus(refused: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused("the folder has no .txt, .md, .jsonl file", sets=[f"data.corpus={tmp_path / 'empty'}"])


def test_a_folder_that_holds_something_else(
    refused: Callable[..., None], finished: Any, corpus: Path, job: Path
) -> None:
    refused("holds another job", "choose another folder", out=finished.folder, sets=["train.steps=41"])
    refused("holds other files", "choose a new or empty folder", out=corpus)
    refused("a part of the path is a file, not a folder", out=job)
    refused("a part of the path is a file, not a folder", out=job / "below")


def test_a_corrected_job_may_use_the_folder_of_the_one_that_failed(
    refused: Callable[..., None], here: Callable[..., Any], job: Path, tmp_path: Path
) -> None:
    refused("smaller than the tokenizer's", sets=["model.vocab_size=200"])
    refused("there is no corpus", sets=["data.corpus=nowhere"])
    assert files_of(tmp_path / "out") == {}


def test_a_second_process_in_the_folder(refused: Callable[..., None], finished: Any) -> None:
    with (finished.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused("another process is running in this folder", out=finished.folder)


def test_no_permission(
    refused: Callable[..., None],
    here: Callable[..., Any],
    job: Path,
    tmp_path: Path,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A read-only file system, as the permission bits do not stop root."""
    disk = small_disk(1 << 20)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for out in (disk, disk / "run"):
        refused(str(disk), "the file system is read-only", "choose a folder you may write to", out=out)
    monkeypatch.setenv("PIPPIN_CACHE_DIR", str(disk / "cache"))
    refused("the file system is read-only", "set PIPPIN_CACHE_DIR to a folder that you may write to")


def test_no_space_at_the_start(refused: Callable[..., None], small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(8192)
    (disk / "filler").write_bytes(bytes(8192))
    refused("no space left on the device", "free some space", out=disk / "run")
    (disk / "filler").write_bytes(bytes(4096))  # room for the job, and for nothing after it
    refused("no space left on the device", "free some space", out=disk / "run")


def test_no_space_for_a_checkpoint_and_gone_on_when_there_is(
    pippin: Any, finished: Any, job: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(1000 << 10)
    result = pippin("train", job, "--out", disk / "run")
    assert_one_line(result, "no space left on the device", "free some space")
    saved = steps_in(disk / "run" / "checkpoints")
    assert saved and saved[-1] < 40
    assert sorted(path.name for path in (disk / "run" / "checkpoints").iterdir()) == [
        f"step_{n:09d}" for n in saved
    ]
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
    result = pippin("train", job, "--out", disk / "run")
    assert result.returncode == 0
    assert f"goes on from step {saved[-1]} of 40 steps" in result.stderr
    assert digest_of(disk / "run") == digest_of(finished.folder)


def test_a_loss_that_is_not_finite(pippin: Any, job: Path, tmp_path: Path) -> None:
    sets = ["--set", "train.learning_rate=1e38", "--set", "train.warmup_fraction=0"]
    result = pippin("train", job, "--out", tmp_path / "run", *sets)
    assert_one_line(
        result, "the loss of step 2 is", "the update was dropped and the run stopped", "nothing was saved yet"
    )
    assert not (tmp_path / "run" / "summary.json").exists()
    ledger = [json.loads(line) for line in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    good, dropped = (span for span in ledger if span["category"] == "step")
    assert dropped["step"] == 2 and len(dropped["digest"]) == 16 and "tokens" not in dropped
    assert dropped["dropped_tokens"][0] == good["tokens"][1]


def digest_of(run: Path) -> str:
    return str(json.loads((run / "summary.json").read_text())["parameter_sha256"])


@pytest.fixture
def unfinished(finished: Any, tmp_path: Path) -> Path:
    """The finished run with its last step's files gone: it goes on from step 30."""
    run = Path(shutil.copytree(finished.folder, tmp_path / "unfinished"))
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step_000000040")
    return run


def change_record(checkpoint: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Alters what a checkpoint says of itself, and signs it anew."""
    path = checkpoint / "checkpoint.json"
    record = json.loads(path.read_text())
    del record["sha256"]
    change(record)
    path.write_text(json.dumps(record | {"sha256": canonical_sha256(record)}))


def test_a_checkpoint_of_another_shape_job_or_data(
    pippin: Any, here: Callable[..., Any], unfinished: Path, job: Path
) -> None:
    newest = unfinished / "checkpoints" / "step_000000030"
    record = (newest / "checkpoint.json").read_text()

    def other_shape(record: dict[str, Any]) -> None:
        record["arrays"]["parameters.final_norm"] = ["float32", [64]]

    change_record(newest, other_shape)
    before = files_of(unfinished / "checkpoints")
    message = "another shape: parameters.final_norm is ['float32', [64]], the job needs ['float32', [32]]"
    assert_one_line(pippin("train", job, "--out", unfinished), message, str(newest))
    assert_one_line(here("sample", unfinished), message)
    for key, message in (("job_hash", "of another job"), ("data_sha256", "trained on other data")):
        (newest / "checkpoint.json").write_text(record)
        change_record(newest, lambda record, key=key: record.update({key: "0" * 64}))  # type: ignore[misc]
        before = files_of(unfinished / "checkpoints")
        assert_one_line(pippin("train", job, "--out", unfinished), message, str(newest))
        assert files_of(unfinished / "checkpoints") == before


def test_every_checkpoint_damaged(pippin: Any, unfinished: Path, job: Path) -> None:
    for checkpoint in (unfinished / "checkpoints").iterdir():
        (checkpoint / "checkpoint.json").write_text("{}")
    before = files_of(unfinished / "checkpoints")
    metrics = (unfinished / "metrics.jsonl").read_bytes()
    for _ in range(2):  # the second time as well: it never starts from nothing on its own
        assert_one_line(pippin("train", job, "--out", unfinished), "every checkpoint is damaged")
        assert files_of(unfinished / "checkpoints") == before
        assert (unfinished / "metrics.jsonl").read_bytes() == metrics


def test_a_corpus_that_changed(
    here: Callable[..., Any], pippin: Any, unfinished: Path, corpus: Path, job: Path
) -> None:
    """Under the same path; the cache, which goes by content, does not hide it."""
    changed = corpus / "tree07.txt"
    original = changed.read_text()
    changed.write_text(original + " and more")
    try:
        result = pippin("train", job, "--out", unfinished)
    finally:
        changed.write_text(original)
    assert_one_line(result, "has changed since this run began", "restore the corpus")


def test_a_damaged_ledger(here: Callable[..., Any], unfinished: Path, job: Path) -> None:
    ledger = unfinished / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join([*lines[:4], "{]\n", *lines[5:]]))
    before = files_of(unfinished)
    assert_one_line(here("train", job, "--out", unfinished), f"{ledger}:5: damaged line")
    assert files_of(unfinished) == before
