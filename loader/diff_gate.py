"""The gate's rules on what a new snapshot changes: too large a change is a supplier's accident until somebody says not.

    check_diff(diff, limits=…, old=…, new=…)    → findings, those that stop a publish first
    refuse_diff(diff, findings)                 raises DiffRefused when one of them stops
    lines_of(diff), as_json(diff)               the whole difference, for people and for programs

| finding            | stops | what it says                                                                   |
|--------------------|-------|--------------------------------------------------------------------------------|
| `list_shrank`      | yes   | more of a list's entries are gone than `max_shrink` allows                     |
| `list_grew`        | yes   | a list has more entries on top than `max_growth` allows                        |
| `class_vanished`   | yes   | a category is gone, or has another tier, which nobody has approved yet         |
| `class_moved`      | yes   | more of a class's digests have other classes of its list than `max_shrink` allows |
| `guard_collisions` | yes   | a list names more known-good digests than before                               |
| `constant_value`   | yes   | one digest stands under more than 100 references: a placeholder, not a file    |
| `seal_changed`     | yes   | another seal key, or the first: nobody can tell what else changed              |
| `list_dropped`     | no    | the operator left a list out; loader/gate.py has asked for it by name          |
| `class_appeared`   | no    | a new class, off until it is approved                                          |
| `class_unmapped`   | no    | a category without a tier, with its digests; off                               |
| `reclassed`        | no    | digests that have other classes than before                                    |

What shrinks is counted by entry: a list of which every digest was exchanged has lost all of them, though it is as long
as before. A class of which one digest is left has not vanished, but what left it for others of the list is judged like
what left the list. Nothing stops the first publish of a store, which has nothing to be compared with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

from loader.diff import Change, Classes, SnapshotDiff
from loader.errors import LoaderError
from loader.guard import Collision
from loader.inputs import DEFAULT_LIMITS, Limits
from snapshot.labels import ACTING_TIERS, MAX_REFERENCES_PER_CLASS, LabelClass, Tier
from snapshot.manifest import Manifest

#: Changes of a list by so many entries never stop, whatever share of it they are.
ALWAYS_ALLOWED: Final = 100
#: Re-classed counts that are named, the largest; the others are only summed up.
NAMED_RECLASSED: Final = 20
#: Known-good digests that are named.
NAMED_COLLISIONS: Final = 10

_REMEDY: Final = (
    "Ask the suppliers, or look into their deliveries. If all of this is meant, compile again with "
    "`--accept-diff REASON --by NAME`."
)

FindingKind = Literal[
    "list_shrank", "list_grew", "class_vanished", "class_moved", "guard_collisions", "constant_value", "seal_changed",
    "list_dropped", "class_appeared", "class_unmapped", "reclassed",
]  # fmt: skip


class DiffRefused(LoaderError):
    """The new snapshot changes more than is allowed without a word."""

    reason: ClassVar[str] = "diff_refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is worth a word. `list_id` is None where it is about several lists."""

    kind: FindingKind
    list_id: str | None
    text: str
    stops: bool = False


def check_diff(
    diff: SnapshotDiff, *, limits: Mapping[str, Limits], old: Manifest | None, new: Manifest
) -> list[Finding]:
    """Judge a difference; the findings that stop a publish come first.

    `old` is the manifest of what is live, None exactly when the diff was made against nothing; `limits` are by list,
    and a list without has the usual ones. Raises ValueError when diff and manifests are not of the same snapshots.
    """
    ids = (None if old is None else old.snapshot_id, new.snapshot_id)
    if ids != (diff.old_snapshot_id, diff.new_snapshot_id):
        raise ValueError("the difference is not that of these manifests")
    found = [
        *_lists(diff, limits, old, new),
        *_vanished(diff, new),
        *_moved(diff, limits),
        *_collisions(old, new),
        *_constants(old, new),
        *_new_classes(diff),
        *_reclassed(diff),
    ]
    if old is None:
        found = [replace(finding, stops=False) for finding in found]
    return sorted(found, key=lambda finding: not finding.stops)


def seal_changed(old: Manifest, new: Manifest) -> Finding:
    """Say what can be said of two snapshots that are sealed differently."""
    text = f"the seal is another one, so digests cannot be compared: {old.entries:,} before, {new.entries:,} now"
    return Finding("seal_changed", None, text, stops=True)


