"""The parts that compile lists: beside sort, beside hfind, and a hundred million lines (here fewer)."""

import sys
from dataclasses import replace

import psutil
import pytest

from benchmarks import beside_hfind, compile_100m, compile_beside_sort
from benchmarks.compile_beside_sort import Costs, check_counts
from benchmarks.digests import cut, random_digests
from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.figures import Spread, beside
from benchmarks.processes import Finished, run
from benchmarks.run import Run
from benchmarks.sizes import Sizes
from benchmarks.stores import Compiled, check_lookups, compile_packed, compile_store

TINY = Sizes(
    seed=4711, growth=(1_000,), digests_a_round=2_000, compile_lines=5_000, compile_rounds=2, hfind_lines=3_000,
    huge_lines=20_000, huge_rounds=2,
)  # fmt: skip
MIB = 1 << 20


@pytest.fixture
def work(tmp_path):
    """Give a directory that is empty again at the end, and look that no process is left."""
    before = set(psutil.Process().children(recursive=True))  # other tests may keep one
    folder = tmp_path / "work"
    folder.mkdir()
    yield folder
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
def dpkg_lists(tmp_path, monkeypatch):
    folder = tmp_path / "info"
    folder.mkdir()
    monkeypatch.setattr(compile_beside_sort, "DPKG_LISTS", folder)
    return folder


def measure(part, work):
    figures = {figure.name: figure for figure in part(Run(TINY, work))}
    for figure in figures.values():
        assert 0 < figure.spread.least <= figure.spread.median <= figure.spread.most, figure.name
        rounds = {figure.spread.rounds, *(baseline.ratio.rounds for baseline in figure.baselines)}
        assert rounds == {2} or (rounds == {1} and figure.key == "compile peak")  # where one was not seen
    return figures


def goals(figure):
    return {(goal.ratio_to, goal.bound) for goal in figure.goals}


def test_every_size_is_compiled_beside_sort(work, dpkg_lists):
    figures = measure(compile_beside_sort.measure, work)
    # A sort of so few lines may end before its memory is seen.
    assert {name for name in figures if not name.startswith("compile peak")} == {
        "compile lines=1000", "compile lines=5000"
    }  # fmt: skip
    for name, figure in figures.items():
        assert [baseline.name for baseline in figure.baselines] == ["sort -u"]
        assert goals(figure) == ({("sort -u", 0.5)} if name == "compile lines=5000" else set())
    assert not list(work.iterdir())


def test_peaks_are_compared_in_the_rounds_in_which_both_were_seen():
    ours, theirs = Costs([1.0] * 4, [60.0, None, 90.0, 70.0]), Costs([1.0] * 4, [30.0, 40.0, None, 140.0])
    [figure] = compile_beside_sort.peak_beside_sort("peak", 9, ours, theirs)
    assert (figure.name, figure.spread) == ("compile peak lines=9", Spread(65.0, 60.0, 70.0, 2))
    assert figure.baselines == (beside("sort -u", [60.0, 70.0], [30.0, 140.0]),)
    assert not list(compile_beside_sort.peak_beside_sort("peak", 9, ours, Costs([1.0] * 4, [None] * 4)))


def test_package_lists_are_compiled_where_there_are_any(work, dpkg_lists):
    digests = [digest.hex() for digest in cut(random_digests(TINY.seed, "dpkg", 500, 16), 1, 16)]
    for number in range(4):  # neighbours share a hundred digests
        lines = [f"{digest}  usr/share/doc/{digest[:5]}\n" for digest in digests[number * 100 : number * 100 + 200]]
        (dpkg_lists / f"package{number}.md5sums").write_text("".join(lines))
    (dpkg_lists / "empty.md5sums").touch()
    figure = measure(compile_beside_sort.measure, work)["compile dpkg"]
    assert figure.note.startswith("5 lists, 500 digests, every one found")
    assert not list(work.iterdir())


def test_a_sort_that_loses_lines_gives_no_figure(work, dpkg_lists, monkeypatch):
    lossy = work / "lossy"
    lossy.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do source=$1; shift; done; tail -n +2 "$source" > "$2"\n')
    lossy.chmod(0o755)
    monkeypatch.setattr(compile_beside_sort, "_SORT", (str(lossy),))
    with pytest.raises(WrongAnswer, match="lost or kept lines"):
        measure(compile_beside_sort.measure, work)


def test_a_compile_that_read_other_lines_is_a_wrong_answer(tmp_path):
    lines = [digest.hex() for digest in cut(random_digests(TINY.seed, "lines", 100), 1)]
    (tmp_path / "good").write_text("\n".join(lines))
    (tmp_path / "twice").write_text("\n".join([*lines[1:], lines[5]]))
    good = compile_store(tmp_path / "store", [tmp_path / "good"])
    check_counts(good, 100)
    with pytest.raises(WrongAnswer, match="100 distinct lines"):
        check_counts(compile_store(tmp_path / "other", [tmp_path / "twice"]), 100)
    for name in ("lines", "digests", "entries", "merged", "refused"):
        with pytest.raises(WrongAnswer, match=name):
            check_counts(Compiled(good.store, good.finished, {**good.said, name: 7}), 100)


