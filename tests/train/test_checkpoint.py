from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pippin.train.checkpoint
from pippin.errors import PippinError
from pippin.storage import canonical_sha256
from pippin.train.checkpoint import Checkpoints, DamagedCheckpoint, Identity, load, steps_in
from pippin.train.digest import flatten

IDENTITY = Identity(job_hash="a" * 64, data_sha256="b" * 64)


def state_of(seed: int) -> dict[str, Any]:
    """Types, shapes and nesting as in a real state, with the values that are easy to get wrong."""
    generator = np.random.default_rng(seed)
    odd = np.array([[-0.0, 1e-45, np.inf], [-np.inf, np.finfo(np.float32).max, 1 + seed]], np.float32)
    return {
        "parameters": {
            "layers": {"query": jnp.asarray(generator.normal(size=(3, 40, 2)), jnp.float32)},
            "odd": odd,
        },
        "optimizer": (
            {
                "count": jnp.asarray(seed, jnp.int32),
                "mu": jnp.asarray(generator.normal(size=(50,)), jnp.bfloat16),
            },
            {"flags": jnp.asarray([True, False])},
        ),
    }


def assert_same_bits(one: Any, other: Any) -> None:
    one, other = flatten(one), flatten(other)
    assert one.keys() == other.keys()
    for name, leaf in one.items():
        left, right = np.asarray(leaf), np.asarray(other[name])
        assert (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes()), name


def unheard(message: str) -> None:
    raise AssertionError(f"an unexpected warning: {message}")


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 4 and 8, read only."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    checkpoints = Checkpoints(folder, IDENTITY, keep=5)
    for step in (4, 8):
        checkpoints.save(step, state_of(step))
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def open_checkpoints(folder: Path, identity: Identity = IDENTITY) -> Checkpoints:
    return Checkpoints(folder, identity, keep=5)


def newest_file(folder: Path) -> Path:
    """The largest file of step 8: its arrays' data."""
    files = (path for path in (folder / "step_000000008" / "arrays").rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def flip(path: Path, offset: int, mask: int = 0xFF) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= mask
    path.write_bytes(content)


def test_what_is_restored_is_what_was_saved_bit_for_bit(saved: Path) -> None:
    restored = open_checkpoints(saved).restore_newest(state_of(0), unheard)
    assert restored is not None
    step, state = restored
    assert step == 8
    assert_same_bits(state, state_of(8))


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert open_checkpoints(tmp_path / "checkpoints").restore_newest(state_of(0), unheard) is None


def test_a_part_of_the_state_can_be_read_by_its_shapes_alone(saved: Path) -> None:
    template = {"parameters": jax.eval_shape(lambda: state_of(0)["parameters"])}
    assert_same_bits(load(saved / "step_000000008", template), {"parameters": state_of(8)["parameters"]})


def places() -> Iterator[tuple[float, int]]:
    """Where in a file, as a share of its length, and which bits."""
    yield from ((share, mask) for share in (0.0, 0.13, 0.5, 0.77, 1.0) for mask in (0x01, 0x80))


def test_a_flipped_bit_anywhere_is_noticed(saved: Path, folder: Path) -> None:
    step = folder / "step_000000008"
    files = sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size)
    assert any(path.name == "checkpoint.json" for path in files) and len(files) > 4
    for path in files:
        original = path.read_bytes()
        offsets = range(0, len(original), 7) if path.name == "checkpoint.json" else []
        cases = [(int(share * (len(original) - 1)), mask) for share, mask in places()]
        for offset, mask in [*cases, *((offset, 0x02) for offset in offsets)]:
            flip(path, offset, mask)
            with pytest.raises(DamagedCheckpoint):
                load(step, state_of(0), IDENTITY)
            path.write_bytes(original)
    load(step, state_of(0), IDENTITY)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def add_beside(path: Path) -> None:
    (path.parent / "stranger").write_bytes(b"?")


def flip_one(path: Path) -> None:
    flip(path, 100)


