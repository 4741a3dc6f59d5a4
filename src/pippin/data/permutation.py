"""A keyed permutation of range(n): a shuffle that can be asked for any place without being made.

A Feistel network over the smallest power of two that holds n, walked until it falls below n (cycle
walking; Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). A linear congruential
"shuffle" in this place was too weak and hurt a real 32B run (Levanter, `data/_prp.py`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_NUM_ROUNDS = 8
_U64 = np.uint64


class Permutation:
    """The permutation of range(length) that `key` picks; keys count modulo 2**64."""

    def __init__(self, length: int, key: int) -> None:
        if not 1 <= length <= 1 << 62:
            raise ValueError(f"length must be from 1 to 2**62, not {length}")
        self._length = length
        num_bits = (length - 1).bit_length()
        # Halves may differ by one bit, so that fewer than half of the places lie beyond the length.
        self._low_bits = _U64(num_bits // 2)
        self._low_mask = _U64((1 << (num_bits // 2)) - 1)
        self._high_mask = _U64((1 << (num_bits - num_bits // 2)) - 1)
        start = np.array([key & (1 << 64) - 1], dtype=_U64)
        self._round_keys = _mixed(
            start + np.arange(1, _NUM_ROUNDS + 1, dtype=_U64) * _U64(0x9E3779B97F4A7C15)
        )

    def __call__(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where each of `indices` goes, in the same shape; both lie in [0, length).

        Raises:
            IndexError: an index is out of range.
        """
        given = np.asarray(indices, dtype=np.int64)
        if given.size and (given.min() < 0 or given.max() >= self._length):
            raise IndexError(f"indices must lie from 0 to {self._length - 1}")
        places = self._rounds(given.ravel().astype(_U64))
        outside = np.flatnonzero(places >= self._length)
        while outside.size:
            places[outside] = self._rounds(places[outside])
            outside = outside[places[outside] >= self._length]
        return places.astype(np.int64).reshape(given.shape)

    def _rounds(self, x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        high, low = x >> self._low_bits, x & self._low_mask
        for number, key in enumerate(self._round_keys):
            if number % 2:
                low = low ^ (_mixed(high ^ key) & self._low_mask)
            else:
                high = high ^ (_mixed(low ^ key) & self._high_mask)
        return (high << self._low_bits) | low


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every bit of x reaches every bit."""
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))
