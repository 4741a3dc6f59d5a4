"""`pippin claims`: published claims with a verdict each."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pippin.catalog import load_catalog
from pippin.catalog.describe import Sheet
from pippin.cli.catalog import draw, print_json
from pippin.plan.claims import MEANING, VERDICTS, Claim, Number, check_claims
from pippin.plan.claims.page import figure, markdown


def run(claim_ids: Sequence[str], file: Path | None, *, as_json: bool, as_markdown: bool) -> None:
    """Prints the claims; a few by id in full."""
    catalog = load_catalog(file)
    claims = check_claims(catalog, claim_ids)
    if as_json:
        more = {"catalog_changes": list(catalog.changes)} if catalog.changes else {}
        print_json([claim.as_dict() | more for claim in claims])
    elif as_markdown:
        sys.stdout.write(markdown(claims))
    elif claim_ids:
        draw([_in_full(claim) for claim in claims], catalog)
    else:
        draw([_table(claims)], catalog)


def _table(claims: list[Claim]) -> Sheet:
    counts = Counter(claim.finding.verdict for claim in claims)
    rows = tuple((claim.row.claim_id, claim.finding.verdict, claim.row.claim) for claim in claims)
    notes = [f"{verdict} ({counts[verdict]}): {MEANING[verdict]}" for verdict in VERDICTS]
    notes.append("`pippin claims ID` has the reason, the numbers and what would flip it.")
    return Sheet("published claims", ("id", "verdict", "claim"), rows, tuple(notes))


def _value(number: Number) -> str:
    if number.value is None:
        return "unknown"
    span = f" ({figure(number.interval[0])} to {figure(number.interval[1])})" if number.interval else ""
    return f"{figure(number.value)}{span} {number.unit}".strip()


def _in_full(claim: Claim) -> Sheet:
    row, finding = claim.row, claim.finding
    rows = tuple((name, _value(number), number.basis) for name, number in finding.numbers.items())
    notes = (
        f"{finding.verdict}: {finding.because}.",
        f"depends on: {'; '.join(finding.depends_on)}.",
        f"would flip it: {'; '.join(finding.flips)}.",
        f"said by {row.said_by}, {row.date or 'no date'}; {row.source}; trust: {row.trust}.",
    )
    return Sheet(f"{row.claim_id}: {row.claim}", ("number", "value", "computed from"), rows, notes)
