"""Writes docs/accuracy.md: `python -m pippin.plan.accuracy docs/accuracy.md`. Takes some minutes.

Every figure on the page is held out; none is of rows that a calibration saw.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pippin.plan.calibration import shipped_calibration
from pippin.plan.reading import shipped_runs
from pippin.plan.runs import Run
from pippin.plan.validation import Progress, cross_validate, summary
from pippin.storage import write_atomic

_HEADER = (
    "| | rows | median | mean | 90th percentile | bias | in the 80 % interval | baseline median | mean |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def page(progress: Progress | None = None) -> str:
    """The page in Markdown."""
    published, sweep = _tables()
    by_family = summary(cross_validate(published, "family", progress))
    by_source = summary(cross_validate(published, "source", progress))
    by_width = summary(cross_validate(sweep, "family", progress))
    text = files("pippin.plan").joinpath("data", "accuracy.md.txt").read_text(encoding="utf-8")
    for name, part in {
        "FAMILY": _table(by_family),
        "ACCOUNT": _account(by_family),
        "SOURCES": _groups(by_family["by_source"]),
        "CHIPS": _groups(by_family["by_chip"]),
        "APART": f"{_table(by_source)}\n\n{_groups(by_source['by_source'])}",
        "LOSES": _losses(by_family, by_source),
        "WIDTH": _sweep(by_width),
        "RANKING": _ranking(by_family),
        "CALIBRATION": _calibration(),
    }.items():
        text = text.replace(f"@{name}@", part)
    return text


def _tables() -> tuple[list[Run], list[Run]]:
    sweep = [run for run in shipped_runs() if run.id.startswith("vtrain")]
    return [run for run in shipped_runs() if not run.id.startswith("vtrain")], sweep


def _line(name: str, scores: dict[str, Any]) -> str:
    covered, baseline = scores["interval_coverage"], scores["baseline"]
    cells = [f"{scores[key]:.1%}" for key in ("median_abs_error", "mean_abs_error", "p90_abs_error")]
    cells += [f"{scores['bias']:+.1%}", "" if covered is None else f"{covered:.0%}"]
    cells += [f"{baseline[key]:.1%}" for key in ("median_abs_error", "mean_abs_error")]
    return f"| {name} | {scores['rows']} | " + " | ".join(cells) + " |"


def _table(found: dict[str, Any]) -> str:
    lines = [
        _line("rows", found | {"rows": found["headline_rows"]}),
        _line("mean over sources", found["source_weighted"] | {"rows": len(found["by_source"])}),
        _line("with the rows flagged as wrong", found["with_wrong_rows"]),
    ]
    return "\n".join([_HEADER, *lines])


def _groups(groups: dict[str, dict[str, Any]]) -> str:
    return "\n".join([_HEADER, *(_line(name, scores) for name, scores in groups.items())])


def _account(found: dict[str, Any]) -> str:
    tier = found["tier_a"]
    lines = [
        f"{found['rows']} rows, {found['scored']} predicted, of which {found['older_releases']} are older "
        f"releases of a configuration and {sum(found['wrong'].values())} are flagged wrong; the figures are "
        f"of the other {found['headline_rows']}.",
        f"Of {tier['rows']} tier A rows, {tier['scored']} are predicted.",
        "",
        "| refused or flagged | rows |",
        "| --- | --- |",
        *(f"| refused: {reason} | {count} |" for reason, count in found["refused"].items()),
        *(f"| wrong: {reason} | {count} |" for reason, count in found["wrong"].items()),
    ]
    return "\n".join(lines)


def _losses(*every: dict[str, Any]) -> str:
    """Where the baseline's median is lower."""
    lines = []
    for found in every:
        for kind in ("by_source", "by_chip"):
            for name, scores in found[kind].items():
                ours, theirs = scores["median_abs_error"], scores["baseline"]["median_abs_error"]
                if ours >= theirs:
                    figures = f"{ours:.1%}, baseline {theirs:.1%}"
                    lines.append(f"- {found['method']}: {name} ({scores['rows']} rows): {figures}.")
    return "\n".join(lines) or "On no source and no chip."


def _sweep(found: dict[str, Any]) -> str:
    means = found["ranking_mean"]
    return (
        f"{_HEADER}\n{_line('one width held out', found | {'rows': found['headline_rows']})}\n\n"
        f"Of {means['groups']} groups of one model, chip count and global batch: Kendall's tau is "
        f"{means['tau']:.2f} on average, and the layout it picks is {means['regret']:.1%} slower "
        "than the best listed."
    )


def _ranking(found: dict[str, Any]) -> str:
    means = found["ranking_mean"]
    return (
        f"In `published.csv` {means['groups']} groups have more than one layout: tau {means['tau']:.2f}, "
        f"regret {means['regret']:.1%}. Most are pairs."
    )


def _calibration() -> str:
    provenance = shipped_calibration().provenance
    if provenance is None:
        return "None ships."
    lines = [f"| {source.name} | {source.rows} |" for source in provenance.sources]
    return "\n".join(
        [
            f"Fitted on {provenance.date} with version {provenance.version} to {provenance.rows} rows:",
            "",
            "| source | rows |",
            "| --- | --- |",
            *lines,
        ]
    )


def main(arguments: Sequence[str]) -> None:
    """Writes the page to the path given."""
    if len(arguments) != 1:
        raise SystemExit("python -m pippin.plan.accuracy docs/accuracy.md")
    write_atomic(Path(arguments[0]), page())


if __name__ == "__main__":
    main(sys.argv[1:])
