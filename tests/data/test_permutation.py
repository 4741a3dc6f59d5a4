from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.data.permutation import Permutation

LENGTHS = st.one_of(
    st.integers(1, 40), st.integers(1, 5000), st.sampled_from([255, 256, 257, 4095, 4096, 4097])
)
KEYS = st.integers(0, 2**64 - 1)


def image(length: int, key: int) -> np.ndarray:
    return Permutation(length, key)(np.arange(length, dtype=np.int64))


@given(LENGTHS, KEYS)
def test_bijective_and_in_range(length: int, key: int) -> None:
    places = image(length, key)
    assert places.dtype == np.int64
    assert np.array_equal(np.sort(places), np.arange(length))


@given(st.integers(1, 2**62), KEYS, st.lists(st.integers(0, 2**62), min_size=1, max_size=20, unique=True))
def test_large_lengths(length: int, key: int, wanted: list[int]) -> None:
    indices = np.unique(np.array([index % length for index in wanted], dtype=np.int64))
    places = Permutation(length, key)(indices)
    assert places.min() >= 0
    assert places.max() < length
    assert len(np.unique(places)) == len(indices)


@given(LENGTHS, KEYS)
def test_a_place_does_not_depend_on_what_else_is_asked(length: int, key: int) -> None:
    whole = image(length, key)
    pick = np.array([[0, length - 1], [length // 2, length // 3]], dtype=np.int64)
    assert np.array_equal(Permutation(length, key)(pick), whole[pick])


def test_known_values() -> None:
    """Runs must go on under later versions: these numbers may never change."""
    assert image(10, 1).tolist() == [2, 6, 4, 8, 5, 7, 0, 9, 3, 1]
    assert Permutation(10**12, 7)(np.array([0, 10**12 - 1])).tolist() == [907683893606, 547714748061]


@pytest.mark.parametrize("length", [3, 1000, 4097, 65_536])
def test_looks_random(length: int) -> None:
    """Against what a uniformly random permutation does, within five standard deviations or more."""
    if length < 1000:
        first = [int(image(length, key)[0]) for key in range(3000)]
        counts = np.bincount(first, minlength=length)
        assert np.abs(counts - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)
        return
    for key in range(5):
        places = image(length, key)
        steps = np.diff(places)
        # A linear shuffle has one step modulo the length; a random one misses a share 1/e of all steps.
        distinct = len(np.unique(steps % length)) / length
        assert abs(distinct - (1 - np.exp(-1))) < 0.05
        assert abs(np.abs(steps).mean() / length - 1 / 3) < 5 * 0.24 / np.sqrt(length)
        assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 5 / np.sqrt(length)
        assert abs(np.corrcoef(places, np.arange(length))[0, 1]) < 5 / np.sqrt(length)
        assert (places == np.arange(length)).sum() < 10


def test_each_stretch_is_spread_evenly() -> None:
    places = image(64_000, 3)
    counts = np.stack([np.bincount(part // 1000, minlength=64) for part in np.split(places, 64)])
    chi_squared = ((counts - 1000 / 64) ** 2 / (1000 / 64)).sum()
    degrees = 63 * 63
    assert abs(chi_squared - degrees) < 6 * np.sqrt(2 * degrees)


@pytest.mark.parametrize("keys", [(0, 1), (1, 2), (5, 5 + 2**63), (2**64 - 1, 0)])
def test_keys_give_unrelated_permutations(keys: tuple[int, int]) -> None:
    one, other = (image(10_007, key) for key in keys)
    assert (one == other).sum() < 10
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


def test_every_permutation_of_four_occurs() -> None:
    assert len({tuple(image(4, key).tolist()) for key in range(3000)}) == 24


def test_out_of_range() -> None:
    with pytest.raises(IndexError):
        Permutation(5, 0)(np.array([5]))
    with pytest.raises(IndexError):
        Permutation(5, 0)(np.array([-1]))
    with pytest.raises(ValueError, match="length"):
        Permutation(0, 0)
    assert Permutation(5, 0)(np.array([], dtype=np.int64)).shape == (0,)
