"""The guard by entry: where one digest of a row is known good, the others of that row go with it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import loader.build as build_module
import loader.entries as entries_module
from loader.build import BuildRequest, ListInput, build
from loader.entries import MAX_ROWS_OF_ENTRY, RowSet, TooManyCollisions
from loader.errors import ListChanged, ListUnreadable
from loader.readers.base import Batch, ReadOptions, Withdrawn
from loader.report import FileReport
from snapshot.algorithms import MD5, SHA1, SHA256, SHA512, Algorithm
from snapshot.labels import Label, Tier
from snapshot.reader import Snapshot
from snapshot.store import Store
from tests.command import hashwacht

ALGORITHMS = (MD5, SHA1, SHA256)


@dataclass(frozen=True)
class Row:
    """What a supplier lists as one file: files whose digests it names, by algorithm; several of one are several."""

    digests: tuple[tuple[str, int], ...]
    category: str | None = None
    reference: str | None = None


def digest(algorithm: Algorithm, number: int) -> bytes:
    return hashlib.new(algorithm.name, b"%d" % number, usedforsecurity=False).digest()


class Scripted:
    """A reader of rows by the path of a file, some rows at a time, an algorithm after the other as real ones do."""

    name = "scripted"
    unit = "record"
    is_text = True

    def __init__(self, content: dict[str, list[Row | str]], at_once: int = 3, *, says_rows: bool = True) -> None:
        self.content = content
        self.at_once = at_once
        self.says_rows = says_rows
        self.opened: Counter[str] = Counter()

    def read(self, source: Any, options: ReadOptions, report: FileReport) -> Iterator[Batch | Withdrawn]:
        name = Path(source.path).name
        self.opened[name] += 1
        content = self.content[name]
        yield Withdrawn([each for each in content if isinstance(each, str)])
        rows = [(number, row) for number, row in enumerate(content, 1) if isinstance(row, Row)]
        report.lines_read += len(content)
        for start in range(0, len(rows), self.at_once):
            some = rows[start : start + self.at_once]
            for algorithm in ALGORITHMS:
                found = [(line, row, n) for line, row in some for name, n in row.digests if name == algorithm.name]
                if not found:
                    continue
                packed = b"".join(digest(algorithm, n) for *_, n in found)
                matrix = np.frombuffer(packed, dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
                categories = [row.category for _, row, _ in found]
                references = [row.reference for _, row, _ in found]
                report.keep(algorithm, len(found))
                yield Batch(
                    algorithm,
                    matrix,
                    categories if any(categories) else None,
                    references if any(references) else None,
                    [line for line, *_ in found] if self.says_rows else None,
                )


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Have files read by a script; gives the reader and a function that makes a list of such files."""

    def script(content: dict[str, list[Row | str]], **options: Any) -> Scripted:
        reader = Scripted(content, **options)
        monkeypatch.setattr(build_module, "choose_reader", lambda *_: reader)
        for name in content:
            (tmp_path / name).write_text(name)
        return reader

    return script


def listed(store: Store) -> dict[tuple[str, bytes], set[Label]]:
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        return {
            (name, digest): set(snapshot.labels(label_set_id))
            for name, table in snapshot.tables.items()
            for digest, label_set_id in table.records()
        }


def row(*digests: str, category: str | None = None, reference: str | None = None) -> Row:
    """Give a row from digests such as `md5:3`."""
    pairs = tuple((name, int(number)) for name, number in (each.split(":") for each in digests))
    return Row(pairs, category, reference)


def names(store: Store) -> set[str]:
    """Give what is listed as the tests write digests."""
    known = {(a.name, digest(a, n)): f"{a.name}:{n}" for a in ALGORITHMS for n in range(200)}
    return {known[key] for key in listed(store)}


DIGESTS = st.lists(st.tuples(st.sampled_from(["md5", "sha1", "sha256"]), st.integers(0, 9)), min_size=1, max_size=4)
A_ROW = st.builds(Row, DIGESTS.map(tuple), st.sampled_from([None, "x"]), st.sampled_from([None, "a", "b", "c"]))
CONTENT = st.lists(A_ROW | st.sampled_from("abc"), max_size=9)


