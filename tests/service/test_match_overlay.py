"""Matching with an overlay in force, held against a plain program: dicts, sets and loops, nothing clever.

A seed and sizes are drawn, and contents follow from them, so that 1,000 digests cost Hypothesis nothing.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.forms import Files, read_json, read_packed
from service.match import match_columns, match_files
from service.replies import ColumnsReply, FilesReply
from service.view import View
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.labels import Label, LabelClass, Tier
from snapshot.overlay import Addition, Approval, Overlay, Suppression
from snapshot.reader import Snapshot
from snapshot.seal import Seal
from tests.service import reference
from tests.service.snapshots import LABEL_SETS, MadeSnapshot, live_store, random_entries

SIGNED: dict[str, Any] = {"by": "tests", "at": datetime(2026, 1, 1, tzinfo=UTC), "reason": "a test"}
STRENGTH = {"photodna": 0, "md5": 1, "sha1": 2, "sha256": 3, "sha512": 4}
ACTIONS = {"baseline": "block", "illegal": "block", "investigative": "review"}
#: Every class that a snapshot has, and some that none has.
CLASSES = [
    *sorted({label.label_class for each in LABEL_SETS for label in each}),
    LabelClass("police", "A", Tier.OTHER), LabelClass("own", "x", Tier.BASELINE), LabelClass("own", "y", Tier.UNKNOWN),
]  # fmt: skip
SIZES = st.sampled_from([0, 1, 2, 5, 11, 12, 13, 14, 15, 60, 1000])


class Opened(NamedTuple):
    made: MadeSnapshot
    snapshot: Snapshot


@pytest.fixture(scope="module", params=["plain", "sealed"])
def opened(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[list[Opened]]:
    """Snapshots of different algorithms; the last is loaded with nothing but sha1."""
    seal = Seal(random.randbytes(32)) if request.param == "sealed" else None
    with ExitStack() as stack:
        found = []
        for names in (tuple(ALGORITHMS), ("md5", "sha1", "sha256", "photodna"), ("md5", "photodna"), ("sha1",)):
            made = live_store(tmp_path_factory.mktemp("store"), random_entries(60, names), seal=seal)
            snapshot = stack.enter_context(Snapshot.open(made.directory, made.manifest_sha256))
            found.append(Opened(made, snapshot))
        yield found


def view_of(opened: Opened, overlay: Overlay) -> View:
    """Put an overlay, whose digests are given as they are, on a snapshot."""
    seal, current = opened.made.seal, opened.made.current(1, overlay_version=overlay.version)
    return View(current, opened.snapshot, overlay.resealed(None, seal), seal)


class Case:
    """A snapshot with a random overlay on it, and digests that mean something to it."""

    def __init__(self, opened: Opened, seed: int, suppressed: int, added: int) -> None:
        self.made = opened.made
        self.rng = random.Random(seed)
        self.known = {name: list(opened.made.entries.get(name, {})) for name in ALGORITHMS}
        self.pool: dict[str, list[bytes]] = {}
        rng = self.rng
        suppressions: dict[tuple[str, bytes], Suppression] = {}
        additions: dict[tuple[str, bytes, Label], Addition] = {}
        for name in rng.choices(list(ALGORITHMS), k=suppressed):
            raw = self.any_digest(name)
            suppressions[name, raw] = Suppression(algorithm=name, digest=raw.hex(), **SIGNED)
        for name in rng.choices(list(ALGORITHMS), k=added):
            again = [raw for of, raw in suppressions if of == name] + [raw for of, raw, _ in additions if of == name]
            raw = rng.choice(again) if again and rng.random() < 0.3 else self.any_digest(name)
            label = Label(*rng.choice(CLASSES), rng.choice([None, None, "case-7", "r1", "r2"]))
            additions[name, raw, label] = Addition(
                algorithm=name, digest=raw.hex(), list_id=label.list_id, category=label.category, tier=label.tier,
                reference=label.reference, **SIGNED,
            )  # fmt: skip
        self.overlay = Overlay(
            version=rng.randrange(1, 1000),
            approvals=tuple(
                Approval(**each._asdict(), **SIGNED) for each in CLASSES if rng.random() < rng.choice([0.2, 0.7, 1.0])
            ),
            suppressions=tuple(suppressions.values()),
            additions=tuple(additions.values()),
        )
        self.suppressed = set(suppressions)
        self.added: dict[tuple[str, bytes], list[Label]] = {}
        for name, raw, label in additions:
            self.added.setdefault((name, raw), []).append(label)
        self.on = {(each.list_id, each.category, each.tier.value) for each in self.overlay.approvals}
        self.view = view_of(opened, self.overlay)
        for name in ALGORITHMS:
            special = [raw for of, raw in sorted({*self.suppressed, *self.added}) if of == name]
            # A digest that begins like an addition falls into the same slot of what is asked first.
            alike = [raw[:4] + rng.randbytes(len(raw) - 4) for raw in special]
            alike += [raw[:-1] + bytes([raw[-1] ^ 1]) for raw in special]
            self.pool[name] = special * 3 + alike + self.known[name]

    def any_digest(self, name: str) -> bytes:
        """A listed one, or one that nobody knows."""
        if self.known[name] and self.rng.random() < 0.6:
            return self.rng.choice(self.known[name])
        return self.rng.randbytes(ALGORITHMS[name].digest_bytes)

    def digest(self, name: str) -> bytes:
        """A digest of a request."""
        if self.pool[name] and self.rng.random() < 0.7:
            return self.rng.choice(self.pool[name])
        return self.rng.randbytes(ALGORITHMS[name].digest_bytes)

    def text(self, name: str) -> object:
        raw = self.digest(name)
        text = raw.hex()
        if self.rng.random() < 0.05:
            return self.rng.choice([None, "", text[:-1], "g" + text[1:], 7, [text]])
        if name == "photodna" and self.rng.random() < 0.5:
            return base64.b64encode(raw).decode()
        return text.upper() if self.rng.random() < 0.1 else text

    # The plain program.

    def verdict(self, name: str, raw: bytes) -> tuple[str, list[dict[str, str]]] | None:
        if (name, raw) in self.suppressed:
            return None
        labels = {*self.made.entries[name].get(raw, ()), *self.added.get((name, raw), ())}
        on = [
            label for label in labels
            if (label.list_id, label.category, label.tier.value) in self.on and label.tier.value in ACTIONS
        ]  # fmt: skip
        if not on:
            return None
        on.sort(key=lambda label: (label.list_id, label.category, label.tier.value, label.reference or ""))
        shown = []
        for label in on:
            shown.append({"list_id": label.list_id, "category": label.category, "tier": label.tier.value})
            if label.reference is not None:
                shown[-1]["reference"] = label.reference
        return ("block" if any(ACTIONS[label.tier.value] == "block" for label in on) else "review"), shown

    def head(self) -> dict[str, Any]:
        return {
            "snapshot_id": self.made.snapshot_id, "overlay_version": self.overlay.version, "checked": {},
            "not_loaded": {}, "matches": [], "invalid": [],
        }  # fmt: skip

    def columns_reply(self, columns: dict[str, list[object]]) -> dict[str, Any]:
        reply = self.head()
        for name, texts in columns.items():
            loaded = name in self.made.entries
            counts = reply["checked" if loaded else "not_loaded"]
            counts[name] = 0
            for index, text in enumerate(texts):
                raw = reference.parsed(text, name)
                if isinstance(raw, str):
                    reply["invalid"].append({"algorithm": name, "index": index, "reason": raw})
                    continue
                counts[name] += 1
                found = self.verdict(name, raw) if loaded else None
                if found is not None:
                    digest = reference.shown(raw, name)
                    reply["matches"].append(
                        {"algorithm": name, "index": index, "digest": digest, "action": found[0], "labels": found[1]}
                    )
        return reply

    def files_reply(self, files: list[dict[str, object]]) -> dict[str, Any]:
        reply = self.head()
        verdicts = {"match": 0, "clear": 0, "invalid": 0}
        for index, file in enumerate(files):
            ref, fault, matched, cleared, was_looked_up = file.get("ref"), None, [], -1, False
            if "crc32" in file:
                fault = {"reason": "unknown_algorithm"}
            for name in ALGORITHMS:
                if name not in file:
                    continue
                loaded = name in self.made.entries
                counts = reply["checked" if loaded else "not_loaded"]
                counts.setdefault(name, 0)
                raw = reference.parsed(file[name], name)
                if isinstance(raw, str):
                    fault = fault or {"reason": raw, "algorithm": name}
                    continue
                counts[name] += 1
                was_looked_up = was_looked_up or loaded
                if (name, raw) in self.suppressed:
                    cleared = max(cleared, STRENGTH[name])
                elif loaded and (found := self.verdict(name, raw)):
                    matched.append((name, raw, *found))
            matched = [each for each in matched if STRENGTH[each[0]] > cleared]
            if matched:
                verdicts["match"] += 1
                action = "block" if any(each[2] == "block" for each in matched) else "review"
                digests = [
                    {"algorithm": name, "digest": reference.shown(raw, name), "labels": labels}
                    for name, raw, _, labels in matched
                ]
                reply["matches"].append({"index": index, "ref": ref, "action": action, "matched": digests})
            elif fault or not was_looked_up:
                verdicts["invalid"] += 1
                reply["invalid"].append({"index": index, "ref": ref, **(fault or {"reason": "not_checked"})})
            else:
                verdicts["clear"] += 1
        return {**reply, "files": verdicts}


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Which snapshot, a seed, how many suppressions and additions."""
    some = st.sampled_from([0, 1, 5, 40])
    return draw(st.integers(0, 3)), draw(st.integers(0, 2**32 - 1)), draw(some), draw(some)