def refuse_diff(diff: SnapshotDiff | None, findings: Sequence[Finding], collisions: Sequence[Collision] = ()) -> None:
    """Raise DiffRefused when a finding stops; the message is the whole report.

    Of `collisions` the first of the lists that stop for them are named, without their digests: it goes into logs.
    """
    stopping = [finding for finding in findings if finding.stops]
    if not stopping:
        return
    count = len(stopping)
    changes = "1 change" if count == 1 else f"{count} changes"
    noted = [finding for finding in findings if not finding.stops and finding.kind != "reclassed"]  # see lines_of
    lines = [
        f"{changes} of what is live that nobody has accepted; nothing is published",
        *(f"stops: {finding.text}" for finding in stopping),
        *_named_collisions({each.list_id for each in stopping if each.kind == "guard_collisions"}, collisions),
        *(f"noted: {finding.text}" for finding in noted),
        *(lines_of(diff) if diff is not None else ()),
        _REMEDY,
    ]
    raise DiffRefused("\n  ".join(lines))


def _named_collisions(lists: AbstractSet[str | None], collisions: Sequence[Collision]) -> Iterator[str]:
    """Yield what is known good, by list, category and reference: what a supplier needs to find it."""
    found = [
        f"known good: {' / '.join(map(_shown, filter(None, label)))}, {each.algorithm}"
        for each in collisions
        if not each.with_it
        for label in each.labels
        if label.list_id in lists
    ]
    yield from found[:NAMED_COLLISIONS]
    if found[NAMED_COLLISIONS:]:
        yield "known good: … and others; `compile --check --json` has more, with their digests"


def _lists(diff: SnapshotDiff, limits: Mapping[str, Limits], old: Manifest | None, new: Manifest) -> Iterator[Finding]:
    had = frozenset() if old is None else old.list_ids
    for list_id in sorted(had - new.list_ids):
        gone = diff.lists.get(list_id, Change()).before
        yield Finding("list_dropped", list_id, f"{_shown(list_id)}: the list was left out, with its {gone:,} entries")
    for list_id, change in diff.lists.items():
        if list_id not in had or list_id not in new.list_ids:
            continue
        limit = limits.get(list_id, DEFAULT_LIMITS)
        before, removed, more = change.before, change.removed, change.after - change.before
        if removed > ALWAYS_ALLOWED and removed > limit.max_shrink * before:
            what = f"{removed:,} of {before:,} entries are gone ({_percent(removed / before)}"
            text = f"{_shown(list_id)}: {what}, max_shrink is {_percent(limit.max_shrink)})"
            yield Finding("list_shrank", list_id, text, stops=True)
        if more > ALWAYS_ALLOWED and more > limit.max_growth * before:
            share = f"{_percent(more / before)}, " if before else ""
            what = f"{before:,} entries became {change.after:,} ({share}max_growth is {_percent(limit.max_growth)})"
            yield Finding("list_grew", list_id, f"{_shown(list_id)}: {what}", stops=True)


def _vanished(diff: SnapshotDiff, new: Manifest) -> Iterator[Finding]:
    tiers: dict[tuple[str, str], list[Tier]] = {}
    for label_class in diff.classes:
        if diff.of_class(label_class).after:
            tiers.setdefault(label_class[:2], []).append(label_class.tier)
    for label_class in diff.vanished:
        if label_class.list_id not in new.list_ids:
            continue  # with its list, which was dropped by name
        now = tiers.get(label_class[:2], [])
        text = f"{_name(label_class)}: the class is gone, with its {diff.of_class(label_class).before:,} digests"
        if now:
            text += f"; the category has another tier now ({', '.join(now)}), which is off until it is approved"
        # A tier that never leads to anything takes nothing along when the category gets another one.
        yield Finding("class_vanished", label_class.list_id, text, stops=label_class.tier in ACTING_TIERS or not now)


def _moved(diff: SnapshotDiff, limits: Mapping[str, Limits]) -> Iterator[Finding]:
    """Classes whose digests are still in the list, but not in the class: a vanished one is told as such."""
    moved: Counter[LabelClass] = Counter()
    for (before, after), count in diff.reclassed.items():
        stay_in = {label_class.list_id for label_class in after}
        moved.update({each: count for each in before if each not in after and each.list_id in stay_in})
    for label_class, count in sorted(moved.items()):
        change = diff.of_class(label_class)
        limit = limits.get(label_class.list_id, DEFAULT_LIMITS).max_shrink
        if change.after and count > ALWAYS_ALLOWED and count > limit * change.before:
            text = (
                f"{_name(label_class)}: {count:,} of its {change.before:,} digests have other classes of the list now "
                f"({_percent(count / change.before)}, max_shrink is {_percent(limit)})"
            )
            yield Finding("class_moved", label_class.list_id, text, stops=True)


def _collisions(old: Manifest | None, new: Manifest) -> Iterator[Finding]:
    before = {} if old is None else {facts.list_id: facts.guarded for facts in old.lists}
    for facts in new.lists:
        had = before.get(facts.list_id, 0)
        if facts.guarded > had:
            text = (
                f"{_shown(facts.list_id)}: {facts.guarded:,} of its digests are known good, {had:,} were before; they "
                "are left out, and the supplier should hear of it"
            )
            yield Finding("guard_collisions", facts.list_id, text, stops=True)