@settings(max_examples=120, deadline=None)
@given(
    files=st.lists(CONTENT, min_size=3, max_size=3),
    good=st.lists(st.builds(Row, DIGESTS.map(tuple)), max_size=3),
    at_once=st.integers(1, 5),
)
def test_what_is_listed_is_what_a_plain_program_lists(
    files: list[list[Row | str]], good: list[Row], at_once: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Lists `one` (two files) and `two` (one)."""
    of_list = {"one": files[:2], "two": files[2:]}
    known = {pair for each in good for pair in each.digests}
    wanted: dict[tuple[str, int], set[Label]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for list_id, contents in of_list.items():
        taken_back = {each for content in contents for each in content if isinstance(each, str)}
        rows = [each for content in contents for each in content if isinstance(each, Row)]
        rows = [each for each in rows if each.reference not in taken_back]
        bad_references = {each.reference for each in rows if not known.isdisjoint(each.digests)} - {None}
        # Without a reference: a digest of a row that goes is out of its class, in whatever other row it stands.
        gone = {
            (pair, each.category)
            for each in rows
            if each.reference is None and not known.isdisjoint(each.digests)
            for pair in each.digests
        }
        for each in rows:
            for pair in each.digests:
                label = Label(list_id, each.category or "default", Tier.ILLEGAL, each.reference)
                by_row = each.reference is None and (pair, each.category) in gone
                if pair in known:
                    counts["known"] += 1
                elif by_row or each.reference in bad_references:
                    counts["with it"] += 1
                else:
                    wanted[pair].add(label)

    tmp_path = tmp_path_factory.mktemp("entries")
    content = {"one-1": files[0], "one-2": files[1], "two-1": files[2], "good": good}
    reader = Scripted(content, at_once)
    for name in content:
        (tmp_path / name).write_text(name)
    lists = [
        ListInput("one", Tier.ILLEGAL, [str(tmp_path / "one-1"), str(tmp_path / "one-2")]),
        ListInput("good", Tier.UNKNOWN, [str(tmp_path / "good")], known_good=True),
        ListInput("two", Tier.ILLEGAL, [str(tmp_path / "two-1")], tiers={"x": Tier.ILLEGAL}),
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(build_module, "choose_reader", lambda *_: reader)
        result = build(BuildRequest(tmp_path / "store", lists, by="test", allow_empty=True))
    store = Store(tmp_path / "store")
    by_name = {algorithm.name: algorithm for algorithm in ALGORITHMS}
    assert listed(store) == {(name, digest(by_name[name], number)): labels for (name, number), labels in wanted.items()}
    guard = result.report.guard
    assert (guard.guarded_rows, guard.with_it_rows, guard.constants) == (counts["known"], counts["with it"], 0)
    assert all(not each.with_it for each in guard.named) == (not counts["with it"])
    kept = result.report.digest_count - sum(len(each.digests) for each in good)
    assert kept == sum(counts.values()) + guard.withdrawn_rows + result.report.merged + len(wanted)


def lists_of(tmp_path: Path, *known_bad: str, good: str = "good") -> list[ListInput]:
    return [
        *(ListInput(f"list-{name}", Tier.ILLEGAL, [str(tmp_path / name)]) for name in known_bad),
        ListInput("cms", Tier.UNKNOWN, [str(tmp_path / good)], known_good=True),
    ]


@pytest.mark.parametrize("reference", [None, "17"])
def test_an_md5_that_is_known_good_takes_the_sha256_of_its_row_along(
    reference: str | None, tmp_path: Path, scripted
) -> None:
    reader = scripted(
        {
            "a": [
                row("md5:1", "sha256:1", reference=reference),
                row("md5:2", "sha256:2", reference="18"),
                row("md5:3"),
            ],
            "b": [row("sha256:1", "md5:4"), row("sha1:5")],
            "good": [row("md5:1")],
        }
    )
    store = Store(tmp_path / "store")
    result = build(BuildRequest(store.path, lists_of(tmp_path, "a", "b"), by="test"))
    # The other list has the SHA-256 for itself.
    assert names(store) == {"md5:2", "sha256:2", "md5:3", "sha256:1", "md5:4", "sha1:5"}
    assert {label.list_id for label in listed(store)["sha256", digest(SHA256, 1)]} == {"list-b"}
    guard = result.report.guard
    assert (guard.collisions, guard.with_it, guard.with_it_rows) == (1, 1, 1)
    assert guard.with_it_by_list == {"list-a": 1}
    label = Label("list-a", "default", Tier.ILLEGAL, reference)
    assert [(each.digest, each.labels) for each in guard.named if each.with_it] == [(digest(SHA256, 1).hex(), (label,))]
    assert {facts.list_id: facts.guarded for facts in result.manifest.lists} == {"list-a": 2, "list-b": 0, "cms": 0}
    assert reader.opened == {"a": 1 + 2 * (reference is None), "b": 1, "good": 1}  # twice more, without a reference


def test_an_entry_is_list_and_reference_in_whichever_file(tmp_path: Path, scripted) -> None:
    scripted(
        {
            "a": [row("md5:1", reference="17"), row("sha1:9", reference="19")],
            "b": [row("sha256:1", reference="17"), row("sha256:2", reference="18"), row("sha256:1", reference="18")],
            "good": [row("md5:1")],
        }
    )
    store = Store(tmp_path / "store")
    one = ListInput("one", Tier.ILLEGAL, [str(tmp_path / "a"), str(tmp_path / "b")])
    build(BuildRequest(store.path, [one, *lists_of(tmp_path)], by="test"))
    found = listed(store)
    assert names(store) == {"sha1:9", "sha256:2", "sha256:1"}
    assert {label.reference for label in found["sha256", digest(SHA256, 1)]} == {"18"}


def test_lists_of_single_digests_are_not_looked_through_and_read_once(tmp_path: Path, scripted, monkeypatch) -> None:
    monkeypatch.setattr(entries_module.Collisions, "find", lambda *_: pytest.fail("looked through"))
    reader = scripted({"a": [row("md5:1"), row("md5:2"), row("sha1:2")], "good": [row("md5:1")]}, says_rows=False)
    store = Store(tmp_path / "store")
    build(BuildRequest(store.path, lists_of(tmp_path, "a"), by="test"))
    assert names(store) == {"md5:2", "sha1:2"}
    assert reader.opened == {"a": 1, "good": 1}


def test_no_list_is_read_again_without_a_collision(tmp_path: Path, scripted) -> None:
    reader = scripted({"a": [row("md5:1", "sha256:1"), row("md5:2", "sha256:2")], "good": [row("md5:3")]})
    build(BuildRequest(tmp_path / "store", lists_of(tmp_path, "a"), by="test"))
    assert reader.opened == {"a": 1, "good": 1}


@pytest.mark.parametrize("reference", [None, "none"])
@pytest.mark.parametrize("rows", [MAX_ROWS_OF_ENTRY // 2, MAX_ROWS_OF_ENTRY + 1])
def test_a_constant_is_no_entry(rows: int, reference: str | None, tmp_path: Path, scripted) -> None:
    """A supplier writes one MD5, or one reference, wherever it has none."""
    content = [Row((("md5", 10_000), ("sha256", number)), None, reference) for number in range(rows)]
    scripted({"a": content, "good": [row("md5:10000")]}, at_once=300)
    store = Store(tmp_path / "store")
    result = build(BuildRequest(store.path, lists_of(tmp_path, "a"), by="test", allow_empty=True))
    is_constant = rows > MAX_ROWS_OF_ENTRY
    assert len(listed(store)) == (rows if is_constant else 0)
    assert result.report.guard.constants == is_constant
    assert result.report.guard.with_it == (0 if is_constant else rows)
    assert result.report.guard.collisions == 1


@pytest.mark.parametrize("rows", [MAX_ROWS_OF_ENTRY, MAX_ROWS_OF_ENTRY + 1])
def test_nor_is_a_constant_digest_under_many_references(rows: int, tmp_path: Path, scripted) -> None:
    """One MD5 wherever the supplier has none, each row with a reference of its own."""
    content = [Row((("md5", 10_000), ("sha256", number)), None, f"R{number}") for number in range(rows)]
    scripted({"a": content, "good": [row("md5:10000")]}, at_once=300)
    store = Store(tmp_path / "store")
    result = build(BuildRequest(store.path, lists_of(tmp_path, "a"), by="test", allow_empty=True))
    is_constant = rows > MAX_ROWS_OF_ENTRY
    assert len(listed(store)) == (rows if is_constant else 0)
    assert (result.report.guard.constants, result.report.guard.collisions) == (is_constant, 1)


def test_a_row_is_whole_wherever_its_batches_lie(tmp_path: Path) -> None:
    """Its digests come in the batches of different columns, and those have other rows before and behind it."""
    first = 16_384 + 1
    lines = ["md5,sha256,sha512", *(f",{digest(SHA256, number).hex()}," for number in range(first))]
    lines.append(f"{digest(MD5, 1).hex()},,{digest(SHA512, 1).hex()}")
    lines += [f",{digest(SHA256, number).hex()}," for number in range(first, first + 20_000)]
    (tmp_path / "list.csv").write_text("\n".join([*lines, ""]))
    (tmp_path / "good.txt").write_text(f"{digest(MD5, 1).hex()}\n")
    lists = [
        ListInput("list", Tier.ILLEGAL, [str(tmp_path / "list.csv")]),
        ListInput("good", Tier.UNKNOWN, [str(tmp_path / "good.txt")], known_good=True),
    ]
    store = Store(tmp_path / "store")
    result = build(BuildRequest(store.path, lists, by="test"))
    assert result.manifest.algorithms.keys() == {"sha256"}
    assert result.manifest.entries == first + 20_000
    assert (result.report.guard.collisions, result.report.guard.with_it) == (1, 1)


def test_a_row_with_two_known_good_digests_goes_though_one_is_a_constant(tmp_path: Path, scripted) -> None:
    constant = [Row((("md5", 10_000), ("sha256", number)), None, None) for number in range(MAX_ROWS_OF_ENTRY + 1)]
    both = row("md5:10000", "md5:1", "sha256:100000")
    scripted({"a": [*constant, both], "good": [row("md5:10000"), row("md5:1")]}, at_once=300)
    store = Store(tmp_path / "store")
    result = build(BuildRequest(store.path, lists_of(tmp_path, "a"), by="test"))
    assert result.report.guard.constants == 1
    assert len(listed(store)) == MAX_ROWS_OF_ENTRY + 1
    assert ("sha256", digest(SHA256, 100_000)) not in listed(store)


def test_an_event_of_many_files_is_no_entry(tmp_path: Path) -> None:
    """MISP's reference is that of an event: one harmless file in it makes nothing of the others."""
    event = "5f0a7a3e-0000-4000-8000-000000000001"
    lines = ["md5,event-uuid", *(f"{digest(MD5, number).hex()},{event}" for number in range(50))]
    (tmp_path / "hashes.csv").write_text("\n".join([*lines, ""]))
    (tmp_path / "good.txt").write_text(f"{digest(MD5, 7).hex()}\n")
    lists = [
        ListInput("misp", Tier.ILLEGAL, [str(tmp_path / "hashes.csv")], format="misp"),
        ListInput("good", Tier.UNKNOWN, [str(tmp_path / "good.txt")], known_good=True),
    ]
    result = build(BuildRequest(tmp_path / "store", lists, by="test"))
    assert (result.manifest.entries, result.report.guard.collisions, result.report.guard.with_it) == (49, 1, 0)


def test_too_many_collisions_are_refused_and_the_list_named(tmp_path: Path, scripted, monkeypatch) -> None:
    monkeypatch.setattr(entries_module, "MAX_COLLISIONS", 5)
    content = [row(f"md5:{number}", f"sha256:{number}") for number in range(6)]
    scripted({"a": content, "good": [row(f"md5:{number}") for number in range(6)]})
    with pytest.raises(TooManyCollisions, match="list-a: more than 5 of its digests"):
        build(BuildRequest(tmp_path / "store", lists_of(tmp_path, "a"), by="test"))


def test_so_are_too_many_rows_of_them(tmp_path: Path, scripted, monkeypatch) -> None:
    monkeypatch.setattr(entries_module, "MAX_COLLISIONS", 2)
    content = [row("md5:1", f"sha256:{number}") for number in range(9)]
    scripted({"a": content, "good": [row("md5:1")]})
    with pytest.raises(TooManyCollisions, match="list-a: more than 2 of its digests"):
        build(BuildRequest(tmp_path / "store", lists_of(tmp_path, "a"), by="test"))


def test_a_pipe_that_would_have_to_be_read_again_is_refused_by_name(tmp_path: Path, scripted, monkeypatch) -> None:
    scripted({"a": [row("md5:1", "sha256:1")], "good": [row("md5:1")], "other": [row("md5:2", "sha256:3")]})
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    holding = os.open(tmp_path / "a", os.O_RDWR)
    try:
        monkeypatch.setattr(build_module, "ListFile", FakeSource)
        with pytest.raises(ListUnreadable, match="a: has known-good digests in rows without a reference"):
            build(BuildRequest(tmp_path / "store", lists_of(tmp_path, "a"), by="test"))
        build(BuildRequest(tmp_path / "store", lists_of(tmp_path, "a", good="other"), by="test"))  # no collision
    finally:
        os.close(holding)


class FakeSource:
    """In the place of a ListFile, so that nobody has to write to the pipe."""

    def __init__(self, path: str, _: object) -> None:
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_file_that_is_another_when_it_is_read_again_is_refused(tmp_path: Path, scripted, monkeypatch) -> None:
    reader = scripted({"a": [row("md5:1", "sha256:1")], "good": [row("md5:1")]})
    looked = entries_module.require_second_look

    def change(path: str) -> None:
        looked(path)
        reader.content["a"].append(row("md5:2"))

    monkeypatch.setattr(build_module, "require_second_look", change)
    with pytest.raises(ListChanged, match="a: is not what it was when it was read first"):
        build(BuildRequest(tmp_path / "store", lists_of(tmp_path, "a"), by="test"))


@given(
    held=st.lists(st.binary(min_size=12, max_size=12).map(lambda raw: bytes(b & 1 for b in raw)), min_size=1),
    asked=st.lists(st.binary(min_size=12, max_size=12).map(lambda raw: bytes(b & 1 for b in raw)), min_size=1),
)
def test_a_row_set_finds_what_it_holds(held: list[bytes], asked: list[bytes]) -> None:
    asked += held[:2]

    def matrix(rows: list[bytes]) -> np.ndarray:
        return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 12)

    under_test = RowSet(matrix(held))
    order = [bytes(each) for each in under_test.rows]
    assert sorted(order) == sorted(set(held))
    found = under_test.find(matrix(asked)).tolist()
    assert found == [order.index(each) if each in order else -1 for each in asked]