@pytest.mark.needs("hfind")
def test_hfind_indexes_and_looks_up_the_same_list(work):
    figures = measure(beside_hfind.measure, work)
    assert figures.keys() == {
        "compile md5sum lines=3000", "miss md5 batch=1000 entries=3000", "hit md5 batch=1000 entries=3000"
    }  # fmt: skip
    assert {baseline.name for figure in figures.values() for baseline in figure.baselines} == {"hfind"}


def test_our_wrong_answers_beside_hfind_give_no_figure(tmp_path):
    entries = random_digests(TINY.seed, "md5", 1_000, 16)
    beside_hfind.write_md5sums(tmp_path / "list", entries)
    store = compile_store(tmp_path / "store", [tmp_path / "list"]).store
    members, others = cut(entries, 1, 16), cut(random_digests(TINY.seed, "others", 1_500, 16), 1, 16)
    with beside_hfind.open_view(store) as view:
        assert beside_hfind.ours_ns(view, members, held=1_000) > 0
        assert beside_hfind.ours_ns(view, others, held=0) > 0
        with pytest.raises(WrongAnswer, match="1 of 1501 digests are matches, 0 are listed"):
            beside_hfind.ours_ns(view, [*others, members[3]], held=0)


def test_the_long_list_is_compiled_beside_the_short_one_and_skewed(work):
    figures = measure(compile_100m.measure, work)
    assert figures.keys() == {
        "compile lines=20000", "compile peak lines=20000",
        "compile skewed lines=20000", "compile skewed peak lines=20000",
    }  # fmt: skip
    long = figures["compile lines=20000"]
    assert [(goal.ratio_to, goal.bound) for goal in long.goals] == [("5,000 lines", pytest.approx(4.8))]
    for key in ("compile peak", "compile skewed peak"):
        assert goals(figures[f"{key} lines=20000"]) == {(None, 1536)}
    assert not list(work.iterdir())


def test_a_skewed_list_has_distinct_digests_of_one_prefix(tmp_path):
    prefix = compile_100m.SKEWED_PREFIX
    listed = compile_100m.write_list(tmp_path / "list", TINY.seed, 12_000, prefix)
    lines = listed.path.read_text().splitlines()
    assert len(set(lines)) == len(lines) == listed.lines == 12_000
    assert {len(line) for line in lines} == {64}
    assert all(line.startswith(prefix.hex()) for line in lines)
    assert {digest.hex() for digest in listed.members} <= set(lines)
    assert {digest[:3] for digest in listed.others} == {prefix}
    assert not {digest.hex() for digest in listed.others} & set(lines)
    assert not compile_100m.write_list(tmp_path / "plain", TINY.seed, 50).members[0].startswith(prefix)


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(CannotMeasure, match="--work-dir"):
        list(compile_100m.measure(Run(replace(TINY, huge_lines=10**12), tmp_path)))
    assert not list(tmp_path.iterdir())


def test_peak_memory_is_that_of_all_processes_together():
    hold = "import time; held = b'1' * (40 << 20); time.sleep(0.6)"
    start = f"subprocess.Popen([sys.executable, '-c', {hold!r}])"
    both = f"import subprocess, sys; [child.wait() for child in [{start}, {start}]]"
    alone, together = (run([sys.executable, "-c", code]).peak_bytes / MIB for code in (hold, both))
    assert 40 < alone < 60
    assert 2 * alone < together < 2 * alone + 30


def test_costs_are_of_the_runs_whose_memory_was_seen():
    costs = Costs()
    costs.add(Finished(2.0, None, b""))
    with pytest.raises(CannotMeasure, match="/proc"):
        costs.seen_mib()
    costs.add(Finished(3.0, 3 * MIB, b""))
    assert (costs.seconds, costs.seen_mib()) == ([2.0, 3.0], [3.0])


def test_a_store_that_lost_or_gained_an_entry_is_a_wrong_answer(tmp_path):
    entries, others = (random_digests(TINY.seed, stream, 500) for stream in ("entries", "others"))
    store = compile_packed(tmp_path / "store", {"sha256": entries}).store
    check_lookups(store, "sha256", cut(entries, 1), cut(others, 1))
    with pytest.raises(WrongAnswer, match="is found"):
        check_lookups(store, "sha256", [], [entries[:32]])
    with pytest.raises(WrongAnswer, match="denies an entry"):
        check_lookups(store, "sha256", [*cut(entries[:320], 1), others[:32]], [])
