"""Checkpoints: whole or absent, and never believed unseen.

Orbax writes the arrays into a temporary folder; `checkpoint.json` beside them records the step, the job
and the SHA-256 of every file and of itself; then all is synced and the folder takes its name. On the way
back each file is hashed before Orbax reads it: Orbax itself does not notice a flipped bit.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pippin.errors import PippinError, explained
from pippin.storage import canonical_sha256, new_folder, read_json, sha256_file, write_json
from pippin.train.digest import flatten, unflatten

_RECORD, _ARRAYS = "checkpoint.json", "arrays"
_NAME = re.compile(r"step_(\d+)")
# Beyond the arrays themselves: metadata and blocks not filled (30 to 60 KB, measured).
_OVERHEAD_BYTES = 128 << 10
# Orbax logs every phase of a save, and a failed one with a traceback; it reaches us as an exception.
logging.getLogger("absl").setLevel(logging.CRITICAL)


class DamagedCheckpoint(PippinError):
    """Bytes on disk are not those that were written."""


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to."""

    job_hash: str
    data_sha256: str


class Checkpoints:
    """The checkpoints of one run, named by step.

    Args:
        folder: `RUN/checkpoints`.
        identity: the job and the data; a checkpoint of another is refused.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, identity: Identity, *, keep: int) -> None:
        self._folder, self._identity, self._keep = folder, identity, keep
        if folder.exists():
            for leftover in folder.glob(".step_*"):  # a kill in mid-save
                shutil.rmtree(leftover, ignore_errors=True)

    def save(self, step: int, state: Any) -> None:
        """Writes the state after `step` steps, then removes the oldest beyond `keep`.

        Raises:
            PippinError: no space, no permission; earlier checkpoints stay as they were.
        """
        target = self._folder / f"step_{step:09d}"
        if target.exists():
            return
        flat = flatten(state)
        with explained(target), new_folder(target) as temporary:
            _check_space(temporary, sum(leaf.nbytes for leaf in flat.values()))
            _write_arrays(temporary / _ARRAYS, flat)
            record = {
                "step": step,
                "job_hash": self._identity.job_hash,
                "data_sha256": self._identity.data_sha256,
                "arrays": {path: [str(leaf.dtype), list(leaf.shape)] for path, leaf in flat.items()},
                "files": _hashes(temporary / _ARRAYS),
            }
            write_json(temporary / _RECORD, {**record, "sha256": canonical_sha256(record)})
        for old in steps_in(self._folder)[: -self._keep]:
            shutil.rmtree(self._folder / f"step_{old:09d}", ignore_errors=True)

    def restore_newest(self, template: Any, warn: Callable[[str], None]) -> tuple[int, Any] | None:
        """The newest undamaged state with its step, as NumPy arrays; None where nothing was saved.

        Where it is not the newest, the damaged ones after it are set aside under another name.

        Raises:
            PippinError: all are damaged, or one is of another job, data or shape.
        """
        problems: dict[Path, str] = {}
        for step in reversed(steps_in(self._folder)):
            path = self._folder / f"step_{step:09d}"
            try:
                state = load(path, template, self._identity)
            except DamagedCheckpoint as error:
                problems[path] = str(error)
                continue
            for damaged, problem in problems.items():
                warn(f"a checkpoint is damaged and set aside, the run goes on from step {step}: {problem}")
                _set_aside(damaged)
            return step, state
        if problems:
            raise PippinError(
                f"every checkpoint is damaged: {next(iter(problems.values()))}",
                where=self._folder,
                fix="restore one, or remove the run's folder to train from the start",
            )
        return None


def steps_in(folder: Path) -> list[int]:
    """Steps that have a whole checkpoint in the folder, ascending."""
    names = [_NAME.fullmatch(path.name) for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name[1]) for name in names if name)


def load(path: Path, template: Any, identity: Identity | None = None) -> Any:
    """Reads one checkpoint into the structure of `template`, leaves as NumPy arrays.

    Args:
        path: the checkpoint's folder.
        template: a pytree of arrays or of their abstract shapes; may be a part of what was saved.
        identity: what it must belong to; None accepts any.

    Raises:
        DamagedCheckpoint: a file is missing, torn or altered.
        PippinError: it belongs to another job or other data, or has other shapes.
    """
    record = _read_record(path)
    if identity and record["job_hash"] != identity.job_hash:
        raise PippinError("the checkpoint is of another job", where=path, fix="choose another folder")
    if identity and record["data_sha256"] != identity.data_sha256:
        raise PippinError(
            "the checkpoint was trained on other data under the same name",
            where=path,
            fix="restore the corpus, or choose another folder",
        )
    wanted = {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in flatten(template).items()}
    for name, kind in wanted.items():
        if record["arrays"].get(name) != kind:
            held = record["arrays"].get(name)
            raise PippinError(
                f"the checkpoint has another shape: {name} is {held}, the job needs {kind}", where=path
            )
    if _hashes(path / _ARRAYS) != record["files"]:
        raise DamagedCheckpoint("its files are not those that were saved", where=path)
    # Everything that was saved is read, then picked from: a partial read is another code path in Orbax.
    arguments = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in record["arrays"]}
    flat = _reader().restore(
        str((path / _ARRAYS).absolute()), args=ocp.args.PyTreeRestore(restore_args=arguments)
    )
    return unflatten(template, flat)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = dict(read_json(path / _RECORD))
        genuine = record.pop("sha256") == canonical_sha256(record)
    except (PippinError, KeyError, TypeError, ValueError) as error:
        raise DamagedCheckpoint(f"its {_RECORD} cannot be read", where=path) from error
    if not genuine:
        raise DamagedCheckpoint(f"its {_RECORD} is not the one that was saved", where=path)
    return record


def _set_aside(path: Path) -> None:
    """Renames a checkpoint, so that it is kept for a look at it but never read again."""
    with explained(path):
        path.rename(tempfile.mkdtemp(prefix=f"{path.name}.damaged.", dir=path.parent))


def _check_space(folder: Path, num_bytes: int) -> None:
    """Refuses before anything is written: a full disk in mid-save makes TensorStore's threads complain
    on stderr, each for itself. A file system that does not know its size is believed to have room."""
    usage = shutil.disk_usage(folder)
    needed = num_bytes + _OVERHEAD_BYTES
    if usage.total and usage.free < needed:
        raise PippinError(
            f"no space left on the device: a checkpoint needs {needed / 1e6:,.1f} MB, "
            f"{usage.free / 1e6:,.1f} MB are free",
            where=folder.parent,
            fix="free some space and start again",
        )


def _write_arrays(path: Path, flat: dict[str, Any]) -> None:
    try:
        _reader().save(str(path.absolute()), args=ocp.args.PyTreeSave(flat))
    except (ValueError, RuntimeError) as error:
        # TensorStore reports a full disk as a plain ValueError with the system's words in it.
        if "No space left" in str(error) or "RESOURCE_EXHAUSTED" in str(error):
            raise PippinError(
                "no space left on the device", where=path.parent.parent, fix="free some space and start again"
            ) from error
        raise


def _reader() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def to_device(tree: Any) -> Any:
    """Puts host arrays on the default device."""
    return jax.block_until_ready(jax.device_put(tree))
