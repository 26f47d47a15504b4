"""The contents page: stages in their order, all or nothing, and one id for the same entries."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from loader import build as build_module
from loader import gate
from loader.build import BuildRequest, BuildResult, ListInput, build
from loader.diff import diff_snapshots, first_diff
from loader.errors import (
    EmptyResult,
    ListChanged,
    ListUnreadable,
    LiveListMissing,
    LoaderError,
    TooManyBadLines,
    TooManyCategories,
)
from loader.guard import Guard, trivial_files
from loader.label_numbers import MAX_CLASSES
from loader.merge import Merger
from loader.readers.base import ReadOptions
from snapshot.algorithms import ALGORITHMS, PHOTODNA
from snapshot.errors import FilterDamaged, StoreLocked
from snapshot.labels import Label, LabelSet, Tier
from snapshot.publish import Publisher
from snapshot.reader import Snapshot
from snapshot.store import Store
from snapshot.writer import SnapshotWriter


class Heard:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.done: Counter[str] = Counter()

    def stage(self, name: str, total_bytes: int | None) -> None:
        self.stages.append((name, total_bytes))

    def advance(self, count: int) -> None:
        self.done[self.stages[-1][0]] += count


@pytest.fixture
def hex_file(tmp_path: Path, rng: random.Random):
    """Write a file of random hexdigests, and of the lines given."""

    def write(name: str, count: int = 0, digest_bytes: int = 32, lines: tuple[str, ...] = ()) -> str:
        path = tmp_path / name
        path.write_text(
            "".join(f"{line}\n" for line in (*lines, *(rng.randbytes(digest_bytes).hex() for _ in range(count))))
        )
        return str(path)

    return write


def compile_lists(store: Store, *lists: ListInput, progress: Heard | None = None, **options: object) -> BuildResult:
    return build(BuildRequest(store.path, lists, by="tests", **options), progress)


def content(store: Store) -> dict[tuple[str, bytes], LabelSet]:
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        return {
            (name, digest): snapshot.labels(number)
            for name, table in snapshot.tables.items()
            for digest, number in table.records()
        }


def test_stages_come_in_the_order_of_the_contents_page(store: Store, hex_file, monkeypatch) -> None:
    order: list[str] = []

    def record(target: object, name: str) -> None:
        call = getattr(target, name)

        def recorded(*args: object, **kwargs: object) -> object:
            order.append(name)
            return call(*args, **kwargs)

        monkeypatch.setattr(target, name, recorded)

    for target, *names in (
        (gate, "refuse_lost_lists", "refuse_empty", "check_new_snapshot", "compare_with_live"),
        (build_module, "choose_reader", "normalise", "check_bad_lines", "sort_rows"),
        (Guard, "take_out"),
        (Merger, "merge"),
        (SnapshotWriter, "append"),
        (Publisher, "publish"),
    ):
        for name in names:
            record(target, name)
    compile_lists(store, ListInput("a", Tier.ILLEGAL, [hex_file("a.txt", 10)]))
    assert order == [
        "refuse_lost_lists", "choose_reader", "normalise", "check_bad_lines", "refuse_empty",
        "sort_rows", "take_out", "merge", "append", "check_new_snapshot",
        "compare_with_live", "publish",
    ]  # fmt: skip


def test_progress_hears_of_every_byte(store: Store, hex_file) -> None:
    heard = Heard()
    files = [hex_file("a.txt", 1000), hex_file("b.txt", 500, 16)]
    result = compile_lists(store, ListInput("a", Tier.ILLEGAL, files), progress=heard)
    assert [name for name, _ in heard.stages] == [
        "reading", "writing md5", "writing sha256", "checksums", "comparing",
    ]  # fmt: skip
    totals = dict(heard.stages)
    assert totals["reading"] == sum(Path(file).stat().st_size for file in files)
    trivial = len(list(trivial_files()))
    assert totals["writing sha256"] == (1000 + trivial) * 36
    assert heard.done == {
        "reading": totals["reading"], "writing md5": (500 + trivial) * 20, "writing sha256": (1000 + trivial) * 36,
        "checksums": result.published.manifest.total_bytes,
    }  # fmt: skip


def test_what_is_in_the_files_is_in_the_snapshot(store: Store, tmp_path: Path, hex_file, rng) -> None:
    """All algorithms, three formats, two lists that share a digest, and labels from the rows."""
    both = rng.randbytes(32)
    md5, sha1 = rng.randbytes(16), rng.randbytes(20)
    vector = rng.randbytes(144)
    (tmp_path / "b.csv").write_text(
        f"md5,sha1,sha256,category,reference\n{md5.hex()},{sha1.hex()},,bad,case 1\n,,{both.hex().upper()},,\n"
    )
    (tmp_path / "c.sums").write_text(f"{sha1.hex()} *some name\n")
    lists = [
        ListInput("a", Tier.BASELINE, [hex_file("a.txt", lines=(both.hex(),))]),
        ListInput("b", Tier.OTHER, [str(tmp_path / "b.csv"), str(tmp_path / "c.sums")], category="rest"),
        ListInput("c", Tier.ILLEGAL, [hex_file("v", lines=(vector.hex(),))], options=ReadOptions(PHOTODNA)),
    ]
    manifest = compile_lists(store, *lists).published.manifest
    case = Label("b", "bad", Tier.OTHER, "case 1")
    rest = Label("b", "rest", Tier.OTHER, None)
    assert content(store) == {
        ("md5", md5): (case,),
        ("sha1", sha1): (case, rest),
        ("sha256", both): (Label("a", "default", Tier.BASELINE, None), rest),
        ("photodna", vector): (Label("c", "default", Tier.ILLEGAL, None),),
    }
    assert (manifest.entries, manifest.merged) == (4, 2)
    assert {(f.list_id, f.category, f.tier): f.entries for f in manifest.classes} == {
        ("a", "default", "baseline"): {"sha256": 1}, ("b", "bad", "other"): {"md5": 1, "sha1": 1},
        ("b", "rest", "other"): {"sha1": 1, "sha256": 1}, ("c", "default", "illegal"): {"photodna": 1},
    }  # fmt: skip
    assert [(f.list_id, f.files, f.lines, f.digests, f.refused) for f in manifest.lists] == [
        ("a", 1, 1, 1, 0), ("b", 2, 4, 4, 0), ("c", 1, 1, 1, 0),
    ]  # fmt: skip


def test_repeats_and_the_order_of_lines_files_and_lists_change_nothing(store: Store, hex_file, rng) -> None:
    lines = [rng.randbytes(rng.choice([16, 20, 32])).hex() for _ in range(400)]
    shuffled = rng.sample(lines, 400) + rng.sample(lines, 100)
    one = compile_lists(
        store,
        ListInput(
            "a", Tier.ILLEGAL, [hex_file("1", lines=tuple(lines[:300])), hex_file("2", lines=tuple(lines[300:]))]
        ),
        ListInput("b", Tier.OTHER, [hex_file("3", lines=tuple(lines[:50]))]),
    )
    other = compile_lists(
        store,
        ListInput("b", Tier.OTHER, [hex_file("4", lines=tuple(line.upper() for line in lines[49::-1]))]),
        ListInput("a", Tier.ILLEGAL, [hex_file("5", lines=tuple(shuffled))]),
        memory_mib=1,
    )
    assert other.published.manifest.snapshot_id == one.published.manifest.snapshot_id
    assert (one.published.already_there, other.published.already_there) == (False, True)
    assert (one.report.merged, other.report.merged) == (50, 150)
    assert other.published.current.generation == 2


def test_the_same_entries_from_other_files_are_the_same_snapshot(store: Store, tmp_path: Path, hex_file, rng) -> None:
    """16 categories just fit ids of two bytes; a category that no row has must not count as one more."""
    digests = {f"c{i:02}": rng.randbytes(32).hex() for i in range(16)}
    table = tmp_path / "a.csv"
    table.write_text("sha256,category\n" + "".join(f"{digest},{name}\n" for name, digest in digests.items()))
    one = compile_lists(store, ListInput("a", Tier.ILLEGAL, [str(table)]))
    single = [ListInput("a", Tier.ILLEGAL, [hex_file(n, lines=(d,))], category=n) for n, d in digests.items()]
    other = compile_lists(store, *single)
    assert one.published.manifest.label_set_id_bytes == 2
    assert other.published.manifest.snapshot_id == one.published.manifest.snapshot_id


@pytest.mark.parametrize("memory_mib", [1, 1024])
def test_a_digest_that_comes_very_often_is_counted_as_often(memory_mib: int, store: Store, hex_file, rng) -> None:
    """With little memory the spool drops its repeats, before anything is merged."""
    file = hex_file("a.txt", 10, lines=(rng.randbytes(32).hex(),) * 100_000)
    result = compile_lists(store, ListInput("a", Tier.ILLEGAL, [file]), memory_mib=memory_mib)
    manifest = result.published.manifest
    assert (manifest.entries, manifest.merged, result.report.merged) == (11, 99_999, 99_999)


@pytest.mark.parametrize(("classes", "reference", "id_bytes"), [(16, "", 2), (17, "", 4), (1, "r", 4)])
def test_ids_are_wide_when_they_must_be(
    classes: int, reference: str, id_bytes: int, store: Store, tmp_path: Path, rng
) -> None:
    rows = [f"{rng.randbytes(32).hex()},c{i},{reference}" for i in range(classes)]
    (tmp_path / "a.csv").write_text("\n".join(["sha256,category,reference", *rows]))
    result = compile_lists(store, ListInput("a", Tier.ILLEGAL, [str(tmp_path / "a.csv")]))
    assert result.published.manifest.label_set_id_bytes == id_bytes
    assert len(content(store)) == classes


def test_nothing_but_empty_files_is_refused(store: Store, hex_file) -> None:
    compile_lists(store, ListInput("a", Tier.ILLEGAL, [hex_file("a.txt", 5)]))
    before = store.read_current_bytes()
    empty = ListInput("a", Tier.ILLEGAL, [hex_file("e.txt"), hex_file("f.txt", lines=("# nothing", ""))])
    with pytest.raises(EmptyResult, match=r"e\.txt, .*f\.txt: not a single digest"):
        compile_lists(store, empty)
    assert store.read_current_bytes() == before


def test_an_empty_snapshot_is_published_when_it_is_wanted(store: Store, hex_file) -> None:
    result = compile_lists(store, ListInput("a", Tier.ILLEGAL, [hex_file("e.txt")]), allow_empty=True)
    assert result.published.manifest.entries == 0
    assert content(store) == {}
    assert store.history()[0].entries == 0


def test_an_empty_file_among_others_is_counted(store: Store, hex_file) -> None:
    empty = hex_file("e.txt")
    result = compile_lists(store, ListInput("a", Tier.ILLEGAL, [empty, hex_file("a.txt", 5)]))
    assert result.report.empty_files == [empty]
    assert result.published.manifest.lists[0].files == 2


def test_a_live_list_is_missed_before_any_file_is_read(store: Store, hex_file, tmp_path: Path) -> None:
    compile_lists(store, ListInput("a", Tier.ILLEGAL, [hex_file("a.txt", 5)]))
    with pytest.raises(LiveListMissing, match="--drop-list a"):
        compile_lists(store, ListInput("b", Tier.ILLEGAL, [str(tmp_path / "not there")]))
    compile_lists(store, ListInput("b", Tier.ILLEGAL, [hex_file("b.txt", 5)]), drop_lists=["a", "unheard-of"])
    assert store.history()[0].dropped_lists == ["a"]
    assert {label.list_id for labels in content(store).values() for label in labels} == {"b"}


@pytest.mark.parametrize(
    ("bad", "share", "refused"), [(1, 0.0, True), (1, 0.01, False), (2, 0.01, True), (2, 0.02, False)]
)
def test_more_bad_lines_than_the_limit_publish_nothing(
    bad: int, share: float, refused: bool, store: Store, hex_file
) -> None:
    item = ListInput("a", Tier.ILLEGAL, [hex_file("a.txt", 100 - bad, lines=("no digest",) * bad)])
    if refused:
        with pytest.raises(TooManyBadLines, match=r"nothing is published\n.*a\.txt:1: digest"):
            compile_lists(store, item, max_bad_share=share)
        assert not store.current_file.exists()
        assert list(store.snapshots.iterdir()) == []
    else:
        result = compile_lists(store, item, max_bad_share=share)
        assert result.report.refused == bad
        assert result.published.manifest.lists[0].refused == bad
        assert len(content(store)) == 100 - bad


class Meddling(Heard):
    """Does something once, when so many bytes were read."""

    def __init__(self, meddle) -> None:
        super().__init__()
        self.meddle = meddle

    def advance(self, count: int) -> None:
        super().advance(count)
        if self.meddle is not None:
            self.meddle()
            self.meddle = None


def test_a_file_that_changes_while_it_is_read_publishes_nothing(store: Store, hex_file, rng) -> None:
    file = hex_file("a.txt", 1000)

    def grow() -> None:
        with Path(file).open("a") as stream:
            stream.write(rng.randbytes(32).hex() + "\n")

    with pytest.raises(ListChanged, match=r"a\.txt: changed while it was read"):
        compile_lists(store, ListInput("a", Tier.ILLEGAL, [file]), progress=Meddling(grow))
    assert not store.current_file.exists()


def test_another_compile_at_work_is_said_at_once(store: Store, tmp_path: Path) -> None:
    with Publisher(store), pytest.raises(StoreLocked):
        compile_lists(store, ListInput("a", Tier.ILLEGAL, [str(tmp_path / "not there")]))


def test_a_file_that_is_not_there_publishes_nothing(store: Store, hex_file, tmp_path: Path) -> None:
    with pytest.raises(ListUnreadable, match="not there"):
        compile_lists(store, ListInput("a", Tier.ILLEGAL, [hex_file("a.txt", 5), str(tmp_path / "not there")]))
    assert not store.current_file.exists()


def test_a_column_of_ids_mistaken_for_categories_publishes_nothing(store: Store, tmp_path: Path, rng) -> None:
    rows = [f"{rng.randbytes(16).hex()},{rng.getrandbits(64)}" for _ in range(MAX_CLASSES + 1)]
    (tmp_path / "a.csv").write_text("\n".join(["md5,category", *rows]))
    with pytest.raises(TooManyCategories, match=r"a\.csv"):
        compile_lists(store, ListInput("a", Tier.ILLEGAL, [str(tmp_path / "a.csv")]))
    assert not store.current_file.exists()


def test_a_snapshot_that_does_not_pass_the_gate_is_not_published(store: Store, hex_file, monkeypatch) -> None:
    compile_lists(store, ListInput("a", Tier.ILLEGAL, [hex_file("a.txt", 5)]))
    before = store.read_current_bytes()

    def refuse(directory: Path, manifest: object) -> None:
        raise FilterDamaged(directory, "denies entries of its own store")

    monkeypatch.setattr("loader.gate.check_new_snapshot", refuse)
    with pytest.raises(FilterDamaged):
        compile_lists(store, ListInput("a", Tier.ILLEGAL, [hex_file("b.txt", 5)]))
    assert store.read_current_bytes() == before
    assert len(list(store.snapshots.iterdir())) == 1


@pytest.mark.parametrize("failing", ["read_lists", "check_bad_lines", "write_snapshot", "gate.check_new_snapshot"])
def test_whatever_raises_leaves_no_work_behind(failing: str, store: Store, hex_file, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LoaderError("stopped here")

    monkeypatch.setattr(f"loader.build.{failing}" if "." not in failing else f"loader.{failing}", fail)
    with pytest.raises(LoaderError, match="stopped here"):
        compile_lists(store, ListInput("a", Tier.ILLEGAL, [hex_file("a.txt", 5)]))
    assert not store.tmp.exists()
    assert not store.current_file.exists()


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)
def test_the_rate_is_kept_for_every_algorithm(algorithm, store: Store, hex_file, rng) -> None:
    file = hex_file("a", 2000, algorithm.digest_bytes)
    item = ListInput("a", Tier.ILLEGAL, [file], options=ReadOptions(algorithm))
    manifest = compile_lists(store, item, false_positive_rate=0.05).published.manifest
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        passed = len(snapshot.tables[algorithm.name].filter.probe(rng.randbytes(20_000 * algorithm.digest_bytes)))
    assert manifest.false_positive_rate == 0.05
    assert 0 < passed < 1250  # 1,000 promised, and eight standard deviations


def test_a_first_snapshot_s_difference_is_told_by_its_manifest(store: Store, tmp_path: Path, rng) -> None:
    """As comparing it with nothing tells it, but for the lists: classes that share digests, references, algorithms."""
    digests = [rng.randbytes(16) for _ in range(200)]
    rows = "".join(
        f"{digest.hex()},{rng.randbytes(20).hex()},{rng.choice('AB')},{rng.choice(['', 'r'])}\n"
        for digest in [*digests, *digests[:50]]
    )
    (tmp_path / "a.csv").write_text(f"md5,sha1,category,reference\n{rows}")
    result = compile_lists(
        store, ListInput("a", Tier.ILLEGAL, [str(tmp_path / "a.csv")]),
        ListInput("b", Tier.OTHER, [str(tmp_path / "a.csv")], tiers={"A": Tier.BASELINE}),
    )  # fmt: skip
    manifest = result.published.manifest
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        compared = diff_snapshots(None, snapshot)
    assert len(compared.classes) == 4
    assert first_diff(manifest) == replace(compared, lists={}) == result.comparison.diff
