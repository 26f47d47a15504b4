"""The report that stands beside the results, and the README's table made from them."""

import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from benchmarks import readme_table, report
from benchmarks.errors import CannotMeasure, NoFigure
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.plots import PLOTS
from benchmarks.results import PartResult, to_json
from tests.benchmarks.made_up import full


def with_goals(results):
    goals = (Goal(0.5, at_most=True, ratio_to="sort -u"), Goal(60.0, at_most=True))
    slow = Figure(
        "made | up", "slow", "slow thing", "s", Spread.of([2.0, 3.0, 4.0]), {},
        (beside("sort -u", [2.0, 3.0, 4.0], [5.0, 5.0, 5.0]),), goals, "a note",
    )  # fmt: skip
    return replace(results, parts=(*results.parts, PartResult("more", 1.0, (slow,))))


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "full.json").write_bytes(to_json(with_goals(full())))
    return tmp_path


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_report_shows_goals_beside_figures_and_embeds_every_plot(directory):
    report.write_report(directory)
    text = (directory / "report.md").read_text()
    assert "Some CPU, 2 cores" in text
    assert "2026-01-02" in text
    assert "| slow thing | ≤ 0.5 × sort -u | 0.6 (0.4–0.8) × (3 beside 5 s) | **missed** |" in text
    assert "| slow thing | ≤ 60 s | 3 (2–4) s | met |" in text
    assert "1 of 2 goals met." in text
    assert "| slow thing | 3 (2–4) s | 3 | sort -u 5 s | 0.6 (0.4–0.8) × | a note |" in text
    embedded = re.findall(r"!\[.+?\]\((.+?)\)", text)
    assert embedded == [plot.file_name for plot in PLOTS]
    assert set(contents(directory)) == {"full.json", "report.md", *embedded}


def test_every_figure_is_in_the_report(directory):
    report.write_report(directory)
    text = (directory / "report.md").read_text()
    for figure in full().figures():
        assert f"| {figure.what} |" in text
    for line in text.splitlines():
        if line.startswith("|"):  # as many cells as its heading has, whatever is in them
            assert len(re.findall(r"(?<!\\)\|", line)) in {5, 7}, line


def test_the_same_results_give_the_same_report_and_old_plots_go(directory):
    report.write_report(directory)
    before = contents(directory)
    (directory / "old.svg").write_text("of another version")
    assert CliRunner().invoke(report.main, [str(directory)]).exit_code == 0
    assert contents(directory) == before


def test_a_plot_without_its_figures_is_left_out_with_a_word(directory):
    results = with_goals(full())
    parts = tuple(part for part in results.parts if part.name != "compile")
    (directory / "full.json").write_bytes(to_json(replace(results, parts=parts, left_out={"compile": "no sort"})))
    report.write_report(directory)
    text = (directory / "report.md").read_text()
    assert "Not drawn, “Compiling a list”: no figure compile was measured." in text
    assert "- left out: compile: no sort" in text
    assert "compile.svg" not in text
    assert not (directory / "compile.svg").exists()


def test_several_suites_stand_in_one_report_and_in_one_plot(directory):
    report.write_report(directory)
    alone = contents(directory)
    compiles = next(part for part in full().parts if part.name == "compile").figures
    larger = tuple(replace(figure, at={"lines": 100 * int(figure.at["lines"])}) for figure in compiles)
    hundred = replace(full(), suite="100m", parts=(PartResult("compile-100m", 9.0, larger),))
    (directory / "100m.json").write_bytes(to_json(hundred))
    report.write_report(directory)
    text = (directory / "report.md").read_text()
    assert "## Goals, suite full" in text
    assert "## Goals, suite 100m" in text
    assert contents(directory)["compile.svg"] != alone["compile.svg"]
    assert contents(directory)["batch.svg"] == alone["batch.svg"]


def test_a_directory_without_results_is_refused(tmp_path):
    with pytest.raises(CannotMeasure, match="holds no results"):
        report.write_report(tmp_path)


def test_the_committed_report_is_that_of_the_committed_results(tmp_path):
    committed = readme_table.RESULTS_FILE.parent
    for path in committed.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    report.write_report(tmp_path)
    assert contents(tmp_path)["report.md"] == contents(committed)["report.md"]
    assert set(contents(tmp_path)) == set(contents(committed))
    assert {plot.file_name for plot in PLOTS} <= set(contents(committed))


def test_the_readme_shows_the_committed_results():
    result = CliRunner().invoke(readme_table.main, ["--check"])
    assert result.exit_code == 0, result.output


@pytest.fixture
def readme(tmp_path, monkeypatch):
    file = tmp_path / "README.md"
    file.write_text(f"# Title\n\n{readme_table.BEGIN}\nold\n{readme_table.END}\n\nEnd.\n")
    (tmp_path / "full.json").write_bytes(to_json(full()))
    monkeypatch.setattr(readme_table, "README_FILE", file)
    monkeypatch.setattr(readme_table, "RESULTS_FILE", tmp_path / "full.json")
    return file


def test_the_readmes_table_is_written_between_its_markers(readme):
    check = CliRunner().invoke(readme_table.main, ["--check"])
    assert check.exit_code == 1
    assert "python -m benchmarks.readme_table" in check.stderr
    assert "old" in readme.read_text()
    assert CliRunner().invoke(readme_table.main, []).exit_code == 0
    text = readme.read_text()
    assert text.startswith(f"# Title\n\n{readme_table.BEGIN}\n\nMedians of one run of `make bench` on 2 January 2026")
    assert text.endswith(f"{readme_table.END}\n\nEnd.\n")
    assert "old" not in text
    assert "| a miss in process, 1,000 a batch | 30.9 ns | Python set 250 ns | 8.1 × |" in text
    assert "| a miss in process, one at a time | 930 ns | Python set 250 ns | 0.27 × |" in text  # slower, and shown
    assert "35,000 requests/s | bare uvicorn + orjson 50,000 requests/s | 0.7 × |" in text
    assert "| 8,000 requests/s, 8 million digests/s |" in text
    assert CliRunner().invoke(readme_table.main, ["--check"]).exit_code == 0


def test_a_readme_without_markers_or_results_without_a_row_are_refused(readme):
    results = full()
    with pytest.raises(CannotMeasure, match="no place for the table"):
        readme_table.with_table("# Title\n", results)
    with pytest.raises(NoFigure, match="no figure client"):
        readme_table.with_table(readme.read_text(), replace(results, parts=results.parts[:2]))
    readme.with_name("full.json").unlink()
    result = CliRunner().invoke(readme_table.main, [])
    assert result.exit_code == 3
    assert "full.json cannot be read" in result.stderr