def _constants(old: Manifest | None, new: Manifest) -> Iterator[Finding]:
    """One that is live already was accepted then: it is told again, and does not stop every compile from now on."""
    before: dict[tuple[str, str], int] = {}
    for facts in () if old is None else old.classes:
        key = facts.list_id, facts.category
        before[key] = max(facts.most_references, before.get(key, 0))
    for facts in new.classes:
        if facts.most_references > MAX_REFERENCES_PER_CLASS:
            label_class = LabelClass(facts.list_id, facts.category, facts.tier)
            text = (
                f"{_name(label_class)}: one digest stands under {facts.most_references:,} references: most likely a "
                "constant that the supplier's export writes where it has none, which matches what it should not"
            )
            is_new = before.get((facts.list_id, facts.category), 0) <= MAX_REFERENCES_PER_CLASS
            yield Finding("constant_value", facts.list_id, text, stops=is_new)


def _new_classes(diff: SnapshotDiff) -> Iterator[Finding]:
    appeared = set(diff.appeared)
    for label_class in diff.classes:
        after = diff.of_class(label_class).after
        if not after:
            continue
        if label_class.tier is Tier.UNKNOWN:
            text = f"{_name(label_class)}: nobody has given the category a tier; its {after:,} digests are off"
            yield Finding("class_unmapped", label_class.list_id, text)
        elif label_class in appeared:
            text = f"{_name(label_class)}: a new class of {after:,} digests, off until it is approved"
            yield Finding("class_appeared", label_class.list_id, text)


def _reclassed(diff: SnapshotDiff) -> Iterator[Finding]:
    for line, (before, after) in _reclassed_lines(diff):
        lists = {label_class.list_id for label_class in (*before, *after)}
        yield Finding("reclassed", lists.pop() if len(lists) == 1 else None, line)


def lines_of(diff: SnapshotDiff) -> list[str]:
    """Give the difference as lines: one for each list, one for each class, then what was re-classed."""
    lines = [
        f"list {_shown(list_id)}: {_signed(change)}, {change.before:,} entries before, {change.after:,} now"
        for list_id, change in diff.lists.items()
    ]
    for label_class, changes in diff.classes.items():
        change = diff.of_class(label_class)
        each = ", ".join(f"{name} {_signed(of_one)}" for name, of_one in changes.items())
        state = "" if change.before and change.after else "; appeared" if change.after else "; vanished"
        lines.append(f"class {_name(label_class)}: {_signed(change)} ({each}){state}")
    return lines + [f"re-classed {line}" for line, _ in _reclassed_lines(diff)]


def _reclassed_lines(diff: SnapshotDiff) -> Iterator[tuple[str, tuple[Classes, Classes]]]:
    """Yield the largest re-classed counts as text, each with its classes, and a sum of the others."""
    ordered = sorted(diff.reclassed.items(), key=lambda item: (-item[1], item[0]))
    for (before, after), count in ordered[:NAMED_RECLASSED]:
        yield f"{_names(before)} → {_names(after)}: {count:,} digests", (before, after)
    if others := ordered[NAMED_RECLASSED:]:
        count = sum(count for _, count in others)
        yield f"in {len(others):,} further ways: {count:,} digests", ((), ())


def as_json(diff: SnapshotDiff) -> dict[str, object]:
    """Give the whole difference as what orjson takes; changes as added, removed and kept digests."""
    return {
        "old_snapshot_id": diff.old_snapshot_id,
        "new_snapshot_id": diff.new_snapshot_id,
        "lists": {
            list_id: {"before": change.before, "after": change.after, **_counts(change)}
            for list_id, change in diff.lists.items()
        },
        "classes": [
            {
                **label_class._asdict(),
                **_counts(diff.of_class(label_class)),
                "algorithms": {name: _counts(change) for name, change in changes.items()},
            }
            for label_class, changes in diff.classes.items()
        ],
        "appeared": [label_class._asdict() for label_class in diff.appeared],
        "vanished": [label_class._asdict() for label_class in diff.vanished],
        "reclassed": [
            {"from": [each._asdict() for each in before], "to": [each._asdict() for each in after], "digests": count}
            for (before, after), count in diff.reclassed.items()
        ],
    }


def _counts(change: Change) -> dict[str, int]:
    return {"added": change.added, "removed": change.removed, "kept": change.kept}


def _signed(change: Change) -> str:
    return f"+{change.added:,} −{change.removed:,}"


def _name(label_class: LabelClass) -> str:
    return "/".join(_shown(part) for part in label_class)


def _names(classes: Iterable[LabelClass]) -> str:
    return " + ".join(map(_name, classes))


def _shown(text: str) -> str:
    """Give a supplier's word as it may stand on a terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
