"""The gate on changes: what stops a publish and what is only told, the report, and the figures it goes by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest

from loader.build import BuildRequest, BuildResult, build
from loader.diff import Change, Classes, SnapshotDiff, diff_snapshots
from loader.diff_gate import DiffRefused, Finding, as_json, check_diff, lines_of, refuse_diff
from loader.errors import LoaderError
from loader.guard import Collision, Guard
from loader.inputs import Limits, ListInput
from loader.label_numbers import KNOWN_GOOD, LabelTable
from loader.merge import sort_rows
from loader.spool import numbered_rows
from snapshot.algorithms import MD5, SHA1
from snapshot.labels import MAX_REFERENCES_PER_CLASS, Label, LabelClass, Tier
from snapshot.manifest import FORMAT_VERSION, MANIFEST, ClassFacts, ListFacts, Manifest, parse_manifest
from snapshot.reader import Snapshot
from snapshot.store import Store
from tests.listfiles import random_digests

A1 = LabelClass("police", "A1", Tier.BASELINE)
A1_ILLEGAL = LabelClass("police", "A1", Tier.ILLEGAL)
A1_UNKNOWN = LabelClass("police", "A1", Tier.UNKNOWN)
A1_OTHER = LabelClass("police", "A1", Tier.OTHER)
B = LabelClass("hotline", "B", Tier.ILLEGAL)

REMEDY = (
    "Ask the suppliers, or look into their deliveries. If all of this is meant, compile again with "
    "`--accept-diff REASON --by NAME`."
)


def manifest_of(
    name: str, *list_ids: str, guarded: Mapping[str, int] = {}, references: Mapping[LabelClass, int] = {}
) -> Manifest:
    """Give a manifest of these lists, as far as the gate looks into it."""
    return Manifest(
        format_version=FORMAT_VERSION, snapshot_id=name * 64, created_at=datetime.now(UTC), page_size=4096,
        label_set_id_bytes=4, label_sets=1, false_positive_rate=0.001, seal_key_id=None, merged=0, algorithms={},
        known_good={}, files={},
        classes=[ClassFacts(**c._asdict(), entries={}, most_references=most) for c, most in references.items()],
        lists=[
            ListFacts(list_id=each, files=1, lines=1, digests=1, refused=0, guarded=guarded.get(each, 0))
            for each in list_ids
        ],
    )  # fmt: skip


def diff_of(
    classes: Mapping[LabelClass, Change] = {}, lists: Mapping[str, Change] = {},
    reclassed: Mapping[tuple[Classes, Classes], int] = {}, old: str | None = "a",
) -> SnapshotDiff:  # fmt: skip
    by_algorithm = {label_class: {"md5": change} for label_class, change in sorted(classes.items())}
    return SnapshotDiff(old and old * 64, "b" * 64, by_algorithm, lists, reclassed)


def found(
    diff: SnapshotDiff, old: Manifest | None = None, new: Manifest | None = None, **limits: Limits
) -> list[Finding]:
    """Judge a difference between snapshots of the same two lists, unless said otherwise."""
    old = old or manifest_of("a", "police", "hotline")
    return check_diff(diff, limits=limits, old=old, new=new or manifest_of("b", "police", "hotline"))


def kinds(findings: list[Finding]) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.stops) for finding in findings]


@pytest.mark.parametrize(
    ("change", "limits", "kind"),
    [
        (Change(0, 0, 0), Limits(), None),
        # Of 2,000: the limit itself is allowed, one more is not.
        (Change(0, 200, 1800), Limits(), None),
        (Change(0, 201, 1799), Limits(), "list_shrank"),
        (Change(1000, 0, 2000), Limits(), None),
        (Change(1001, 0, 2000), Limits(), "list_grew"),
        # As long as before, and yet gone.
        (Change(2000, 2000, 0), Limits(), "list_shrank"),
        (Change(1200, 200, 1800), Limits(), None),
        (Change(1201, 200, 1800), Limits(), "list_grew"),
        # 100 entries never stop.
        (Change(0, 100, 0), Limits(), None),
        (Change(0, 101, 0), Limits(), "list_shrank"),
        (Change(100, 0, 0), Limits(0, 0), None),
        (Change(101, 0, 0), Limits(), "list_grew"),
        (Change(101, 0, 1), Limits(), "list_grew"),
        # Limits of the list's own.
        (Change(0, 200, 1800), Limits(max_shrink=0.05), "list_shrank"),
        (Change(0, 1900, 100), Limits(max_shrink=1), None),
        (Change(300, 0, 2000), Limits(max_growth=0.1), "list_grew"),
        (Change(20_000, 0, 2000), Limits(max_growth=10), None),
    ],
)
def test_how_far_a_list_may_shrink_and_grow(change: Change, limits: Limits, kind: str | None) -> None:
    expected = [(kind, True)] if kind else []
    assert kinds(found(diff_of(lists={"police": change}), police=limits)) == expected
    # Another list's limits are not this one's.
    assert kinds(found(diff_of(lists={"police": change}), hotline=limits)) == kinds(
        found(diff_of(lists={"police": change}))
    )


def test_what_is_said_of_a_list() -> None:
    diff = diff_of(lists={"police": Change(5000, 1500, 500), "hotline": Change(101, 0, 0)})
    assert [finding.text for finding in found(diff)] == [
        "police: 1,500 of 2,000 entries are gone (75 %, max_shrink is 10 %)",
        "police: 2,000 entries became 5,500 (175 %, max_growth is 50 %)",
        "hotline: 0 entries became 101 (max_growth is 50 %)",
    ]


def test_a_list_that_is_new_has_nothing_to_compare_with() -> None:
    diff = diff_of({A1: Change(added=5000)}, {"police": Change(added=5000)})
    assert kinds(found(diff, old=manifest_of("a", "hotline"))) == [("class_appeared", False)]


def test_a_list_that_was_left_out_has_been_asked_for_already() -> None:
    diff = diff_of({A1: Change(removed=5000)}, {"police": Change(removed=5000)})
    findings = found(diff, new=manifest_of("b", "hotline"))
    assert findings == [Finding("list_dropped", "police", "police: the list was left out, with its 5,000 entries")]
    known_good = found(diff_of(), old=manifest_of("a", "police", "hotline", "cms"))
    assert [finding.text for finding in known_good] == ["cms: the list was left out, with its 0 entries"]


def test_a_class_that_vanished_stops() -> None:
    (finding,) = found(diff_of({A1: Change(removed=1), B: Change(kept=3)}))
    assert finding == Finding(
        "class_vanished", "police", "police/A1/baseline: the class is gone, with its 1 digests", stops=True
    )
    assert kinds(found(diff_of({A1: Change(removed=5000, kept=1)}))) == []


def test_a_category_that_got_another_tier_stops_unless_it_was_off() -> None:
    vanished, appeared = found(diff_of({A1: Change(removed=9), A1_ILLEGAL: Change(added=9)}))
    assert (vanished.kind, vanished.stops) == ("class_vanished", True)
    assert "the category has another tier now (illegal), which is off until it is approved" in vanished.text
    assert (appeared.kind, appeared.stops) == ("class_appeared", False)
    for off in (A1_UNKNOWN, A1_OTHER):
        assert kinds(found(diff_of({off: Change(removed=9), A1: Change(added=9)}))) == [
            ("class_vanished", False), ("class_appeared", False),
        ]  # fmt: skip
        # Without another tier in its place nobody knows where the category went.
        assert kinds(found(diff_of({off: Change(removed=9)}))) == [("class_vanished", True)]
    # The same word of another list is another category.
    other = LabelClass("hotline", "A1", Tier.BASELINE)
    assert kinds(found(diff_of({A1_UNKNOWN: Change(removed=9), other: Change(kept=9)}))) == [("class_vanished", True)]


def test_new_and_unmapped_classes_are_told() -> None:
    diff = diff_of({A1: Change(added=7, kept=1), A1_UNKNOWN: Change(5, 1, 1200), B: Change(added=3)})
    assert found(diff) == [
        Finding("class_appeared", "hotline", "hotline/B/illegal: a new class of 3 digests, off until it is approved"),
        Finding(
            "class_unmapped", "police",
            "police/A1/unknown: nobody has given the category a tier; its 1,205 digests are off",
        ),
    ]  # fmt: skip


def test_more_known_good_digests_than_before_stop() -> None:
    old = manifest_of("a", "police", "hotline", guarded={"police": 7, "hotline": 7})
    new = manifest_of("b", "police", "hotline", "new", guarded={"police": 7, "hotline": 8, "new": 1})
    findings = found(diff_of(), old=old, new=new)
    assert [(f.kind, f.list_id, f.stops) for f in findings] == [
        ("guard_collisions", "hotline", True), ("guard_collisions", "new", True),
    ]  # fmt: skip
    assert findings[0].text.startswith("hotline: 8 of its digests are known good, 7 were before")
    as_many = manifest_of("b", "police", "hotline", guarded={"police": 7, "hotline": 1})
    assert found(diff_of(), old=old, new=as_many) == []


def test_a_constant_value_stops_once() -> None:
    def with_most(name: str, most: int, label_class: LabelClass = A1) -> Manifest:
        return manifest_of(name, "police", "hotline", references={label_class: most})

    assert kinds(found(diff_of(), new=with_most("b", MAX_REFERENCES_PER_CLASS))) == []
    (finding,) = found(diff_of(), new=with_most("b", MAX_REFERENCES_PER_CLASS + 1))
    assert (finding.kind, finding.list_id, finding.stops) == ("constant_value", "police", True)
    assert finding.text.startswith("police/A1/baseline: one digest stands under 101 references")
    # What is live with it was accepted, whatever the tier of the category is now.
    for before, stops in ((MAX_REFERENCES_PER_CLASS, True), (MAX_REFERENCES_PER_CLASS + 1, False)):
        for label_class in (A1, A1_ILLEGAL):
            findings = found(diff_of(), old=with_most("a", before, label_class), new=with_most("b", 5000))
            assert kinds(findings) == [("constant_value", stops)]
    other = with_most("a", 5000, B)
    assert kinds(found(diff_of(), old=other, new=with_most("b", 5000))) == [("constant_value", True)]


def test_the_first_publish_is_told_everything_and_not_stopped() -> None:
    new = manifest_of("b", "police", guarded={"police": 5}, references={A1: 500})
    diff = diff_of({A1: Change(added=5000)}, {"police": Change(added=5000)}, old=None)
    findings = check_diff(diff, limits={}, old=None, new=new)
    assert kinds(findings) == [("guard_collisions", False), ("constant_value", False), ("class_appeared", False)]
    refuse_diff(diff, findings)


A2 = LabelClass("police", "A2", Tier.ILLEGAL)


@pytest.mark.parametrize(
    ("reclassed", "limits", "moved"),
    [
        ({((A1,), (A2,)): 200}, Limits(), None),
        ({((A1,), (A2,)): 201}, Limits(), 201),
        ({((A1,), (A2,)): 150, ((A1, B), (A2, B)): 51}, Limits(), 201),
        # All but one: the class has not vanished.
        ({((A1,), (A2,)): 1999}, Limits(), 1999),
        # It had the other one too, and lost this one.
        ({((A1, A2), (A2,)): 300}, Limits(), 300),
        # Came into the class on top, or is in no class of the list any more: list_shrank tells of that.
        ({((A1,), (A1, A2)): 1999, ((A2,), (A1,)): 50}, Limits(), None),
        ({((A1, B), (B,)): 1999}, Limits(), None),
        ({((A1,), (A2,)): 201}, Limits(max_shrink=0.2), None),
        ({((A1,), (A2,)): 101}, Limits(max_shrink=0), 101),
        ({((A1,), (A2,)): 100}, Limits(max_shrink=0), None),
    ],
)
def test_what_leaves_a_class_for_others_of_its_list_is_judged_like_what_leaves_the_list(
    reclassed: dict[tuple[Classes, Classes], int], limits: Limits, moved: int | None
) -> None:
    kept = {A1: Change(removed=1999, kept=1), A2: Change(added=10, kept=5000), B: Change(kept=3000)}
    findings = [each for each in found(diff_of(kept, {}, reclassed), police=limits) if each.stops]
    assert kinds(findings) == ([("class_moved", True)] if moved else [])
    if moved:
        share = f"{100 * moved / 2000:.4g} %, max_shrink is {100 * limits.max_shrink:.4g} %"
        what = f"{moved:,} of its 2,000 digests have other classes of the list now"
        assert findings[0].text == f"police/A1/baseline: {what} ({share})"


def test_a_class_that_vanished_is_not_told_twice() -> None:
    diff = diff_of({A1: Change(removed=2000), A2: Change(added=2000)}, {}, {((A1,), (A2,)): 2000})
    assert [each.kind for each in found(diff) if each.stops] == ["class_vanished"]


def test_a_refusal_names_the_first_ten_collisions_without_their_digests() -> None:
    old, new = manifest_of("a", "police", "hotline"), manifest_of("b", "police", "hotline", guarded={"police": 12})
    named = [Collision("md5", f"{n:032x}", (Label(*A1, f"r{n}"), Label(*B, None))) for n in range(12)]
    named.insert(0, Collision("sha256", "f" * 64, (Label(*A1, "beside"),), with_it=True))
    with pytest.raises(DiffRefused) as caught:
        refuse_diff(diff_of(), found(diff_of(), old, new), named)
    lines = str(caught.value).split("\n  ")
    assert lines[1].startswith("stops: police: 12 of its digests are known good")
    assert lines[2:12] == [f"known good: police / A1 / baseline / r{n}, md5" for n in range(10)]
    assert lines[12].startswith("known good: … and others")
    assert not re.search("[0-9a-f]{32}", str(caught.value))


def test_what_stops_comes_first() -> None:
    diff = diff_of({A1: Change(removed=1), B: Change(added=1)}, {}, {((A1,), (B,)): 5})
    old = manifest_of("a", "police", "hotline", "gone")
    assert kinds(found(diff, old=old)) == [
        ("class_vanished", True), ("list_dropped", False), ("class_appeared", False), ("reclassed", False),
    ]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), [("c", "b"), ("a", "c")])
def test_manifests_of_other_snapshots_are_a_mistake(old: str, new: str) -> None:
    with pytest.raises(ValueError, match="not that of these manifests"):
        check_diff(diff_of(), limits={}, old=manifest_of(old), new=manifest_of(new))
    with pytest.raises(ValueError, match="not that of these manifests"):
        check_diff(diff_of(old=None), limits={}, old=manifest_of("a"), new=manifest_of("b"))


def test_nothing_that_stops_is_no_refusal() -> None:
    diff = diff_of({B: Change(added=1)})
    refuse_diff(diff, found(diff))
    refuse_diff(diff, [])


def test_a_refusal_holds_the_whole_report_and_the_way_out() -> None:
    diff = diff_of(
        {A1: Change(removed=3000), B: Change(12, 3, 40)},
        {"hotline": Change(12, 3, 40), "police": Change(removed=3000)},
        {((A1,), (B, A1)): 1234},
    )
    with pytest.raises(DiffRefused) as caught:
        refuse_diff(diff, found(diff))
    assert isinstance(caught.value, LoaderError)
    assert caught.value.reason == "diff_refused"
    assert str(caught.value).split("\n  ") == [
        "2 changes of what is live that nobody has accepted; nothing is published",
        "stops: police: 3,000 of 3,000 entries are gone (100 %, max_shrink is 10 %)",
        "stops: police/A1/baseline: the class is gone, with its 3,000 digests",
        "list hotline: +12 −3, 43 entries before, 52 now",
        "list police: +0 −3,000, 3,000 entries before, 0 now",
        "class hotline/B/illegal: +12 −3 (md5 +12 −3)",
        "class police/A1/baseline: +0 −3,000 (md5 +0 −3,000); vanished",
        "re-classed police/A1/baseline → hotline/B/illegal + police/A1/baseline: 1,234 digests",
        REMEDY,
    ]
    with pytest.raises(DiffRefused, match=r"^1 change of what is live"):
        refuse_diff(diff, found(diff)[1:])


def test_the_largest_re_classed_counts_are_named_and_the_others_summed_up() -> None:
    classes = [LabelClass("police", f"c{i:02}", Tier.OTHER) for i in range(31)]
    reclassed = {((classes[i],), (classes[i + 1],)): 100 + i for i in range(30)}
    lines = lines_of(diff_of(reclassed=reclassed))
    assert len(lines) == 21
    assert lines[0] == "re-classed police/c29/other → police/c30/other: 129 digests"
    assert lines[-1] == f"re-classed in 10 further ways: {sum(range(100, 110)):,} digests"
    counted = sum(int(re.search(r": ([\d,]+) digests", line)[1].replace(",", "")) for line in lines)
    assert counted == sum(reclassed.values())
    findings = found(diff_of(reclassed=reclassed))
    assert {(finding.kind, finding.stops) for finding in findings} == {("reclassed", False)}
    assert [finding.list_id for finding in findings] == ["police"] * 20 + [None]
    (both,) = found(diff_of(reclassed={((A1,), (B,)): 1}))
    assert both.list_id is None


def test_a_category_cannot_play_with_the_terminal() -> None:
    odd = LabelClass("police", "\x1b[2J\n\u2028é", Tier.UNKNOWN)
    diff = diff_of({odd: Change(added=1)}, {}, {((odd,), (A1,)): 1})
    for text in (*lines_of(diff), *(finding.text for finding in found(diff))):
        assert text.isprintable()
    assert "police/\\x1b[2J\\n\\u2028\\xe9/unknown" in lines_of(diff)[0]


def test_json_has_all_of_it() -> None:
    diff = SnapshotDiff(
        None, "b" * 64, {A1: {"md5": Change(1, 0, 2), "sha1": Change(0, 4, 0)}, B: {"md5": Change(5, 0, 0)}},
        {"police": Change(1, 2, 3)}, {((A1,), (A1, B)): 6},
    )  # fmt: skip
    a1, b = A1._asdict(), B._asdict()
    assert orjson.loads(orjson.dumps(as_json(diff))) == {
        "old_snapshot_id": None, "new_snapshot_id": "b" * 64,
        "lists": {"police": {"before": 5, "after": 4, "added": 1, "removed": 2, "kept": 3}},
        "classes": [
            {**a1, "added": 1, "removed": 4, "kept": 2, "algorithms": {
                "md5": {"added": 1, "removed": 0, "kept": 2}, "sha1": {"added": 0, "removed": 4, "kept": 0},
            }},
            {**b, "added": 5, "removed": 0, "kept": 0, "algorithms": {"md5": {"added": 5, "removed": 0, "kept": 0}}},
        ],
        "appeared": [b], "vanished": [], "reclassed": [{"from": [a1], "to": [a1, b], "digests": 6}],
    }  # fmt: skip


def test_two_compiles_are_compared_and_judged(tmp_path: Path) -> None:
    """From list files to a refusal, and the difference agrees with both manifests."""
    digests = [each.hex() for each in random_digests("sha256", 1300, "diff gate")]

    def compiled(name: str, a1: list[str], b: list[str], hotline: list[str]) -> BuildResult:
        rows = ["sha256,category,reference", *(f"{d},A1,{d[:6]}" for d in a1), *(f"{d},B," for d in b)]
        (tmp_path / f"{name}.csv").write_text("\n".join([*rows, ""]))
        (tmp_path / f"{name}.txt").write_text("\n".join([*hotline, ""]))
        lists = [
            ListInput("police", Tier.UNKNOWN, [str(tmp_path / f"{name}.csv")], tiers={"A1": Tier.BASELINE}),
            ListInput("hotline", Tier.ILLEGAL, [str(tmp_path / f"{name}.txt")]),
        ]
        return build(BuildRequest(tmp_path / name, lists, by="tests"))

    # Police lose 150 of 1,000 and 50 change the category; the hotline gets one more.
    manifests = [
        compiled("old", digests[:600], digests[600:1000], digests[900:1200]).published.manifest,
        compiled("new", digests[100:550], digests[550:950], digests[900:1201]).published.manifest,
    ]
    opened = []
    for name in ("old", "new"):
        current = Store(tmp_path / name).current()
        opened.append(Snapshot.open(Store(tmp_path / name).live_dir(current), current.manifest_sha256))
    with opened[0] as old, opened[1] as new:
        diff = diff_snapshots(old, new)
    hotline = LabelClass("hotline", "default", Tier.ILLEGAL)
    unmapped = LabelClass("police", "B", Tier.UNKNOWN)
    assert diff.lists == {"hotline": Change(1, 0, 300), "police": Change(0, 150, 850)}
    assert diff.reclassed == {((A1,), (unmapped,)): 50, ((hotline, unmapped), (hotline,)): 50}
    for manifest, side in zip(manifests, ("before", "after"), strict=True):
        for facts in manifest.classes:
            changes = diff.classes[LabelClass(facts.list_id, facts.category, facts.tier)]
            counts = {name: getattr(change, side) for name, change in changes.items()}
            assert {name: count for name, count in counts.items() if count} == facts.entries
    findings = check_diff(diff, limits={}, old=manifests[0], new=manifests[1])
    assert kinds(findings) == [
        ("list_shrank", True), ("class_unmapped", False), ("reclassed", False), ("reclassed", False),
    ]  # fmt: skip
    with pytest.raises(DiffRefused, match=r"150 of 1,000 entries are gone \(15 %"):
        refuse_diff(diff, findings)
    refuse_diff(diff, check_diff(diff, limits={"police": Limits(0.15)}, old=manifests[0], new=manifests[1]))


def test_the_manifest_knows_the_most_references_of_a_digest(tmp_path: Path) -> None:
    """Distinct ones, of one digest in one class, those that its label set has no room for included."""
    constant, usual, bare, *_ = (each.hex() for each in random_digests("md5", 3, "references"))
    sha1 = random_digests("sha1", 1, "references")[0].hex()
    rows = ["md5,sha1,category,reference"]
    rows += [f"{constant},,A1,r{i}" for i in range(250)] * 2
    rows += [f"{constant},,B,s{i}" for i in range(3)] + [f"{constant},,A1,", f"{constant},,C,"]
    rows += [f"{usual},,A1,r1", f"{usual},,D,r1", f"{bare},,E,"]
    rows += [f",{sha1},B,t{i}" for i in range(7)]
    (tmp_path / "list.csv").write_text("\n".join([*rows, ""]))
    store = Store(tmp_path / "store")
    item = ListInput("police", Tier.BASELINE, [str(tmp_path / "list.csv")])
    manifest = build(BuildRequest(store.path, [item], by="tests")).published.manifest
    most = {facts.category: facts.most_references for facts in manifest.classes}
    assert most == {"A1": 250, "B": 7, "C": 0, "D": 1, "E": 0}
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        labels = snapshot.labels(snapshot.tables["md5"].find(bytes.fromhex(constant)))
    assert sum(label.category == "A1" for label in labels) == MAX_REFERENCES_PER_CLASS


def test_a_manifest_without_the_new_figures_can_be_read() -> None:
    manifest = manifest_of("b", "police", references={A1: 3}, guarded={"police": 4})
    loaded = orjson.loads(manifest.encode())
    del loaded["lists"][0]["guarded"], loaded["lists"][0]["withdrawn"], loaded["classes"][0]["most_references"]
    loaded["files"] = {"entries.lmdb": {"bytes": 1, "sha256": "0" * 64}}
    back = parse_manifest(orjson.dumps(loaded), Path(MANIFEST))
    assert (back.lists[0].guarded, back.lists[0].withdrawn, back.classes[0].most_references) == (0, 0, 0)


@pytest.mark.parametrize("algorithm", [MD5, SHA1], ids=lambda a: a.name)
def test_the_guard_counts_by_list(algorithm, tmp_path: Path) -> None:
    """A digest once for each list, in however many of its classes it is; and withdrawn rows."""
    digests = sorted(random_digests(algorithm.name, 6, "guard"))
    with LabelTable(tmp_path) as labels:
        one, two, other = (labels.number(c, "x") for c in (A1, A1_ILLEGAL, B))
        back, stays = labels.add_references([one, other], ["back", "back"])
        labels.withdraw("police", ["back"])
        rows = [
            (0, KNOWN_GOOD), (0, one), (0, two), (0, other),  # both lists
            (1, KNOWN_GOOD), (1, one),
            (2, one), (2, other),  # not known good
            (3, back), (3, stays),  # taken back by one list, not by the other
            (4, KNOWN_GOOD), (4, back),  # taken back: no collision
            (5, KNOWN_GOOD),
        ]  # fmt: skip
        matrix = np.frombuffer(b"".join(digests[i] for i, _ in rows), np.uint8).reshape(len(rows), -1)
        numbered = numbered_rows(matrix, np.array([number for _, number in rows], np.uint32))
        guard = Guard(labels, tmp_path)
        guard.take_out(*sort_rows(numbered, algorithm, 0), algorithm)
        guard.close()
    assert guard.report.by_list == {"police": 2, "hotline": 1}
    assert guard.report.by_class == {A1: 2, A1_ILLEGAL: 1, B: 1}
    assert guard.report.withdrawn_by_list == {"police": 2}
    assert guard.report.withdrawn_rows == 2