def case(opened: list[Opened], drawn: tuple[int, int, int, int]) -> Case:
    return Case(opened[drawn[0]], *drawn[1:])


def ask(view: View, request: object) -> Any:
    read = read_json(orjson.dumps(request), 10_000)
    return orjson.loads(match_files(view, read) if isinstance(read, Files) else match_columns(view, read))


MANY = settings(max_examples=150, deadline=None)


@MANY
@given(drawn=cases(), sizes=st.dictionaries(st.sampled_from(list(ALGORITHMS)), SIZES, min_size=1))
def test_by_column_as_the_plain_program(
    opened: list[Opened], drawn: tuple[int, int, int, int], sizes: dict[str, int]
) -> None:
    it = case(opened, drawn)
    columns = {name: [it.text(name) for _ in range(size)] for name, size in sizes.items()}
    reply = ask(it.view, columns)
    assert reply == it.columns_reply(columns)
    ColumnsReply.model_validate(reply)
    sent = sum(map(len, columns.values()))
    assert sum(reply["checked"].values()) + sum(reply["not_loaded"].values()) + len(reply["invalid"]) == sent


@MANY
@given(drawn=cases(), algorithm=st.sampled_from(list(ALGORITHMS.values())), size=SIZES)
def test_packed_as_the_plain_program(
    opened: list[Opened], drawn: tuple[int, int, int, int], algorithm: Algorithm, size: int
) -> None:
    it = case(opened, drawn)
    digests = [it.digest(algorithm.name) for _ in range(size)]
    reply = orjson.loads(match_columns(it.view, read_packed(b"".join(digests), algorithm, 1000)))
    assert reply == it.columns_reply({algorithm.name: [raw.hex() for raw in digests]})