@pytest.mark.parametrize(
    ("damage", "record"),
    [(change, record) for change in (truncate, append, Path.unlink, flip_one) for record in (False, True)]
    + [(add_beside, False)],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_read(
    folder: Path, damage: Callable[[Path], None], record: bool
) -> None:
    damage(folder / "step_000000008" / "checkpoint.json" if record else newest_file(folder))
    warnings: list[str] = []
    restored = open_checkpoints(folder).restore_newest(state_of(0), warnings.append)
    assert restored is not None and restored[0] == 4
    assert_same_bits(restored[1], state_of(4))
    assert len(warnings) == 1 and "step_000000008" in warnings[0] and "damaged" in warnings[0]
    assert steps_in(folder) == [4]
    (aside,) = folder.glob("step_000000008.damaged.*")
    assert any(aside.rglob("*"))  # kept for a look at it
    open_checkpoints(folder).save(8, state_of(8))  # its name is free
    assert steps_in(folder) == [4, 8]


def test_the_same_step_may_be_damaged_again(folder: Path) -> None:
    for _ in range(2):
        truncate(newest_file(folder))
        restored = open_checkpoints(folder).restore_newest(state_of(0), lambda _: None)
        assert restored is not None and restored[0] == 4
        open_checkpoints(folder).save(8, state_of(8))
    assert len(list(folder.glob("step_000000008.damaged.*"))) == 2


def test_where_all_are_damaged_it_says_so_each_time_and_nothing_is_touched(folder: Path) -> None:
    truncate(newest_file(folder))
    (folder / "step_000000004" / "checkpoint.json").unlink()
    before = listing(folder)
    for _ in range(2):
        with pytest.raises(PippinError, match="every checkpoint is damaged"):
            open_checkpoints(folder).restore_newest(state_of(0), unheard)
        assert listing(folder) == before


def test_leftovers_of_a_kill_in_mid_save_are_removed_and_never_read(folder: Path) -> None:
    shutil.copytree(folder / "step_000000008", folder / ".step_000000012.x7f3")
    (folder / ".step_000000016.y").mkdir()
    checkpoints = open_checkpoints(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["step_000000004", "step_000000008"]
    restored = checkpoints.restore_newest(state_of(0), unheard)
    assert restored is not None and restored[0] == 8


def test_other_things_in_the_folder_are_no_checkpoints(folder: Path) -> None:
    (folder / "step_notes").mkdir()
    (folder / "README").write_text("mine")
    assert steps_in(folder) == [4, 8]


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (Identity("c" * 64, IDENTITY.data_sha256), "of another job"),
        (Identity(IDENTITY.job_hash, "c" * 64), "trained on other data"),
    ],
)
def test_a_checkpoint_of_another_job_or_data_is_refused_not_set_aside(
    folder: Path, identity: Identity, message: str
) -> None:
    before = listing(folder)
    with pytest.raises(PippinError, match=message) as caught:
        open_checkpoints(folder, identity).restore_newest(state_of(0), unheard)
    assert not isinstance(caught.value, DamagedCheckpoint)
    assert listing(folder) == before


def other_shape(template: dict[str, Any]) -> None:
    template["parameters"]["odd"] = np.zeros((3, 2), np.float32)


def other_type(template: dict[str, Any]) -> None:
    template["parameters"]["odd"] = np.zeros((2, 3), np.int32)


def other_name(template: dict[str, Any]) -> None:
    template["parameters"]["head"] = template["parameters"].pop("odd")


@pytest.mark.parametrize("change", [other_shape, other_type, other_name])
def test_a_checkpoint_of_another_shape_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    template = state_of(0)
    change(template)
    before = listing(folder)
    with pytest.raises(PippinError, match=r"another shape: parameters\.(odd|head)") as caught:
        open_checkpoints(folder).restore_newest(template, unheard)
    assert not isinstance(caught.value, DamagedCheckpoint)
    assert listing(folder) == before


@pytest.mark.parametrize("keep", [1, 3])
def test_only_the_newest_stay(tmp_path: Path, keep: int) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", IDENTITY, keep=keep)
    for step in range(1, 6):
        checkpoints.save(step, state_of(step))
        assert steps_in(tmp_path / "checkpoints") == list(range(max(1, step - keep + 1), step + 1))


def test_the_record_says_what_was_saved(saved: Path) -> None:
    record = json.loads((saved / "step_000000008" / "checkpoint.json").read_text())
    sha256 = record.pop("sha256")
    assert sha256 == canonical_sha256(record)
    assert (record["step"], record["job_hash"], record["data_sha256"]) == (8, "a" * 64, "b" * 64)
    assert record["arrays"]["parameters.layers.query"] == ["float32", [3, 40, 2]]
    assert record["files"].keys() == listing(saved / "step_000000008" / "arrays").keys()


# Orbax leaves futures behind whose exception nobody asked for; the one that matters reached us.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("vanishing", [False, True])
def test_no_space_is_one_line_and_leaves_the_earlier_ones(
    small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, vanishing: bool
) -> None:
    """Whether it lacks before the save, or another process takes it meanwhile."""
    if vanishing:
        monkeypatch.setattr(pippin.train.checkpoint, "_check_space", lambda *_: None)
    disk = small_disk(4 << 20)
    checkpoints = Checkpoints(disk / "checkpoints", IDENTITY, keep=5)
    # Random values, which do not compress: 1 MB a checkpoint.
    states = [
        {"a": jnp.asarray(np.random.default_rng(n).normal(size=1 << 18), jnp.float32)} for n in range(6)
    ]
    saved = 0
    with pytest.raises(PippinError, match="no space left on the device") as caught:
        for step, state in enumerate(states):
            checkpoints.save(step, state)
            saved += 1
    assert "\n" not in str(caught.value) and str(disk) in str(caught.value)
    assert saved >= 1
    assert sorted(path.name for path in (disk / "checkpoints").iterdir()) == [
        f"step_{n:09d}" for n in range(saved)
    ]
    restored = open_checkpoints(disk / "checkpoints").restore_newest(states[0], unheard)
    assert restored is not None and restored[0] == saved - 1
    assert_same_bits(restored[1], states[saved - 1])
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
    checkpoints.save(saved, states[saved])
    assert steps_in(disk / "checkpoints")[-1] == saved


def test_a_read_only_disk_is_one_line(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1 << 20)
    (disk / "checkpoints").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(PippinError, match="read-only"):
        Checkpoints(disk / "checkpoints", IDENTITY, keep=2).save(1, state_of(1))
