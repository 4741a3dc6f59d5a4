from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.storage import (
    canonical_sha256,
    new_folder,
    read_json,
    sha256_file,
    write_atomic,
    write_json,
)

SmallDisk = Callable[[int], Path]
MEBIBYTE = 2**20


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, hidden ones too, with what is in the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refuse(number: int) -> Callable[..., Any]:
    """A system call that always fails with this error number."""

    def call(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return call


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write_atomic(path, "old")
    write_atomic(path, "naïve ☃")
    assert tree(tmp_path) == {
        "new": None,
        "new/folder": None,
        "new/folder/file.txt": "naïve ☃".encode(),
    }
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"


def test_written_file_may_be_read_by_others(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", "x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    monkeypatch.setattr(call, refuse(errno.ENOSPC))
    with pytest.raises(PippinError, match="file: no space left on the device"):
        write_atomic(path, "new")
    assert tree(tmp_path) == {"file": b"old"}


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert tree(tmp_path) == {"file": b"old"}


def test_write_onto_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    with pytest.raises(PippinError, match=f"^{tmp_path}/name: it is a folder, not a file"):
        write_atomic(tmp_path / "name", "x")
    assert tree(tmp_path) == {"name": None}


def test_write_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PippinError, match="file"):
        write_atomic(tmp_path / "file" / "inner", "y")
    assert tree(tmp_path) == {"file": b"x"}


def test_no_space_leaves_the_old_file(small_disk: SmallDisk) -> None:
    disk = small_disk(MEBIBYTE)
    write_atomic(disk / "file", "old")
    with pytest.raises(PippinError, match=f"^{disk}/file: no space left on the device"):
        write_atomic(disk / "file", b"x" * (2 * MEBIBYTE))
    assert tree(disk) == {"file": b"old"}
    write_atomic(disk / "file", b"x" * (MEBIBYTE // 2))  # the space came back


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(PippinError, match="permission denied"):
        write_atomic(tmp_path / "file", "x")
    with pytest.raises(PippinError, match="permission denied"), new_folder(tmp_path / "folder"):
        pass
    tmp_path.chmod(0o755)
    assert tree(tmp_path) == {}


def test_refused_permission_names_the_file_and_not_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder without write permission answers, which root never meets."""

    def refused(*_: object, dir: Path, prefix: str, **__: object) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir / f"{prefix}x7_k2"))

    monkeypatch.setattr("tempfile.mkstemp", refused)
    monkeypatch.setattr("tempfile.mkdtemp", refused)
    with pytest.raises(PippinError, match=f"^{tmp_path}/file: permission denied"):
        write_atomic(tmp_path / "file", "x")
    with (
        pytest.raises(PippinError, match=f"^{tmp_path}/folder: permission denied"),
        new_folder(tmp_path / "folder"),
    ):
        pass


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "naïve ☃"}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_number(tmp_path: Path, number: float) -> None:
    write_json(tmp_path / "value.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "value.json", {"loss": number})
    assert tree(tmp_path) == {"value.json": b"1\n"}


def test_unreadable_json_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    with pytest.raises(PippinError, match=f"^{path}: no such file or folder"):
        read_json(path)
    for content in (b'{"a": 1,\n', b"", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(PippinError, match=f"^{path}: not valid JSON: [^\n]+$"):
            read_json(path)


def test_new_folder_appears_whole_and_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "one"
    with new_folder(target) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
        assert not target.exists()
        assert folder.parent == target.parent  # one file system, so that a rename is enough
    assert tree(tmp_path / "runs") == {"one": None, "one/inner": None, "one/inner/file": b"x"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_all_in_a_new_folder_is_synced_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, folders and the new folder's own entries before the rename, the parent's entries after."""
    target, synced = tmp_path / "folder", []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((os.fstat(number).st_ino, target.exists())))
    with new_folder(target) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
    before = {inode for inode, named in synced if not named}
    assert before == {path.stat().st_ino for path in (target, target / "inner", target / "inner/file")}
    assert synced[-1] == (tmp_path.stat().st_ino, True)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_error_inside_a_new_folder_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    with pytest.raises(kind), new_folder(tmp_path / "folder") as folder:
        (folder / "file").write_text("x")
        raise kind
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.rename"])
def test_failure_at_the_end_of_a_new_folder_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(call, refuse(errno.EDQUOT))
    with (
        pytest.raises(PippinError, match="folder: the disk quota is used up"),
        new_folder(tmp_path / "folder") as folder,
    ):
        (folder / "file").write_text("x")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("existing", ["file", "folder", "empty_folder", "dangling_link"])
def test_new_folder_never_replaces_what_is_there(tmp_path: Path, existing: str) -> None:
    target = tmp_path / "name"
    if existing == "file":
        target.write_text("kept")
    elif existing == "dangling_link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
        if existing == "folder":
            (target / "file").write_text("kept")
    before, inode = tree(tmp_path), target.lstat().st_ino
    with (
        pytest.raises(PippinError, match=f"^{target}: it exists already"),
        new_folder(target) as folder,
    ):
        (folder / "file").write_text("new")
    assert (tree(tmp_path), target.lstat().st_ino) == (before, inode)


def test_target_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    """Two processes build the same folder: the second is refused, by name, and the first's stays."""
    target = tmp_path / "name"
    with (
        pytest.raises(PippinError, match=f"^{target}: it exists already"),
        new_folder(target) as folder,
    ):
        (folder / "file").write_text("second")
        with new_folder(target) as first:
            (first / "file").write_text("first")
    assert tree(tmp_path) == {"name": None, "name/file": b"first"}


def test_no_space_in_a_new_folder_leaves_nothing(small_disk: SmallDisk) -> None:
    disk = small_disk(MEBIBYTE)
    with (
        pytest.raises(PippinError, match="no space left on the device"),
        new_folder(disk / "folder") as folder,
    ):
        (folder / "file").write_bytes(b"x" * (2 * MEBIBYTE))
    assert tree(disk) == {}


@given(st.binary(max_size=200))
def test_sha256_of_a_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hashed"
    path.write_bytes(content)
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_canonical_hash_ignores_order_and_survives_json(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert (
        canonical_sha256(value) == canonical_sha256(turned) == canonical_sha256(json.loads(json.dumps(value)))
    )


def test_canonical_hash_is_pinned_and_tells_values_apart() -> None:
    """Pinned from the text that is hashed, so that hashes stored beside artifacts stay good."""
    text = rb'{"a":[1,2.5,null],"\u00e9":true}'
    assert canonical_sha256({"é": True, "a": [1, 2.5, None]}) == hashlib.sha256(text).hexdigest()
    assert len({canonical_sha256(value) for value in (1, 1.5, "1", None, True, [1], {"1": 1})}) == 7
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_sha256(float("nan"))