@MANY
@given(drawn=cases(), size=SIZES)
def test_by_file_as_the_plain_program(opened: list[Opened], drawn: tuple[int, int, int, int], size: int) -> None:
    it = case(opened, drawn)
    files = []
    for number in range(size):
        names = it.rng.sample(list(ALGORITHMS), it.rng.choice([0, 1, 2, 3, 4, 5]))
        file: dict[str, object] = {name: it.text(name) for name in names}
        if it.rng.random() < 0.5:
            file["ref"] = f"file {number}"
        if it.rng.random() < 0.03:
            file["crc32"] = "0"
        files.append(file)
    reply = ask(it.view, {"files": files})
    assert reply == it.files_reply(files)
    FilesReply.model_validate(reply)
    assert sum(reply["files"].values()) == size


def test_the_plain_program_meets_everything_that_matters(opened: list[Opened]) -> None:
    """What is drawn above is worth drawing: suppressed digests, cleared files, additions with a class on and off."""
    met = {"match": 0, "suppressed": 0, "added on": 0, "added off": 0, "not loaded": 0, "cleared": 0, "survived": 0}
    for seed in range(60):
        it = Case(opened[seed % 4], seed, 40, 40)
        for name in ALGORITHMS:
            for raw in (it.digest(name) for _ in range(50)):
                listed = raw in it.made.entries.get(name, {})
                met["suppressed"] += listed and (name, raw) in it.suppressed
                if name not in it.made.entries:
                    met["not loaded"] += (name, raw) in it.added
                    continue
                found = it.verdict(name, raw)
                met["match"] += found is not None
                is_only_added = (name, raw) in it.added and not listed and (name, raw) not in it.suppressed
                met["added on"] += is_only_added and found is not None
                met["added off"] += is_only_added and found is None
        weak = [raw for raw in it.known["md5"] if it.verdict("md5", raw)]
        strong = [raw for name, raw in it.suppressed if name == "sha1"]
        weaker = [raw for name, raw in it.suppressed if name == "photodna"]
        if weak and strong:
            reply = it.files_reply([{"md5": weak[0].hex(), "sha1": strong[0].hex()}])
            met["cleared"] += not reply["matches"] and reply["files"]["clear"]
        if weak and weaker:
            met["survived"] += it.files_reply([{"md5": weak[0].hex(), "photodna": weaker[0].hex()}])["files"]["match"]
    assert min(met.values()) >= 10, met