def listing(tmp_path: Path, header: str, rows: Sequence[str], good: bytes) -> Path:
    """Write a list, a known-good list of one digest, and the lists file of both."""
    (tmp_path / "agency.csv").write_text("".join(f"{line}\n" for line in (header, *rows)))
    (tmp_path / "good.txt").write_text(f"{good.hex()}\n")
    lists = tmp_path / "lists.toml"
    lists.write_text(
        '[[list]]\nid = "agency"\npaths = ["agency.csv"]\ntier = "illegal"\n\n'
        '[[list]]\nid = "cms"\nkind = "known-good"\npaths = ["good.txt"]\n'
    )
    return lists


def test_the_command_says_what_was_left_out_with_what(tmp_path: Path) -> None:
    rows = [f"{digest(MD5, n).hex()},{digest(SHA256, n).hex()},CA-{n}" for n in range(5)]
    lists = listing(tmp_path, "md5,sha256,reference", rows, digest(MD5, 3))
    said = hashwacht("compile", "--store", tmp_path / "store", "--lists", lists).out.splitlines()
    assert said[1:5] == [
        "known     1 listed digests are known good and left out: 1 of agency; tell the suppliers",
        f"          {digest(MD5, 3).hex()}  md5  agency / default / illegal / CA-3",
        "with it   1 other digests of the same entries are left out with them: 1 of agency",
        f"          {digest(SHA256, 3).hex()}  sha256  agency / default / illegal / CA-3",
    ]
    hashwacht("approve", "agency", "--store", tmp_path / "store", "--by", "olga", "--reason", "test")
    found = hashwacht("lookup", "--store", tmp_path / "store", digest(SHA256, 3).hex(), digest(SHA256, 4).hex()).out
    assert "not listed" in found.splitlines()[0]
    assert "CA-4" in found.splitlines()[1]
    known = hashwacht("compile", "--store", tmp_path / "store", "--lists", lists, "--json").json()["known_good"]
    label = {"list_id": "agency", "category": "default", "tier": "illegal", "reference": "CA-3"}
    assert known == {
        "digests": 1,
        "lists": {"agency": 1},
        "named": [{"algorithm": "md5", "digest": digest(MD5, 3).hex(), "labels": [label]}],
        "with_it": {
            "digests": 1,
            "lists": {"agency": 1},
            "named": [{"algorithm": "sha256", "digest": digest(SHA256, 3).hex(), "labels": [label]}],
        },
        "constants": 0,
    }


