"""The part that reads lists of each format, tiny; its files, and readers that lie."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from benchmarks import list_readers
from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.list_files import write_csv, write_hex, write_nsrl, write_vics
from benchmarks.list_readers import json_seconds, read_seconds, select_seconds
from benchmarks.run import Run
from loader.readers.base import Withdrawn

ROWS = 40
MAKERS = {
    "vics": lambda path: write_vics(path, 4711, ROWS),
    "table": lambda path: write_nsrl(path, 4711, ROWS, as_view=False),
    "view": lambda path: write_nsrl(path, 4711, ROWS, as_view=True),
    "csv": lambda path: write_csv(path, 4711, ROWS),
    "hex": lambda path: write_hex(path, write_csv(path.with_name("table.csv"), 4711, ROWS)),
}


@pytest.fixture(params=MAKERS)
def made(request, tmp_path):
    return MAKERS[request.param](tmp_path / "list")


def test_every_format_has_its_rate_its_baseline_and_its_goals(tiny, tmp_path):
    figures = {figure.name: figure for figure in list_readers.measure(Run(tiny, tmp_path))}
    beside = {name: [baseline.name for baseline in figure.baselines] for name, figure in figures.items()}
    assert beside == {
        "read vics rows=600": ["json.load"], "read nsrl file=table rows=600": ["plain SELECT"],
        "read nsrl file=view rows=600": ["plain SELECT"], "read csv rows=600": ["hex list"],
    }  # fmt: skip
    goals = [[(goal.ratio_to, goal.bound, goal.at_most) for goal in figure.goals] for figure in figures.values()]
    rows = [(None, 300_000, False)]
    assert goals == [[(None, 60, False), ("json.load", 0.3, False)], rows, rows, [("hex list", 0.3, False)]]
    for figure in figures.values():
        assert figure.more_is_better
        assert 0 < figure.spread.least <= figure.spread.most
        assert figure.spread.rounds == figure.baselines[0].ratio.rounds == tiny.reader_rounds


def test_a_wrong_answer_or_a_failure_of_the_process_gives_no_figure(tiny, tmp_path):
    with pytest.raises(WrongAnswer, match="list readers: SQLite gives other rows"):
        list(list_readers.measure(Run(replace(tiny, reader_rows=601), tmp_path)))
    with pytest.raises(CannotMeasure, match="No such file"):
        list(list_readers.measure(Run(tiny, tmp_path / "missing")))


def test_what_was_written_is_read(made):
    assert read_seconds(made) > 0
    assert made.digests == ROWS * len(made.packed)


def test_vics_media_are_json_as_wide_as_real_ones(tmp_path):
    made = MAKERS["vics"](tmp_path / "list")
    media = json.loads(made.path.read_bytes())["value"]
    assert [medium["MD5"].lower() for medium in media] == [
        made.packed["md5"][at : at + 16].hex() for at in range(0, 16 * ROWS, 16)
    ]
    assert 500 < made.path.stat().st_size / ROWS < 800
    assert json_seconds(made.path, ROWS) > 0
    with pytest.raises(WrongAnswer, match="41 were written"):
        json_seconds(made.path, ROWS + 1)


@pytest.mark.parametrize("form", ["table", "view"])
def test_nsrl_databases_have_as_many_rows_in_either_form(tmp_path, form):
    made = MAKERS[form](tmp_path / "list")
    with closing(sqlite3.connect(made.path)) as database:
        assert database.execute("SELECT type FROM sqlite_master WHERE name = 'FILE'").fetchone() == (form,)
        assert database.execute("SELECT COUNT(*) FROM FILE").fetchone() == (ROWS,)
        distinct = database.execute("SELECT COUNT(DISTINCT sha256) FROM FILE").fetchone()[0]
    assert distinct == (ROWS if form == "table" else ROWS // 2)
    assert select_seconds(made.path, ROWS) > 0
    with pytest.raises(WrongAnswer, match="39 were written"):
        select_seconds(made.path, ROWS - 1)


def test_a_digest_that_is_another_or_missing_is_a_wrong_answer(made):
    name = list(made.packed)[-1]
    packed = made.packed[name]
    other = packed[:-1] + bytes([packed[-1] ^ 1])
    with pytest.raises(WrongAnswer, match=f"other digests of {name}"):
        read_seconds(replace(made, packed={**made.packed, name: other}))
    with pytest.raises(WrongAnswer, match=r"the reader gave \{"):
        read_seconds(replace(made, rows=ROWS + 1))
    with pytest.raises(WrongAnswer, match=f"no {name} in it"):
        read_seconds(replace(made, packed={key: value for key, value in made.packed.items() if key != name}))


def test_labels_that_are_others_or_missing_are_a_wrong_answer(made):
    wrong = [made.categories[-1], *made.categories[1:]] if made.categories else ["A1"] * ROWS
    with pytest.raises(WrongAnswer, match="other categories"):
        read_seconds(replace(made, categories=wrong))
    with pytest.raises(WrongAnswer, match="other references"):
        read_seconds(replace(made, references=["1"] * ROWS))
    if made.categories:
        with pytest.raises(WrongAnswer, match="other categories"):
            read_seconds(replace(made, categories=None))


def test_a_record_that_is_refused_is_a_wrong_answer(tmp_path):
    made = MAKERS["csv"](tmp_path / "list")
    with made.path.open("a") as file:
        file.write("no digest,,A1\n")
    with pytest.raises(WrongAnswer, match="refused 1 good records"):
        read_seconds(made)


def test_what_a_supplier_takes_back_is_no_digest(made, monkeypatch):
    monkeypatch.setattr(list_readers, "parse", lambda *_: iter([Withdrawn(["1"])]))
    with pytest.raises(WrongAnswer, match="no batch"):
        read_seconds(made)


def test_checking_is_not_timed(made, monkeypatch):
    """The clock stands still while a batch is compared with what was written."""
    honest = list_readers._check

    def slowly(*arguments):
        list_readers.time.sleep(0.2)
        honest(*arguments)

    monkeypatch.setattr(list_readers, "_check", slowly)
    assert read_seconds(made) < 0.2
