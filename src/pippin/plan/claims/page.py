"""docs/claims.md, from the checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pippin.plan.claims.finding import MEANING, VERDICTS, Claim, Number

_HEAD = """# Published claims, recomputed

Made by `pippin claims --markdown`; a test holds that the page is what the code says. The claims are rows of
`claims.csv`, what they are computed from are rows of the other files of [the catalog](catalog.md).

```bash
pippin claims
pippin claims C01
pippin claims --json
```

| verdict | what it means | claims |
| --- | --- | --- |
"""


def figure(value: float | None) -> str:
    """A number as it is printed: four significant digits."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def markdown(claims: Sequence[Claim]) -> str:
    """The whole page."""
    counts = Counter(claim.finding.verdict for claim in claims)
    verdicts = "".join(f"| {verdict} | {MEANING[verdict]} | {counts[verdict]} |\n" for verdict in VERDICTS)
    rows = "".join(f"| {c.row.claim_id} | {c.finding.verdict} | {_cell(c.row.claim)} |\n" for c in claims)
    listing = f"\n| id | verdict | claim |\n| --- | --- | --- |\n{rows}"
    return _HEAD + verdicts + listing + "".join(_section(claim) for claim in claims)


def _section(claim: Claim) -> str:
    row, finding = claim.row, claim.finding
    lines = [
        f"\n## {row.claim_id}\n",
        f"{row.claim}.\n",
        f"Said by {row.said_by}, {row.date or 'no date'}. Source: {row.source}. Trust: {row.trust}.\n",
        f"**{finding.verdict[0].upper()}{finding.verdict[1:]}**: {finding.because}.\n",
    ]
    if finding.numbers:
        lines.append("| number | value | computed from |\n| --- | --- | --- |")
        lines += [_number(name, number) for name, number in finding.numbers.items() if not number.interval]
        lines.append("")
    if any(number.interval for number in finding.numbers.values()):
        lines.append(
            f"The planner's own predictions change with its calibration: `pippin claims {row.claim_id}`.\n"
        )
    lines.append(f"Depends on: {'; '.join(finding.depends_on)}.\n")
    lines.append(f"Would flip it: {'; '.join(finding.flips)}.")
    return "\n".join(lines) + "\n"


def _number(name: str, number: Number) -> str:
    unit = f" {number.unit}" if number.value is not None else ""
    return f"| {_cell(name)} | {figure(number.value)}{unit} | {_cell(number.basis)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
