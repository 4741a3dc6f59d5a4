from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.errors import PippinError, explained, first_line, nearest

# What each failure of the file system is called; the numbers are the system's.
EXPLANATIONS = {
    errno.ENOSPC: "no space left on the device (free some space, or choose another folder)",
    errno.EDQUOT: "the disk quota is used up (free some space, or choose another folder)",
    errno.EACCES: "permission denied (choose a folder you may write to)",
    errno.EPERM: "operation not permitted (choose a folder you may write to)",
    errno.EROFS: "the file system is read-only (choose a folder you may write to)",
    errno.ENOTDIR: "a part of the path is a file, not a folder (choose another path)",
    errno.EISDIR: "it is a folder, not a file (choose another path)",
    errno.ENOENT: "no such file or folder (check the path)",
    errno.EEXIST: "it exists already (choose another path)",
}


@pytest.mark.parametrize(("number", "message"), EXPLANATIONS.items(), ids=errno.errorcode.get)
def test_each_failure_is_explained_in_one_line(number: int, message: str) -> None:
    with pytest.raises(PippinError) as caught, explained("some/place"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == f"some/place: {message}"
    assert caught.value.__cause__.errno == number


def test_other_failures_keep_the_words_of_the_system() -> None:
    with pytest.raises(PippinError) as caught, explained(Path("disk")):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert str(caught.value) == f"disk: {os.strerror(errno.EIO)}"
    with pytest.raises(PippinError, match=r"^disk: the tape is torn$"), explained("disk"):
        raise OSError("the tape is torn")


def test_the_file_at_fault_is_named_rather_than_its_folder(tmp_path: Path) -> None:
    with pytest.raises(PippinError) as caught, explained(tmp_path):
        (tmp_path / "absent.txt").read_text()
    assert str(caught.value) == f"{tmp_path / 'absent.txt'}: no such file or folder (check the path)"


def test_a_descriptor_is_no_name(tmp_path: Path) -> None:
    """The system names what was opened by number with that number."""
    with (tmp_path / "file").open("w") as file, pytest.raises(PippinError) as caught, explained("place"):
        os.scandir(file.fileno())
    assert str(caught.value).startswith("place: a part of the path is a file")


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ValueError, match="mine"), explained("place"):
        raise ValueError("mine")
    original = PippinError("bad", where="inner")
    with pytest.raises(PippinError) as caught, explained("outer"):
        raise original
    assert caught.value is original


@given(st.text(), st.text(min_size=1) | st.none(), st.text(min_size=1) | st.none())
def test_an_error_is_one_line_whatever_is_in_it(what: str, where: str | None, fix: str | None) -> None:
    error = PippinError(what, where=where, fix=fix)
    assert len(str(error).splitlines()) <= 1
    assert (error.what, error.where, error.fix) == (what, where, fix)


def test_an_error_says_where_what_and_how_to_fix_it() -> None:
    assert (
        str(PippinError("is odd", where=Path("job.toml"), fix="make it even"))
        == "job.toml: is odd (make it even)"
    )
    assert str(PippinError("is odd")) == "is odd"


def test_nearest() -> None:
    known = ["steps", "batch_size", "sequence_length"]
    assert nearest("step", known) == "steps"
    assert nearest("seqence_lenght", iter(known)) == "sequence_length"
    assert nearest("zzz", known) is None
    assert nearest("steps", []) is None


def test_an_error_of_others_in_one_line() -> None:
    assert first_line(MemoryError()) == "MemoryError"
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert len(first_line(ValueError("long " * 100))) == 200
