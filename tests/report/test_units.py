"""Numbers for people."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.report import units


def plain(text: str) -> str:
    return text.replace(units.SPACE, " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,300"),
        (736.4, "736"),
        (9.996, "10.0"),
        (0.9996, "1.00"),
        (0.041234, "0.0412"),
        (0, "0"),
        (-2.5, "−2.50"),
        (1.234e-9, "1.23e−09"),
    ],
)
def test_significant(value: float, text: str) -> None:
    assert units.significant(value) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.si(1.234e12, "FLOP/s"), "1.23 TFLOP/s"),
        (units.si(999.9e9, "FLOP/s"), "1.00 TFLOP/s"),
        (units.si(0.00321, "J"), "3.21 mJ"),
        (units.si(0, "J"), "0 J"),
        (units.si(3e22, "FLOP"), "30,000 EFLOP"),
        (units.count(4_630_016), "4.63 M"),
        (units.count(8_030_261_248), "8.03 B"),
        (units.count(99_999), "99,999"),
        (units.percent(0.4123), "41 %"),
        (units.percent(0.0041), "0.41 %"),
        (units.percent(0.9987), "99.9 %"),
        (units.percent(1), "100 %"),
        (units.percent(-0.08), "−8.0 %"),
        (units.duration(0), "0 s"),
        (units.duration(0.0042), "4.2 ms"),
        (units.duration(0.4), "0.40 s"),
        (units.duration(59.7), "60 s"),
        (units.duration(178.4), "2 min 58 s"),
        (units.duration(180), "3 min"),
        (units.duration(7200), "2 h"),
        (units.duration(11_520), "3 h 12 min"),
        (units.byte_size(8 * 2**30), "8 GiB"),
        (units.byte_size(1536), "1.50 KiB"),
        (units.byte_size(12), "12 bytes"),
        (units.byte_size(5000 * 2**40), "5,000 TiB"),
        (units.dollars(31.2), "$31.20"),
        (units.dollars(0.00767), "$0.00767"),
        (units.moment("2026-08-14T13:05:42Z"), "2026-08-14 13:05 UTC"),
        (units.describe(True, None), "yes"),
        (units.describe(1234567, "tokens"), "1,234,567"),
        (units.describe((), None), "none"),
        (units.describe([206.12345, 7.5], None), "206, 7.50"),
        (units.describe(139.31, "s"), "139.3 s"),
    ],
)
def test_numbers_for_people(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(st.floats(min_value=1e-5, max_value=1e15), st.integers(min_value=1, max_value=6))
def test_significant_keeps_the_digits_it_promises(value: float, digits: int) -> None:
    read = float(units.significant(value, digits).replace(",", ""))
    assert abs(read - value) <= 0.5 * 10 ** (math.floor(math.log10(value)) - digits + 1) * (1 + 1e-9)


@given(st.floats(min_value=1e-6, max_value=1e20))
def test_si_gives_the_value_back_and_at_most_three_digits_before_the_point(value: float) -> None:
    scaled, prefix = units.si_parts(value)
    exponent = {"µ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}[prefix]
    assert scaled * 10.0**exponent == pytest.approx(value)
    assert len(units.significant(scaled).split(".")[0].replace(",", "")) <= 3
