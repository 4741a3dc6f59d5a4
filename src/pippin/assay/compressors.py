"""Bits per UTF-8 byte that general compressors need for a text.

The yardstick beside a model's held-out bits per byte. Sizes are those of the whole compressed file,
container and checksum included, as the command-line programs write it.
"""

from __future__ import annotations

import lzma
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pippin.errors import PippinError

# xz's encoder takes about 11 times its dictionary in memory, and two run at once: 64 MiB of training text
# and as much dictionary for the text cost about 3 GB at the very most, 0.4 GB for a corpus of 12 MB.
MAX_PRIMING_BYTES = 64 * 2**20
_MIN_DICTIONARY_BYTES = 2**20
_MAX_DICTIONARY_BYTES = 2 * MAX_PRIMING_BYTES


@dataclass(frozen=True)
class PrimedBits:
    """What a text adds to training text compressed before it.

    Args:
        bits_per_byte: bits added for each byte of the text.
        priming_bytes: bytes of training text that preceded it; fewer than the training text has where that
            is larger than the limit, and then they are its last ones.
    """

    bits_per_byte: float
    priming_bytes: int


def xz_bits_per_byte(text: bytes) -> float:
    """Bits per byte of `text` as `xz -9` compresses it.

    Raises:
        PippinError: the text is empty.
    """
    return _bits_per_byte(len(lzma.compress(text, format=lzma.FORMAT_XZ, preset=9)), text)


def zstd_bits_per_byte(text: bytes) -> float:
    """Bits per byte of `text` as `zstd -19` compresses it.

    Releases of the library differ from each other by about 0.01 %.

    Raises:
        PippinError: the text is empty.
    """
    import zstandard

    # The program writes a checksum by default, the library does not.
    compressor = zstandard.ZstdCompressor(level=19, write_checksum=True)
    return _bits_per_byte(len(compressor.compress(text)), text)


def xz_primed_bits_per_byte(
    training: bytes, text: bytes, *, max_priming_bytes: int = MAX_PRIMING_BYTES
) -> PrimedBits:
    """Bits per byte that `text` adds when it follows `training`: len(xz(both)) - len(xz(training)).

    The settings are those of `xz -9` with a dictionary that reaches over both. The two compressions run at
    the same time (lzma releases the interpreter lock): about a second for each megabyte of training text.

    Args:
        training: UTF-8 text; of more than `max_priming_bytes` bytes the last part is used.
        text: UTF-8 text to score.
        max_priming_bytes: the most training text to use.

    Raises:
        PippinError: the text is empty.
    """
    priming = training[max(0, len(training) - max_priming_bytes) :]
    dictionary_bytes = _dictionary_bytes(len(priming) + len(text))
    with ThreadPoolExecutor(max_workers=2) as threads:
        both = threads.submit(_xz_size, priming + text, dictionary_bytes)
        alone = threads.submit(_xz_size, priming, dictionary_bytes)
    return PrimedBits(_bits_per_byte(both.result() - alone.result(), text), len(priming))


def _dictionary_bytes(total_bytes: int) -> int:
    """The smallest power of two that holds it all: compresses as well as a larger one, in less memory."""
    power_of_two = 1 << max(0, total_bytes - 1).bit_length()
    return min(max(power_of_two, _MIN_DICTIONARY_BYTES), _MAX_DICTIONARY_BYTES)


def _xz_size(text: bytes, dictionary_bytes: int) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": dictionary_bytes}]
    return len(lzma.compress(text, format=lzma.FORMAT_XZ, filters=filters))


def _bits_per_byte(compressed_bytes: int, text: bytes) -> float:
    if not text:
        raise PippinError("the text to compress is empty", fix="give it at least one byte")
    return 8 * compressed_bytes / len(text)
