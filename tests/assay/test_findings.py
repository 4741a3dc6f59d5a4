"""Every null of a report has its reason."""

from __future__ import annotations

from pippin.assay.findings import ONLY_FULL, Unknown


def test_a_null_notes_its_reason_and_a_number_does_not() -> None:
    unknown = Unknown()
    assert unknown.known("mfu", 0.4, "no peak") == 0.4
    assert unknown.known("energy.joules", None, "no meter") is None
    assert unknown.known("waterfall", None, ONLY_FULL) is None
    assert unknown == {"energy.joules": "no meter", "waterfall": ONLY_FULL}