@pytest.mark.parametrize("form", ["csv", "hashdeep"])
def test_real_rows_without_a_reference_go_as_a_whole(form: str, tmp_path: Path) -> None:
    """Some with one digest only, so that those of an algorithm do not stand one beside the other."""
    md5, sha256 = ([digest(a, n).hex() for n in range(6)] for a in (MD5, SHA256))
    if form == "csv":
        rows = [f"{one},{other}" for one, other in zip(md5, sha256, strict=True)]
        lists = listing(tmp_path, "md5,sha256", [f"{md5[5]},", *rows[:3], f",{sha256[4]}", rows[3]], digest(MD5, 3))
        wanted = {*md5[:3], md5[5], *sha256[:3], sha256[4]}
    else:
        rows = [f"{n},{md5[n]},{sha256[n]},file {n}" for n in range(6)]
        lists = listing(tmp_path, "%%%% HASHDEEP-1.0\n%%%% size,md5,sha256,filename", rows, digest(SHA256, 3))
        wanted = {*md5[:3], *md5[4:], *sha256[:3], *sha256[4:]}
    said = hashwacht("compile", "--store", tmp_path / "store", "--lists", lists, "--json").json()
    assert {digest.hex() for _, digest in listed(Store(tmp_path / "store"))} == wanted
    assert said["known_good"]["digests"] == said["known_good"]["with_it"]["digests"] == 1
