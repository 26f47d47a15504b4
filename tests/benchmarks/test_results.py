"""Results as JSON and back."""

import orjson
import pytest

from benchmarks.errors import CannotMeasure
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.results import PartResult, Results, from_json, read_results, to_json
from benchmarks.sizes import Sizes
from tests.benchmarks.made_up import MACHINE, full


def one(*figures):
    return Results("quick", MACHINE, Sizes(seed=77), (PartResult("http", 1.5, figures),), {"tail": "no wrk"}, 2.5)


FIGURE = Figure(
    "HTTP", "http", "a thing", "ns", Spread.of([1.0, 2.0, 3.5]), {"batch": 10, "form": "json", "share": 0.5},
    (beside("bare", [1.0, 2.0], [2.0, 3.0]),), (Goal(0.5, at_most=True, ratio_to="bare"), Goal(9.0, at_most=True)),
    "a note", ((0.0, 1.0), (0.5, 2.0)),
)  # fmt: skip


def test_what_is_written_is_read_again():
    for results in (one(FIGURE), full()):
        assert from_json(to_json(results)) == results


def test_the_file_says_what_a_reader_needs():
    document = orjson.loads(to_json(one(FIGURE)))
    assert {name: document[name] for name in ("version", "suite", "seconds", "left_out")} == {
        "version": 1, "suite": "quick", "seconds": 2.5, "left_out": {"tail": "no wrk"},
    }  # fmt: skip
    assert document["machine"]["date"] == MACHINE.date
    assert document["sizes"]["seed"] == 77
    part = document["parts"][0]
    assert (part["name"], part["seconds"]) == ("http", 1.5)
    figure = part["figures"][0]
    assert figure["name"] == "http batch=10 form=json share=0.5"
    assert figure["spread"] == {"median": 2.0, "least": 1.0, "most": 3.5, "rounds": 3}
    assert [baseline["name"] for baseline in figure["baselines"]] == ["bare"]
    assert [(goal["ratio_to"], goal["met"]) for goal in figure["goals"]] == [("bare", False), (None, True)]
    assert figure["series"] == [[0.0, 1.0], [0.5, 2.0]]


def test_two_figures_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"more than one figure is named http batch=10 form=json share=0\.5"):
        one(FIGURE, FIGURE)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace(b'"version": 1', b'"version": 2'), "version"),
        (lambda text: text.replace(b'"unit": "ns"', b'"units": "ns"'), "unit"),
        (lambda text: text[:100], "JSON"),
    ],
)
def test_a_file_of_another_shape_is_named(tmp_path, spoil, said):
    text = to_json(one(FIGURE))
    spoilt = spoil(text)
    assert spoilt != text
    (tmp_path / "results.json").write_bytes(spoilt)
    with pytest.raises(CannotMeasure, match=rf"results\.json: .*measure again(.|\n)*{said}"):
        read_results(tmp_path / "results.json")
    with pytest.raises(CannotMeasure, match=r"nothing\.json cannot be read"):
        read_results(tmp_path / "nothing.json")
