"""Two sides compared: the ratios, the reasons against, what is noted, and how sides are named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pippin.errors import PippinError
from pippin.report.comparison import Comparison, compare, compare_paths
from pippin.report.schema import Report
from pippin.report.sides import Side, read_side

Make = Callable[..., Report]


@pytest.fixture
def make(values: dict[str, Any]) -> Make:
    """Makes a report with windows of about `speed` tokens/s, 2 % noise, and `changes` by path."""

    def report(seed: int = 0, speed: float = 3000.0, windows: int = 20, **changes: Any) -> Report:
        made = copy.deepcopy(values)
        random = np.random.default_rng(seed)
        made["seed"] = seed
        made["speed"]["windows"] = made["speed"]["windows"][:windows]
        made["speed"]["window_joules"] = [200.0 + random.normal() for _ in made["speed"]["windows"]]
        for window in made["speed"]["windows"]:
            window["seconds"] = window["tokens"] / speed * np.exp(0.02 * random.standard_normal())
        for path, value in changes.items():
            *tables, name = path.split("__")
            table = made
            for part in tables:
                table = table[part]
            table[name] = value
        return Report.model_validate(made)

    return report


def side(label: str, *reports: Report) -> Side:
    return Side(label, tuple(f"{label}/{i}.json" for i in range(len(reports))), reports)


def against(a: Report | list[Report], b: Report | list[Report]) -> Comparison:
    sides = [item if isinstance(item, list) else [item] for item in (a, b)]
    return compare(side("A", *sides[0]), side("B", *sides[1]))


def test_the_ratio_is_b_over_a_and_that_of_the_windows(make: Make) -> None:
    a, b = make(1), make(2, speed=3600)
    found = against(a, b).ratios["tokens_per_second"]

    def rate(report: Report) -> float:
        windows = report.speed.windows
        return sum(w.tokens for w in windows) / sum(w.seconds for w in windows)

    assert (found.a, found.b) == pytest.approx((rate(a), rate(b)))
    assert found.ratio == pytest.approx(rate(b) / rate(a))
    assert found.low and found.high and 1.1 < found.low < found.ratio < found.high < 1.3
    back = against(b, a).ratios["tokens_per_second"]
    assert back.ratio == pytest.approx(1 / found.ratio)
    assert "times A (95 % interval" in against(a, b).verdict


def test_equal_machines_show_no_difference(make: Make) -> None:
    found = against(make(1), make(2))
    ratio = found.ratios["tokens_per_second"]
    assert ratio.low and ratio.high and ratio.low < 1 < ratio.high
    assert "no difference can be told" in found.verdict
    assert any("one run a side" in note for note in found.notes)


def test_a_price_scales_the_ratio_and_its_interval(make: Make) -> None:
    dear = [
        {**row.model_dump(), "usd_per_hour": 2 * row.usd_per_hour, "region": "eu"}
        for row in make().price.catalog or ()
        if row.kind == "on demand"
    ]
    found = against(make(1), make(2, price__catalog=dear, price__usd_per_hour=0.1664))
    speed, dollar = found.ratios["tokens_per_second"], found.ratios["tokens_per_dollar, on demand"]
    assert dollar.ratio == pytest.approx(speed.ratio / 2)
    assert (dollar.low, dollar.high) == pytest.approx(((speed.low or 0) / 2, (speed.high or 0) / 2))
    assert dollar.a == pytest.approx(speed.a / 0.103 * 3600)
    assert "c7a.large, eu, 2026-08-14" in dollar.basis and "us-east-1" in dollar.basis
    assert found.ratios["tokens_per_dollar, as given by the user"].ratio == pytest.approx(speed.ratio / 2)
    assert "tokens_per_dollar, spot" not in found.ratios
    assert found.unknown["ratios.tokens_per_dollar, spot"] == "tokens per dollar (spot): B has no such price"


def test_a_price_of_one_side_alone_or_not_of_all_its_runs_has_its_reason(make: Make) -> None:
    name = "tokens_per_dollar, as given by the user"
    runs = [make(2), make(3, price__usd_per_hour=0.5)]
    for a, b, label in ((make(1), runs, "B"), (runs, make(1), "A"), (runs, runs, "A")):
        found = against(a, b)
        assert name not in found.ratios and "tokens_per_dollar, spot" in found.ratios
        assert f"not all runs of {label} were given the same price" in found.unknown[f"ratios.{name}"]
    without = {key: None for key in type(make().price).model_fields if key != "catalog"}
    none = make(1).model_copy(update={"price": make().price.model_copy(update=without)})
    for a, b, label in ((none, make(2), "A"), (make(2), none, "B")):
        assert f"{label} has no such price" in against(a, b).unknown[f"ratios.{name}"]
    assert f"ratios.{name}" not in against(none, none).unknown  # nobody gave one


def test_the_cheapest_row_of_a_kind_counts(make: Make) -> None:
    rows = [row.model_dump() for row in make().price.catalog or ()]
    cheap = {**rows[0], "instance": "cheap", "usd_per_hour": 0.05}
    found = against(make(1), make(2, price__catalog=[*rows, cheap]))
    dollar, speed = found.ratios["tokens_per_dollar, on demand"], found.ratios["tokens_per_second"]
    assert dollar.ratio == pytest.approx(speed.ratio * 0.103 / 0.05)


def test_joules_are_compared_window_by_window(make: Make) -> None:
    b = make(2, speed__window_joules=[100.0 + i % 3 for i in range(20)])
    ratio = against(make(1), b).ratios["tokens_per_joule"]
    assert ratio.low and ratio.ratio == pytest.approx(1.98, rel=0.01) and ratio.low > 1.9
    assert "RAPL" in ratio.basis


def test_what_is_not_known_has_its_reason(make: Make, unknown: Report) -> None:
    few = make(1, windows=4)
    found = against(few, make(2))
    ratio = found.ratios["tokens_per_second"]
    assert ratio.low is None and ratio.high is None and ratio.ratio > 0
    assert "A has 4 windows" in found.unknown["ratios.tokens_per_second.low"]
    assert "without an interval: A has 4 windows" in found.verdict
    # Whole runs have one value each.
    assert found.ratios["tokens_per_second_end_to_end"].low is None
    assert "2 runs" in found.unknown["ratios.tokens_per_second_end_to_end.high"]
    found = against(unknown, unknown)
    assert "B: no way to know energy.joules" in found.unknown["ratios.tokens_per_joule"]
    assert "no kind of price" in found.unknown["ratios.tokens_per_dollar"]


def test_four_runs_of_two_windows_are_enough(make: Make) -> None:
    runs = [[make(10 * s + i, windows=2) for i in range(4)] for s in (1, 2)]
    found = against(runs[0], runs[1])
    assert found.ratios["tokens_per_second"].low
    assert found.ratios["tokens_per_second_end_to_end"].low  # equal to the last bit here, and known
    assert not found.notes


@pytest.mark.parametrize("change", [{"minutes_requested": 1.0}, {"full": False}])
def test_other_work_beside_the_training_leaves_the_end_to_end_rate_out(
    make: Make, change: dict[str, Any]
) -> None:
    found = against(make(1), make(2, **change))
    assert "tokens_per_second_end_to_end" not in found.ratios
    assert "minutes" in found.unknown["ratios.tokens_per_second_end_to_end"]


def test_held_out_scores_are_of_the_same_text_or_not_given(make: Make) -> None:
    found = against(make(1), make(2, held_out__bits_per_byte=1.9))
    assert found.held_out and found.held_out.difference == pytest.approx(0.031)
    found = against(make(1), make(2, data_sha256="ee" * 32))
    assert found.held_out is None and "same text" in found.unknown["held_out"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workload__preset": "pippin-10m"}, "another model: A has pippin-5m, B has pippin-10m"),
        ({"workload__sequence_length": 512}, "another sequence length"),
        ({"workload__num_layers": 7}, "another layers"),
        ({"flops_per_token": 2e7}, "another FLOPs of a token"),
        ({"basis__flop_definition": "6 N"}, "another FLOP definition"),
        ({"tokens_per_second_end_to_end": 0.0}, "B has a speed of 0"),
    ],
)
def test_what_is_not_comparable_is_refused(make: Make, change: dict[str, Any], reason: str) -> None:
    found = against(make(1), make(2, **change))
    assert not found.comparable and not found.ratios
    assert reason in "; ".join(found.reasons) and reason in found.verdict


def test_numerics_that_failed_are_refused(make: Make) -> None:
    bad = make(2, numerics__passed=False)
    found = against(make(1), bad)
    assert not found.comparable and "B failed the check of its numerics: B/0.json" in found.reasons
    found = against([bad, make(3)], make(1))
    assert not found.comparable and "A failed the check of its numerics: A/0.json" in found.reasons


def test_what_is_known_of_the_numerics_is_listed_where_it_differs(make: Make) -> None:
    untold = make(2, numerics__passed=None, unknown={"numerics.passed": "the runs were too few"})
    unchecked = make(3, numerics=None, unknown={"numerics": "measured only with --full"})
    words = {"passed": make(1), "cannot tell": untold, "not checked": unchecked}
    for one, a in words.items():
        for other, b in words.items():
            found = against(a, b)
            rows = [(row.a, row.b) for row in found.differences if row.what == "numerics"]
            assert found.comparable and rows == ([] if one == other else [(one, other)])
    mixed = against([make(1), unchecked], make(2))
    assert ("passed, not checked", "passed") in [(row.a, row.b) for row in mixed.differences]


def test_a_side_of_two_chips_is_refused(make: Make) -> None:
    found = against(make(1), [make(2), make(3, chip__name="another chip")])
    assert not found.comparable and "B mixes runs with another chip" in found.reasons[0]


def test_what_differs_without_forbidding_is_listed(make: Make) -> None:
    b = make(2, chip__cores=1, workload__batch_size=4, basis__compute_dtype="bfloat16")
    found = against(make(1), b)
    assert found.comparable
    rows = {row.what: (row.a, row.b) for row in found.differences}
    assert rows["logical cores"] == ("2", "1")
    assert rows["sequences a step"] == ("8", "4")
    assert rows["compute dtype"] == ("float32", "bfloat16")
    assert "chip" not in rows


def write(path: Path, report: Report) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.to_json())
    return path


def test_a_side_is_a_file_a_folder_or_several(make: Make, tmp_path: Path) -> None:
    one = write(tmp_path / "one/report.json", make(1))
    for number in (1, 2, 10):
        write(tmp_path / f"many/run-{number}/report.json", make(number))
    (tmp_path / "many/unfinished").mkdir()
    assert read_side("A", str(one)).paths == read_side("A", str(tmp_path / "one")).paths == (str(one),)
    many = read_side("A", str(tmp_path / "many"))
    assert [report.seed for report in many.reports] == [1, 2, 10]
    both = read_side("B", f"{tmp_path / 'one'},{tmp_path / 'many/run-2'}")
    assert [report.seed for report in both.reports] == [1, 2]


def test_a_side_that_is_not_there_says_so(make: Make, tmp_path: Path) -> None:
    with pytest.raises(PippinError, match="no such file or folder, for B"):
        read_side("B", str(tmp_path / "nowhere"))
    with pytest.raises(PippinError, match=r"no report\.json in it"):
        read_side("A", str(tmp_path))
    one = write(tmp_path / "report.json", make(1))
    with pytest.raises(PippinError, match="A holds one report twice"):
        read_side("A", f"{one},{tmp_path}")


def test_another_version_of_the_schema_is_a_reason_and_not_a_crash(make: Make, tmp_path: Path) -> None:
    new = write(tmp_path / "new.json", make(1))
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"schema_version": "1.0"}))
    found, *_ = compare_paths(str(new), str(old))
    assert not found.comparable and "schema version '1.0'" in found.reasons[0]


def test_every_null_has_its_reason(make: Make, unknown: Report) -> None:
    from pippin.report.schema import null_paths

    other = make(2, workload__num_layers=9)
    for found in (against(make(1), make(2)), against(unknown, unknown), against(make(1), other)):
        nulls = set(null_paths(found.model_dump(exclude={"unknown"})))
        assert nulls <= found.unknown.keys()