@pytest.fixture
def whole(opened: list[Opened]) -> Opened:
    return opened[0]


def on(whole: Opened, name: str) -> bytes:
    """A digest that is a match as long as nothing speaks against it."""
    return next(raw for raw, labels in whole.made.entries[name].items() if labels == LABEL_SETS[0])


def with_overlay(whole: Opened, **parts: Any) -> View:
    approvals = tuple(Approval(**each._asdict(), **SIGNED) for each in CLASSES)
    overlay = Overlay(version=5, **{"approvals": approvals, **parts})
    return view_of(whole, overlay)


def suppression(name: str, raw: bytes) -> Suppression:
    return Suppression(algorithm=name, digest=raw.hex(), **SIGNED)


@pytest.mark.parametrize("matching", STRENGTH)
@pytest.mark.parametrize("silent", STRENGTH)
def test_a_suppressed_digest_clears_what_is_not_stronger(whole: Opened, matching: str, silent: str) -> None:
    raw = on(whole, matching)
    other = random.randbytes(ALGORITHMS[silent].digest_bytes)
    view = with_overlay(whole, suppressions=(suppression(silent, other),))
    file = {"ref": "x", matching: raw.hex()}
    if silent == matching:  # one file has one digest of each algorithm, so it is this very one that is silent
        view = with_overlay(whole, suppressions=(suppression(silent, raw),))
    else:
        file[silent] = other.hex()
    reply = ask(view, {"files": [file, {"ref": "y", matching: raw.hex()}]})
    is_cleared = STRENGTH[silent] >= STRENGTH[matching]
    expected = [1] if is_cleared else [0, 1]
    if silent == matching:
        expected = []
    assert [each["index"] for each in reply["matches"]] == expected
    assert reply["files"] == {"match": len(expected), "clear": 2 - len(expected), "invalid": 0}


def test_a_file_that_is_cleared_and_malformed_is_invalid(whole: Opened) -> None:
    raw, silent = on(whole, "md5"), random.randbytes(32)
    view = with_overlay(whole, suppressions=(suppression("sha256", silent),))
    reply = ask(view, {"files": [{"md5": raw.hex(), "sha256": silent.hex(), "sha1": "x"}]})
    assert reply["matches"] == []
    assert reply["invalid"] == [{"index": 0, "ref": None, "reason": "wrong_length", "algorithm": "sha1"}]


def test_what_is_cleared_by_a_digest_of_an_algorithm_that_is_not_loaded(opened: list[Opened]) -> None:
    it = opened[2]  # md5 and photodna
    raw, silent = on(it, "md5"), random.randbytes(64)
    view = with_overlay(it, suppressions=(suppression("sha512", silent),))
    reply = ask(view, {"files": [{"md5": raw.hex(), "sha512": silent.hex()}, {"sha512": silent.hex()}]})
    assert reply["files"] == {"match": 0, "clear": 1, "invalid": 1}
    assert (reply["checked"], reply["not_loaded"]) == ({"md5": 1}, {"sha512": 2})
    assert reply["invalid"] == [{"index": 1, "ref": None, "reason": "not_checked"}]


def addition(name: str, raw: bytes, label_class: LabelClass, ref: str | None = None) -> Addition:
    return Addition(algorithm=name, digest=raw.hex(), **label_class._asdict(), reference=ref, **SIGNED)


