"""docs/plan.md says what the planner does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.models.published import PUBLISHED_RECIPES
from pippin.plan.counts import active_parameters, num_parameters
from pippin.plan.memory_fit import cross_validated_errors, memory_runs

PAGE = Path(__file__).parents[2] / "docs" / "plan.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def rows(page: str) -> dict[str, list[str]]:
    """Rows of all tables by their first cell, without backticks."""
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in page.splitlines()
        if line.startswith("| ")
    ]
    return {row[0].strip("` "): row[1:] for row in cells}


def test_every_published_recipe_is_in_the_table(page: str) -> None:
    table = rows(page)
    for name, recipe in PUBLISHED_RECIPES.items():
        config = ModelConfig(**{"vocab_size": 8192} | preset(name))
        assert table[name][:4] == [
            f"{num_parameters(config):,}",
            f"{active_parameters(config):,}",
            f"{recipe.global_batch:,}",
            f"{recipe.sequence_length:,}",
        ]
        assert table[name][5].strip(" |") == ("published" if recipe.batch_published else "assumed")


def test_the_memory_figures_of_the_page_are_those_of_the_fit(page: str) -> None:
    errors = abs(cross_validated_errors(memory_runs())) * 100
    said = re.search(r"mean absolute error is ([\d.]+) % and the largest ([\d.]+) %", " ".join(page.split()))
    assert said
    assert [float(x) for x in said.groups()] == [round(errors.mean(), 1), round(errors.max(), 1)]
    assert f"{len(memory_runs())} runs of one source" in " ".join(page.split())


def test_every_option_is_documented(page: str) -> None:
    source = (PAGE.parents[1] / "src/pippin/cli/plan_verb.py").read_text(encoding="utf-8")
    verb = source[source.index("def plan(") :]
    names = {name.replace("_", "-") for name in re.findall(r"^    (\w+): Annotated", verb, re.MULTILINE)}
    names -= {"job", "file", "as-json", "flash"}
    missing = [name for name in names | {"catalog", "json", "no-flash"} if f"`--{name}`" not in page]
    # `--max-days` stands beside the objective it bounds.
    assert missing == []
