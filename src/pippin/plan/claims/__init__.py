"""Published claims about AI chips, recomputed: each gets a verdict, its numbers and what would flip it.

A check is a function of the catalog (`@check("C06")`); what it divides and multiplies are rows of data files,
never numbers in the code.
"""

from __future__ import annotations

from collections.abc import Sequence

from pippin.catalog import Catalog
from pippin.catalog.claims import load_claims
from pippin.errors import PippinError, nearest
from pippin.plan.claims import money, network, peaks, press, pretraining, serving, sizes, trainers
from pippin.plan.claims.evidence import Evidence
from pippin.plan.claims.finding import CHECKS, MEANING, VERDICTS, Claim, Finding, Number, Verdict

__all__ = ["MEANING", "VERDICTS", "Claim", "Finding", "Number", "Verdict", "check_claims"]

# Importing them registers their checks.
_CHECKED_BY = (peaks, sizes, pretraining, trainers, money, serving, network, press)


def check_claims(catalog: Catalog, claim_ids: Sequence[str] = ()) -> list[Claim]:
    """Every claim of the catalog with its finding, or those asked for, in the order of the table.

    Raises:
        PippinError: an id that is not known; the nearest is named.
    """
    rows = load_claims()
    wanted = [claim_id.upper() for claim_id in claim_ids] or list(rows)
    for claim_id in wanted:
        if claim_id not in rows:
            near = nearest(claim_id, rows)
            fix = f"did you mean '{near}'?" if near else "`pippin claims` lists them"
            raise PippinError(f"unknown claim '{claim_id}'", fix=fix)
    evidence = Evidence(catalog)
    return [Claim(row, _finding(evidence, row.claim_id)) for row in rows.values() if row.claim_id in wanted]


def _finding(evidence: Evidence, claim_id: str) -> Finding:
    try:
        return CHECKS[claim_id](evidence, load_claims()[claim_id])
    except LookupError as error:
        # A file of the user's may have taken away what a check needs.
        return Finding("cannot be checked", str(error), {}, ("the catalog",), ("the missing figure",))
