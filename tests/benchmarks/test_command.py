"""`python -m benchmarks`: parts one after the other, what is left out, exit codes, floors."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import benchmarks.__main__ as command
from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.floors import read_floors, write_floors
from benchmarks.parts import SUITES
from benchmarks.results import read_results, to_json
from benchmarks.sizes import Sizes
from benchmarks.suite import Suite, measuring
from tests.benchmarks.made_up import full

TINY = Sizes(seed=4711, entries=2_000, compile_lines=2_000)


def made_up(key="thing", ns=50.0, goal=60.0):
    """A figure that is 200 / ns times as good as the set."""
    baselines = (beside("set", [ns] * 3, [200.0] * 3),)
    return Figure("part", key, key, "ns", Spread.of([ns]), {}, baselines, (Goal(goal, at_most=True),))


def gives(*figures):
    """A part that gives figures, the last of them from the second time on."""
    left = list(figures)

    def measure(run):
        yield left.pop(0) if len(left) > 1 else left[0]

    return measure


def raises(error):
    def measure(run):
        yield made_up("before it")
        raise error

    return measure


@pytest.fixture
def offer(monkeypatch, tmp_path):
    """Let the command offer suites of made-up parts, and floors of a file of ours."""
    monkeypatch.setattr(command, "FLOORS_FILE", tmp_path / "floors.json")
    monkeypatch.delenv("CI", raising=False)

    def with_parts(**parts):
        suites = {name: Suite(name, TINY, parts) for name in ("quick", "full")}
        monkeypatch.setattr(command, "SUITES", suites)

    return with_parts


def run(*arguments):
    return CliRunner().invoke(command.main, [*map(str, arguments)])


def test_parts_run_in_order_and_say_how_far_they_are(offer, tmp_path):
    offer(first=gives(made_up("one")), second=gives(made_up("two")))
    result = run("quick", "--json", tmp_path / "new" / "figures.json", "--work-dir", tmp_path)
    assert result.exit_code == 0, result.output
    said = [line.split(maxsplit=2)[2] for line in result.stderr.splitlines()]
    assert [line.split(" in ")[0] for line in said] == ["first …", "first: 1 figures", "second …", "second: 1 figures"]
    assert "goals met: 2 of 2" in result.stdout
    results = read_results(tmp_path / "new" / "figures.json")
    assert [(part.name, part.figures[0].key) for part in results.parts] == [("first", "one"), ("second", "two")]
    assert (results.suite, results.sizes) == ("quick", TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_only_the_parts_asked_for_are_run_with_the_seed_asked_for(offer, tmp_path):
    seeds = []

    def noted(run):
        seeds.append(run.sizes.seed)
        yield made_up()

    offer(first=raises(WrongAnswer("not asked for")), second=noted)
    assert run("quick", "--part", "second", "--seed", 9).exit_code == 0
    assert seeds == [9]
    unknown = run("quick", "--part", "third")
    assert unknown.exit_code == 2
    assert "no part of quick: third; there are first, second" in unknown.stderr
    whole = run("quick", "--part", "second", "--results", tmp_path)
    assert whole.exit_code == 2
    assert "--part goes with --json" in whole.stderr


@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 1)])
def test_a_missed_goal_is_said_and_only_strict_fails(offer, strict, code):
    offer(first=gives(made_up("slow thing", ns=500.0)))
    result = run("quick", *strict)
    assert result.exit_code == code, result.output
    assert "MISSED: slow thing" in result.stdout


def test_a_part_that_cannot_be_measured_is_left_out_by_name_but_not_in_ci(offer, monkeypatch):
    offer(first=raises(CannotMeasure("no wrk in PATH")), second=gives(made_up()))
    result = run("quick")
    assert result.exit_code == 0, result.output
    assert "first is LEFT OUT: no wrk in PATH" in result.stderr
    assert result.stdout.splitlines()[-2] == "left out: first: no wrk in PATH"
    assert "before it" not in result.stdout  # half a part is none
    monkeypatch.setenv("CI", "true")
    in_ci = run("quick")
    assert in_ci.exit_code == 3
    assert "CannotMeasure: no wrk in PATH" in in_ci.stderr
    monkeypatch.delenv("CI")
    offer(first=raises(CannotMeasure("no wrk in PATH")))
    assert run("quick").exit_code == 3


def test_a_wrong_answer_ends_the_run_with_3_and_without_figures(offer, tmp_path):
    offer(first=gives(made_up()), second=raises(WrongAnswer("it lied")))
    result = run("quick", "--work-dir", tmp_path, "--json", tmp_path / "figures.json")
    assert result.exit_code == 3
    assert "WrongAnswer: it lied" in result.stderr
    assert not result.stdout
    assert not list(tmp_path.iterdir())


def test_results_are_written_with_their_report(offer, tmp_path):
    offer(first=gives(made_up()))
    assert run("full", "--results", tmp_path / "results").exit_code == 0
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"full.json", "report.md"}
    assert "| thing | ≤ 60 ns | 50 ns | met |" in (tmp_path / "results" / "report.md").read_text()


@pytest.mark.parametrize(
    ("measured", "code", "said"),
    [
        ([made_up(ns=100.0)], 0, "floors: 1 of 1 hold"),
        ([made_up(ns=150.0)], 1, "FAILED: first: thing, beside set: is 1.33 times as good; its floor is 1.4"),
        ([made_up(ns=150.0), made_up(ns=100.0)], 0, "recovered: first: thing, beside set: is 2 times as good"),
        ([made_up("other", ns=100.0)], 1, "FAILED: first: thing, beside set: is no longer measured; its floor is 1.4"),
    ],
)
def test_the_gate(offer, measured, code, said):
    offer(first=gives(*measured))
    write_floors({"first": {"thing": {"set": 1.4}}}, command.FLOORS_FILE)
    result = run("quick", "--check-floors")
    assert result.exit_code == code, result.output
    assert said in result.stdout
    assert run("quick").exit_code == 0  # who does not ask for the gate is not held against it


def test_floors_of_parts_that_were_left_out_are_not_held_against_it(offer):
    offer(first=raises(CannotMeasure("no wrk in PATH")), second=gives(made_up()))
    write_floors({"first": {"thing": {"set": 1.4}}, "second": {"thing": {"set": 1.4}}}, command.FLOORS_FILE)
    result = run("quick", "--check-floors")
    assert result.exit_code == 0
    assert "not held against its floors, since it was not measured: first\nfloors: 1 of 1 hold" in result.stdout
    assert run("full", "--check-floors").exit_code == 2


def test_floors_are_set_from_a_whole_run_of_the_quick_suite(offer, tmp_path):
    offer(first=gives(made_up(ns=50.0)), second=gives(made_up("two", ns=400.0), made_up("two", ns=500.0)))
    file = tmp_path / "figures.json"
    assert run("quick", "--json", file).exit_code == 0
    result = run("--set-floors", file)
    assert result.exit_code == 0
    assert "set 2 floors" in result.stdout
    wanted = {"first": {"thing": {"set": 2.8}}, "second": {"two": {"set": 0.35}}}
    assert read_floors(command.FLOORS_FILE) == wanted
    assert run("quick", "--json", tmp_path / "slower.json").exit_code == 0
    slower = run("--set-floors", tmp_path / "slower.json", "--set-floors", file)
    assert slower.exit_code == 0
    wanted["second"]["two"]["set"] = 0.28
    assert read_floors(command.FLOORS_FILE) == wanted
    partial = read_results(file)
    for other in (replace(partial, suite="full"), replace(partial, parts=partial.parts[:1]), full()):
        file.write_bytes(to_json(other))
        refused = run("--set-floors", file)
        assert refused.exit_code == 3
        assert "a whole run of the suite quick" in refused.stderr
    assert read_floors(command.FLOORS_FILE) == wanted


def test_each_part_works_in_a_directory_of_its_own_and_shares_the_stores(tmp_path):
    seen = []

    def measure(run):
        assert not list(run.work.iterdir())
        seen.append((run.work, run.store(2_000)))
        (run.work / "left behind").touch()
        yield made_up(f"thing {len(seen)}")

    suite = Suite("quick", TINY, {"first": measure, "second": measure})
    with measuring(suite, tmp_path, lambda line: None) as under_way:
        under_way.parts(("first", "second"), leave_out=False)
        under_way.part("first")
        directories = {work for work, _ in seen}
        assert len(directories) == 3
        assert not any(work.exists() for work in directories)
        stores = {store for _, store in seen}
        assert len(stores) == 1
        assert (stores.pop() / "CURRENT").exists()
    assert not list(tmp_path.iterdir())


def test_a_part_without_figures_is_no_part(tmp_path):
    suite = Suite("quick", TINY, {"first": lambda run: iter(())})
    with measuring(suite, tmp_path, lambda line: None) as under_way, pytest.raises(CannotMeasure, match="no figures"):
        under_way.part("first")


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path):
    suite = Suite("quick", replace(TINY, compile_lines=10**12), {})
    with pytest.raises(CannotMeasure, match="--work-dir"), measuring(suite, tmp_path, lambda line: None):
        raise AssertionError
    assert not list(tmp_path.iterdir())


def test_the_makefile_calls_suites_that_there_are():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    for name in SUITES:
        assert f"$(BENCH) {name} " in makefile
