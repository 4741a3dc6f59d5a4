"""Compressors give the sizes of the programs they stand for, and priming counts only what the text adds."""

import dataclasses
import lzma
import random
import shutil
import subprocess

import pytest

from pippin.assay import compressors
from pippin.assay.compressors import (
    xz_bits_per_byte,
    xz_primed_bits_per_byte,
    zstd_bits_per_byte,
)
from pippin.errors import PippinError

WORDS = [
    "the",
    "state",
    "of",
    "union",
    "is",
    "strong",
    "and",
    "people",
    "labour",
    "tariff",
    "peace",
    "é",
    "—",
]


def prose(num_words: int, seed: int = 0) -> bytes:
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(num_words)).encode()


def program_bytes(command: list[str], text: bytes, tmp_path) -> int:
    if not shutil.which(command[0]):
        pytest.skip(f"the program {command[0]} is not installed")
    path = tmp_path / "text"
    path.write_bytes(text)
    return len(subprocess.run([*command, "-c", str(path)], capture_output=True, check=True).stdout)


def test_xz_is_the_program(tmp_path):
    text = prose(40_000)
    expected = program_bytes(["xz", "-9"], text, tmp_path)
    # xz 5.6 and later write block sizes into the header when they compress in threads.
    assert xz_bits_per_byte(text) * len(text) / 8 == pytest.approx(expected, abs=16)


def test_zstd_is_the_program(tmp_path):
    text = prose(40_000)
    expected = program_bytes(["zstd", "-19"], text, tmp_path)
    # Other releases of the same library differ a little.
    assert zstd_bits_per_byte(text) * len(text) / 8 == pytest.approx(expected, abs=16, rel=1e-3)


def test_bits_are_those_of_a_file_that_decompresses():
    text = prose(500)
    compressed = lzma.compress(text, format=lzma.FORMAT_XZ, preset=9)
    assert lzma.decompress(compressed) == text
    assert xz_bits_per_byte(text) == 8 * len(compressed) / len(text)


def test_random_bytes_need_all_their_bits():
    noise = random.Random(1).randbytes(50_000)
    assert 8 < xz_bits_per_byte(noise) < 8.1
    assert 8 < zstd_bits_per_byte(noise) < 8.1
    # A block with both prose and noise in it is stored less well than either alone.
    assert 7.9 < xz_primed_bits_per_byte(prose(1_000), noise).bits_per_byte < 8.2


def test_priming_with_the_text_itself_leaves_nothing():
    noise = random.Random(2).randbytes(200_000)
    primed = xz_primed_bits_per_byte(prose(100) + noise, noise)
    assert 0 < primed.bits_per_byte < 0.02
    assert primed.priming_bytes == len(prose(100)) + len(noise)


def test_priming_reaches_back_over_the_whole_training_text(monkeypatch):
    """The repeated part lies at the far end of the training text: a smaller dictionary would not find it."""
    monkeypatch.setattr(compressors, "_MIN_DICTIONARY_BYTES", 4096)
    noise = random.Random(3).randbytes(400_000)
    head = noise[:20_000]
    assert xz_primed_bits_per_byte(noise, head).bits_per_byte < 0.5
    monkeypatch.setattr(compressors, "_MAX_DICTIONARY_BYTES", 65_536)
    assert xz_primed_bits_per_byte(noise, head).bits_per_byte > 7


def test_priming_helps_and_nothing_primes_like_nothing():
    text = prose(2_000, seed=1)
    alone = xz_bits_per_byte(text)
    assert xz_primed_bits_per_byte(prose(20_000), text).bits_per_byte < alone
    unprimed = xz_primed_bits_per_byte(b"", text)
    assert unprimed.priming_bytes == 0
    # The container is in both sizes and falls out of the difference.
    assert 0 < alone - unprimed.bits_per_byte <= 8 * 64 / len(text)


def test_training_text_over_the_limit_keeps_its_last_part():
    noise = random.Random(4).randbytes(100_000)
    last = xz_primed_bits_per_byte(noise, noise[-10_000:], max_priming_bytes=10_000)
    first = xz_primed_bits_per_byte(noise, noise[:10_000], max_priming_bytes=10_000)
    assert last.priming_bytes == first.priming_bytes == 10_000
    assert last.bits_per_byte < 0.5 and first.bits_per_byte > 7.9
    with pytest.raises(dataclasses.FrozenInstanceError):
        last.priming_bytes = 0


@pytest.mark.parametrize("total", [0, 1, 2**20, 2**20 + 1, 12_000_000, 2**26, 10**10])
def test_dictionary_holds_the_text_or_is_the_largest(total):
    size = compressors._dictionary_bytes(total)
    assert 2**20 <= size <= 2**27
    assert size >= min(total, 2**27)


@pytest.mark.parametrize(
    "score", [xz_bits_per_byte, zstd_bits_per_byte, lambda text: xz_primed_bits_per_byte(b"abc", text)]
)
def test_an_empty_text_is_refused(score):
    with pytest.raises(PippinError, match="empty"):
        score(b"")