def test_an_addition_is_a_match_as_long_as_its_class_is_on(whole: Opened) -> None:
    raw, label_class = random.randbytes(32), LabelClass("own", "x", Tier.BASELINE)
    parts = {"additions": (addition("sha256", raw, label_class, "case 9"),)}
    label = {"list_id": "own", "category": "x", "tier": "baseline", "reference": "case 9"}
    reply = ask(with_overlay(whole, **parts), {"sha256": [raw.hex()]})
    assert reply["matches"] == [
        {"algorithm": "sha256", "index": 0, "digest": raw.hex(), "action": "block", "labels": [label]}
    ]
    approvals = tuple(Approval(**each._asdict(), **SIGNED) for each in CLASSES if each != label_class)
    reply = ask(with_overlay(whole, **parts, approvals=approvals), {"sha256": [raw.hex()]})
    assert (reply["matches"], reply["checked"]) == ([], {"sha256": 1})
    reply = ask(with_overlay(whole, **parts, suppressions=(suppression("sha256", raw),)), {"sha256": [raw.hex()]})
    assert (reply["matches"], reply["checked"]) == ([], {"sha256": 1})


def test_an_addition_of_an_algorithm_that_is_not_loaded_is_counted_as_that(opened: list[Opened]) -> None:
    it = opened[3]
    raw = random.randbytes(32)
    view = with_overlay(it, additions=(addition("sha256", raw, CLASSES[0]),))
    reply = ask(view, {"sha256": [raw.hex()], "sha1": []})
    assert (reply["matches"], reply["checked"], reply["not_loaded"]) == ([], {"sha1": 0}, {"sha256": 1})
    assert ask(view, {"files": [{"sha256": raw.hex()}]})["files"] == {"match": 0, "clear": 0, "invalid": 1}


def test_an_addition_to_a_listed_digest_shows_both(whole: Opened) -> None:
    raw = next(raw for raw, labels in whole.made.entries["sha1"].items() if labels == LABEL_SETS[3])  # review
    view = with_overlay(whole, additions=(addition("sha1", raw, LabelClass("own", "x", Tier.BASELINE)),))
    (match,) = ask(view, {"sha1": [raw.hex()]})["matches"]
    assert match["action"] == "block"
    assert [label["list_id"] for label in match["labels"]] == ["own", "police"]
    # And the verdict that is kept for others with the label set of the listed one is theirs alone.
    other = [r for r, labels in whole.made.entries["sha1"].items() if labels == LABEL_SETS[3]][1]
    (match,) = ask(view, {"sha1": [other.hex()]})["matches"]
    assert (match["action"], [label["list_id"] for label in match["labels"]]) == ("review", ["police"])


@pytest.mark.parametrize("count", [1, 12, 13, 14, 1000])
def test_every_place_of_a_batch(whole: Opened, count: int) -> None:
    """All of a batch added, listed or silent, one by one: none is missed at the ends or at the boundary."""
    added = [random.randbytes(32) for _ in range(count)]
    silent = on(whole, "sha256")
    view = with_overlay(
        whole,
        additions=tuple(addition("sha256", raw, CLASSES[-2]) for raw in added),
        suppressions=(suppression("sha256", silent),),
    )
    reply = ask(view, {"sha256": [raw.hex() for raw in added]})
    assert [each["index"] for each in reply["matches"]] == list(range(count))
    assert ask(view, {"sha256": [silent.hex()] * count})["matches"] == []
    for place in {0, count // 2, count - 1}:
        texts = [random.randbytes(32).hex() for _ in range(count)]
        texts[place] = added[place].hex()
        assert [each["index"] for each in ask(view, {"sha256": texts})["matches"]] == [place]


def test_a_view_of_a_full_overlay_is_made_soon(whole: Opened, tmp_path: Path) -> None:
    """10,000 of each kind: the watch makes it while requests are answered."""
    pool = [random.randbytes(32) for _ in range(20_000)]
    view = with_overlay(
        whole,
        suppressions=tuple(suppression("sha256", raw) for raw in pool[:10_000]),
        additions=tuple(addition("sha256", raw, CLASSES[-2]) for raw in pool[5_000:15_000]),
    )
    reply = ask(view, {"sha256": [raw.hex() for raw in pool[3_000:13_000]]})
    assert [each["index"] for each in reply["matches"]] == list(range(7_000, 10_000))
