"""The part that measures how long opening takes, tiny."""

from dataclasses import replace

from benchmarks import opening
from benchmarks.run import Run


def test_opening_is_measured_with_and_without_checksums(tiny, tmp_path):
    figures = {figure.name: figure for figure in opening.measure(Run(replace(tiny, http_rounds=1), tmp_path))}
    assert list(figures) == [
        "ready from CURRENT entries=3000", "ready from start entries=3000", "ready unverified entries=3000",
        "checksums entries=3000",
    ]  # fmt: skip
    assert {name: [goal.bound for goal in figure.goals] for name, figure in figures.items() if figure.goals} == {
        "ready from CURRENT entries=3000": [1], "checksums entries=3000": [0.8],
    }  # fmt: skip
    for figure in figures.values():
        assert figure.spread.least > 0
        assert figure.spread.rounds == 1
    assert (tmp_path / "store" / "CURRENT").exists()
