"""What may never be listed is left out: known-good digests, and what a supplier took back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import loader.build as build_module
from loader.build import BuildRequest, ListInput, build
from loader.guard import NAMED_COLLISIONS, Guard, trivial_digests, trivial_files
from loader.label_numbers import KNOWN_GOOD, LabelTable
from loader.merge import sort_rows
from loader.readers.base import Batch, ReadOptions, Withdrawn
from loader.report import FileReport
from loader.spool import numbered_rows
from snapshot.algorithms import MD5
from snapshot.labels import Label, LabelClass, Tier
from snapshot.reader import Snapshot
from snapshot.store import Store

ONE, TWO = LabelClass("list", "one", Tier.ILLEGAL), LabelClass("other", "two", Tier.OTHER)


def digest(number: int) -> bytes:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


def rows_of(pairs: list[tuple[int, int]]) -> np.ndarray:
    matrix = np.frombuffer(b"".join(digest(n) for n, _ in pairs), dtype=np.uint8).reshape(-1, 16)
    return numbered_rows(matrix, np.array([number for _, number in pairs], dtype=np.uint32))


# (digest, class or None for known good, reference, delivery), and (list, reference, delivery) of withdrawals
ROWS = st.lists(
    st.tuples(
        st.integers(0, 12), st.sampled_from([ONE, TWO, None]), st.sampled_from([None, "a", "b", "c"]), st.integers(0, 2)
    ),
    min_size=1,
    max_size=60,
)
TAKEN_BACK = st.lists(st.tuples(st.sampled_from(["list", "other"]), st.sampled_from("abc"), st.integers(0, 2)))


@settings(max_examples=300, deadline=None)
@given(rows=ROWS, taken_back=TAKEN_BACK)
def test_what_stays_is_what_a_plain_program_leaves(rows: list, taken_back: list, tmp_path_factory) -> None:
    good = {number for number, label_class, *_ in rows if label_class is None}
    wanted: set[tuple[bytes, Label]] = set()
    collided: dict[int, set[Label]] = {}
    withdrawn = 0
    for number, label_class, reference, delivery in rows:
        if label_class is None:
            continue
        if any((label_class.list_id, reference) == gone[:2] and gone[2] >= delivery for gone in taken_back):
            withdrawn += 1
        elif number in good:
            collided.setdefault(number, set()).add(Label(*label_class, reference))
        else:
            wanted.add((digest(number), Label(*label_class, reference)))

    tmp_path = tmp_path_factory.mktemp("guard")
    with LabelTable(tmp_path) as labels:
        pairs = []
        for number, label_class, reference, delivery in rows:
            label_number = KNOWN_GOOD
            if label_class is not None:
                (label_number,) = labels.add_references([labels.number(label_class, "x")], [reference], delivery)
            pairs.append((number, label_number))
        for list_id, reference, delivery in taken_back:
            labels.withdraw(list_id, [reference], delivery)
        guard = Guard(labels, tmp_path)
        kept, repeats = guard.take_out(*sort_rows(rows_of(pairs), MD5, 0), MD5)
        keys = [(algorithm.name, file.seek(0) or file.read(), n) for algorithm, file, n in guard.known_good_keys()]
        expected_keys = b"".join(sorted(digest(number)[:16] for number in good))
        assert keys == ([("md5", expected_keys, len(good))] if good else [])
        found = {(row[:16].tobytes(), labels.label(int.from_bytes(row[16:].tobytes(), "little"))) for row in kept}
        assert found == wanted
        digests = [row[:16].tobytes() for row in kept]
        assert repeats.tolist() == [i > 0 and digests[i - 1] == each for i, each in enumerate(digests)]
        assert digests == sorted(digests)

    report = guard.report
    assert report.withdrawn_rows == withdrawn
    assert report.collisions == len(collided)
    assert report.by_class == {
        label_class: sum(label_class in {label.label_class for label in labels} for labels in collided.values())
        for label_class in {label.label_class for labels in collided.values() for label in labels}
    }
    assert {each.digest: set(each.labels) for each in report.named} == {
        digest(number).hex(): labels for number, labels in collided.items()
    }


def test_twenty_collisions_of_a_class_are_named_and_all_are_counted(tmp_path: Path) -> None:
    with LabelTable(tmp_path) as labels:
        number = labels.number(ONE, "x")
        pairs = [(i, label) for i in range(50) for label in (number, KNOWN_GOOD)]
        with closing(Guard(labels, tmp_path)) as guard:
            kept, repeats = guard.take_out(*sort_rows(rows_of(pairs), MD5, 0), MD5)
    assert len(kept) == len(repeats) == 0
    assert guard.report.collisions == guard.report.by_class[ONE] == 50
    assert len(guard.report.named) == NAMED_COLLISIONS
    assert guard.report.named[0].labels == (Label(*ONE, None),)


def test_rows_without_anything_to_leave_out_are_handed_on_as_they_are(tmp_path: Path) -> None:
    with LabelTable(tmp_path) as labels:
        number = labels.number(ONE, "x")
        rows, repeats = sort_rows(rows_of([(i, number) for i in range(9)]), MD5, 0)
        kept, still = Guard(labels, tmp_path).take_out(rows, repeats, MD5)
    assert kept is rows
    assert still is repeats


@pytest.mark.parametrize(
    "base64_text",
    [
        "",
        "AA==",
        "Cg==",
        # Single pixels as they are handed around on the web.
        "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
        "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==",
        "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR42mNgAAIAAAUAAen63NgAAAAASUVORK5CYII=",
    ],
)
def test_files_that_anybody_has_are_known(base64_text: str) -> None:
    content = base64.b64decode(base64_text)
    assert content in set(trivial_files())
    known = {(algorithm.name, digest) for algorithm, digest in trivial_digests()}
    for name in ("md5", "sha1", "sha256", "sha512"):
        assert (name, hashlib.new(name, content, usedforsecurity=False).digest()) in known


def write(path: Path, *digests: bytes) -> str:
    path.write_text("".join(f"{each.hex()}\n" for each in digests))
    return str(path)


def listed(store: Store) -> dict[str, set[bytes]]:
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        return {name: {digest for digest, _ in table.records()} for name, table in snapshot.tables.items()}


def test_a_known_good_list_takes_its_digests_out_of_every_list(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    bad = ListInput("police", Tier.BASELINE, [write(tmp_path / "bad", *(digest(i) for i in range(10)), digest(3))])
    empty = hashlib.md5(b"", usedforsecurity=False).digest()
    more = ListInput("hotline", Tier.OTHER, [write(tmp_path / "more", digest(3), digest(4), empty)])
    good = ListInput("cms", Tier.UNKNOWN, [write(tmp_path / "good", *(digest(i) for i in range(3, 6)), digest(77))],
                     known_good=True)  # fmt: skip
    result = build(BuildRequest(store.path, [good, bad, more], by="test"))
    assert listed(store) == {"md5": {digest(i) for i in range(10) if not 3 <= i < 6}}
    guard = result.report.guard
    assert guard.collisions == 4
    assert {c.list_id: n for c, n in guard.by_class.items()} == {"police": 3, "hotline": 3}
    assert guard.guarded_rows == 7
    manifest = result.published.manifest
    assert [(facts.list_id, facts.kind) for facts in manifest.lists] == [
        ("cms", "known-good"), ("hotline", "known-bad"), ("police", "known-bad"),
    ]  # fmt: skip
    assert {facts.list_id for facts in manifest.classes} == {"police"}
    assert manifest.merged == result.report.merged == 0


def test_an_algorithm_of_which_nothing_is_left_is_not_loaded(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    only_empty = hashlib.sha256(b"").digest()
    bad = ListInput("police", Tier.BASELINE, [write(tmp_path / "bad", digest(1), only_empty)])
    build(BuildRequest(store.path, [bad], by="test"))
    assert listed(store) == {"md5": {digest(1)}}


class Scripted:
    """A reader that yields what it is told to, by the first line of a file."""

    name = "scripted"
    unit = "record"
    is_text = True

    def __init__(self, content: dict[str, list[Batch | Withdrawn]]) -> None:
        self.content = content

    def read(self, source: Any, options: ReadOptions, report: FileReport) -> Iterator[Batch | Withdrawn]:
        for each in self.content[source.read().decode()]:
            if isinstance(each, Batch):
                report.keep(each.algorithm, len(each.digests))
            yield each


def referenced(*numbers: int) -> Batch:
    matrix = np.frombuffer(b"".join(map(digest, numbers)), dtype=np.uint8).reshape(-1, 16)
    return Batch(MD5, matrix, None, [f"ref {number}" for number in numbers])


def test_withdrawals_meet_their_own_and_earlier_deliveries_whatever_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {
        "first": [Withdrawn(["ref 1"]), referenced(1, 2, 3, 4, 5)],
        "second": [referenced(2, 6), Withdrawn(["ref 3", "ref 7"])],
        "third": [referenced(3, 7), Withdrawn(["ref 4", "ref 6", "never seen"])],
    }
    reader = Scripted(content)
    monkeypatch.setattr(build_module, "choose_reader", lambda *_: reader)
    files = []
    for name in content:
        (tmp_path / name).write_text(name)
        files.append(str(tmp_path / name))
    store = Store(tmp_path / "store")
    inputs = ListInput("a", Tier.ILLEGAL, files, deliveries=[0, 1, 2])
    other = ListInput("b", Tier.ILLEGAL, [files[0]])
    result = build(BuildRequest(store.path, [inputs, other], by="test"))
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        table = snapshot.tables["md5"]
        found = {
            number: sorted({label.list_id for label in snapshot.labels(label_set_id)})
            for number in range(1, 8)
            if (label_set_id := table.find(digest(number))) is not None
        }
    # 3 and 7 came back with the third delivery; the other list took nothing back but 1.
    assert found == {2: ["a", "b"], 3: ["a", "b"], 4: ["b"], 5: ["a", "b"], 7: ["a"]}
    assert result.report.guard.withdrawn_rows == 5
