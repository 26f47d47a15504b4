"""A tiny run through every part, and that a wrong answer never becomes a figure."""

import orjson
import psutil
import pytest
from click.testing import CliRunner

from benchmarks import compile_beside_sort, http_side_by_side, in_process, memory, quick, stores
from benchmarks.baselines import Baselines
from benchmarks.digests import cut, random_digests, write_packed_list
from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.sizes import Sizes

TINY = Sizes(
    seed=4711, entries=3_000, pool=30_000, rounds=2, digests_a_round=2_000, http_rounds=2, http_seconds=0.1,
    http_warm_up_seconds=0.02, connections=4, compile_lines=5_000, compile_rounds=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def entries():
    return random_digests(TINY.seed, "entries", TINY.entries)


@pytest.fixture(scope="module")
def store(tmp_path_factory, entries):
    work = tmp_path_factory.mktemp("store")
    write_packed_list(work / "list", entries)
    return stores.compile_store(work / "store", [work / "list"]).store


@pytest.fixture
def dpkg_lists(tmp_path, monkeypatch):
    folder = tmp_path / "info"
    folder.mkdir()
    digests = [digest.hex() for digest in cut(random_digests(TINY.seed, "dpkg", 500, 16), 1, 16)]
    for number in range(4):  # neighbours share a hundred digests
        lines = [f"{digest}  usr/share/doc/{digest[:5]}\n" for digest in digests[number * 100 : number * 100 + 200]]
        (folder / f"package{number}.md5sums").write_text("".join(lines))
    (folder / "empty.md5sums").touch()
    monkeypatch.setattr(compile_beside_sort, "DPKG_LISTS", folder)


def test_every_part_gives_its_figures_and_leaves_nothing_behind(tmp_path, dpkg_lists):
    work = tmp_path / "work"
    work.mkdir()
    before = set(psutil.Process().children(recursive=True))  # other tests may keep one
    figures = quick.run(TINY, quick.PARTS, work)
    assert not list(work.iterdir())
    assert set(psutil.Process().children(recursive=True)) <= before
    whats = [figure.what for figure in figures]
    assert len(set(whats)) == len(whats)
    parts = [compile_beside_sort.PART, in_process.PART, http_side_by_side.PART, memory.PART]
    assert list(dict.fromkeys(figure.part for figure in figures)) == parts
    goals = {what: figure.goal for what, figure in zip(whats, figures, strict=True) if figure.goal}
    assert goals.keys() == {
        "5,000 sha256 lines", "bytes an entry, 5,000 sha256 lines", "dpkg: 5 lists, 500 md5",
        "miss, packed body → reply, 1,000 a batch", "filter's false positives", "1 digest, JSON",
        "1,000 digests, JSON by column", "bytes an entry, 3,000 sha256, filter included",
        "bytes an entry, 3,000 md5, filter included", "private memory of the largest worker, 3,000 entries",
    }  # fmt: skip
    for figure in figures:
        assert 0 < figure.spread.least <= figure.spread.median <= figure.spread.most, figure.what
    by_what = dict(zip(whats, figures, strict=True))
    for digests in ("1 digest, JSON", "1,000 digests, JSON by column", "10,000 digests, packed"):
        assert by_what[digests].baselines[0].ratio.rounds == TINY.http_rounds
        assert by_what[digests].baselines[0].name == "bare"
        assert by_what[f"{digests}, processor time"].unit == "µs/request"
    assert by_what["miss, filter and store alone, 10,000 a batch"].baselines[2].name == "pybloom-live"


def test_an_entry_taken_for_a_miss_is_a_wrong_answer(store, entries):
    other = random_digests(TINY.seed, "others", 10)
    with stores.open_view(store) as view:
        assert in_process.request_ns(view, [other], 10) > 0
        with pytest.raises(WrongAnswer, match="not answered as misses"):
            in_process.request_ns(view, [other[:-32] + entries[-32:]], 10)
    stores.check_lookups(store, "sha256", cut(entries, 1), cut(other, 1))
    with pytest.raises(WrongAnswer, match="is found"):
        stores.check_lookups(store, "sha256", [], [entries[:32]])
    with pytest.raises(WrongAnswer, match="denies an entry"):
        stores.check_lookups(store, "sha256", [*cut(entries[:320], 1), other[:32]], [])


def test_baselines_hold_the_same_entries(entries, tmp_path):
    members, others = cut(entries, 1), cut(random_digests(TINY.seed, "others", 1_000), 1)
    with Baselines(members, tmp_path) as baselines:
        assert baselines.set_ns(members, found=len(members)) > 0
        assert baselines.lmdb_ns(members, found=len(members)) > 0
        assert baselines.bloom_ns(others) > 0
        assert all(member in baselines.bloom for member in members)
        with pytest.raises(WrongAnswer, match="the set found 1 of 1001"):
            baselines.set_ns([*others, members[7]])
        with pytest.raises(WrongAnswer, match="LMDB found 1 of 1001"):
            baselines.lmdb_ns([*others, members[7]])
        with pytest.raises(WrongAnswer, match="pybloom-live found"):
            baselines.bloom_ns([*others, *members])


class AskedOfBare(http_side_by_side.Workload):
    """The same requests, asked where the bare application answers."""

    target = http_side_by_side.Workload.bare_target


def test_a_service_that_never_matches_is_a_wrong_answer(store, entries, tmp_path):
    """The bare application answers every request as a miss: the sample must catch it, whatever the kind of request."""
    workloads = http_side_by_side.WORKLOADS
    replies = {workload: http_side_by_side.expected_reply(store, workload.digests) for workload in workloads}
    with http_side_by_side.bare(replies, tmp_path) as blind:
        for workload in workloads:
            asked = AskedOfBare(workload.name, workload.digests, workload.packed, workload.bodies)
            with pytest.raises(WrongAnswer, match="not answered with just its entries"):
                http_side_by_side.check_sample(blind, asked, entries, TINY.seed)


def test_too_many_false_positives_miss_the_goal(store, entries):
    with stores.open_view(store) as view:
        misses = random_digests(TINY.seed, "others", 20_000)
        assert in_process.false_positive_rate(view, misses, TINY.entries).met
        assert in_process.false_positive_rate(view, misses + entries[: 100 * 32], TINY.entries).met is False
        with pytest.raises(WrongAnswer, match="not 5"):
            in_process.false_positive_rate(view, misses, 5)


@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 1)])
def test_a_missed_goal_is_said_and_only_strict_fails(monkeypatch, tmp_path, strict, code):
    missed = Figure("part", "slow thing", "ns", Spread.of([500.0]), goal=Goal(100, at_most=True))
    seen = []

    def run(sizes, parts, work_dir):
        seen.append((sizes.entries, sizes.compile_lines, sizes.seed, parts))
        return [missed]

    monkeypatch.setattr(quick, "run", run)
    file = tmp_path / "figures.json"
    arguments = ["--entries", "2500", "--compile-lines", "2600", "--seed", "9", "--part", "size", "--json", str(file)]
    result = CliRunner().invoke(quick.main, [*arguments, *strict])
    assert result.exit_code == code, result.output
    assert "MISSED: slow thing" in result.output
    assert seen == [(2_500, 2_600, 9, ("size",))]
    assert orjson.loads(file.read_bytes())["figures"][0]["met"] is False


@pytest.mark.parametrize("error", [WrongAnswer("it lied"), CannotMeasure("no room")])
def test_a_run_that_gives_no_figures_ends_with_3(monkeypatch, error):
    def run(sizes, parts, work_dir):
        raise error

    monkeypatch.setattr(quick, "run", run)
    result = CliRunner().invoke(quick.main, [])
    assert result.exit_code == 3
    assert result.stderr == f"{type(error).__name__}: {error}\n"
    assert not result.stdout


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(CannotMeasure, match="--work-dir"):
        quick.run(Sizes(compile_lines=10**12), ("compile",), tmp_path)
    assert not list(tmp_path.iterdir())
