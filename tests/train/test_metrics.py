from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pippin.errors import PippinError
from pippin.train.metrics import MetricsLog, read_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with steps 1 to 5."""
    file = tmp_path / "metrics.jsonl"
    log = MetricsLog(file, after_step=0)
    for step in range(1, 6):
        log.write({"step": step, "loss": 1 / step})
    log.close()
    return file


def test_lines_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", after_step=0)
    log.write({"step": 1, "loss": 0.1 + 0.2})
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.1 + 0.2}]
    log.close()


@pytest.mark.parametrize("after_step", [0, 1, 3, 5])
def test_going_on_cuts_off_the_steps_that_come_again(path: Path, after_step: int) -> None:
    before = path.read_bytes().splitlines(keepends=True)
    log = MetricsLog(path, after_step=after_step)
    assert path.read_bytes() == b"".join(before[:after_step])
    log.write({"step": after_step + 1})
    log.close()
    assert [line["step"] for line in read_metrics(path)] == list(range(1, after_step + 2))


def test_a_torn_last_line_is_cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b'{"step": 6, "lo')
    assert len(read_metrics(path)) == 5
    MetricsLog(path, after_step=5).close()
    assert path.read_bytes().endswith(b"}\n")


def test_a_damaged_line_is_an_error_that_names_it(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'{"step": 2', b'("step": 2'))
    with pytest.raises(PippinError, match=r"metrics\.jsonl:2: damaged line"):
        MetricsLog(path, after_step=5)


@pytest.mark.parametrize("steps", [[1, 2], [1, 3], [1, 2, 2, 3], [2, 3]])
def test_steps_that_are_missing_or_doubled_are_an_error(path: Path, steps: list[int]) -> None:
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in steps))
    with pytest.raises(PippinError, match="each of the first 3 steps once"):
        MetricsLog(path, after_step=3)
    assert [line["step"] for line in read_metrics(path)] == steps  # nothing was overwritten


def test_not_a_number_is_refused(path: Path) -> None:
    log = MetricsLog(path, after_step=5)
    with pytest.raises(ValueError, match="JSON"):
        log.write({"step": 6, "loss": float("nan")})
    log.close()
    assert len(read_metrics(path)) == 5


def test_a_full_disk_leaves_no_half_line(small_disk: Callable[[int], Path]) -> None:
    path = small_disk(8192) / "metrics.jsonl"
    log = MetricsLog(path, after_step=0)
    with pytest.raises(PippinError, match="no space left"):
        for step in range(1, 1000):
            log.write({"step": step, "loss": 1.0, "what": "m" * 60})
    log.close()
    steps = [line["step"] for line in read_metrics(path)]
    assert path.read_bytes().endswith(b"}\n")
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 50
