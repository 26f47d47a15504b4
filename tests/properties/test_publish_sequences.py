"""Any sequence of compiles, rollbacks, changes of the overlay and kills: generations grow, the chain is whole, what is
retained is there, and the overlay in force is the one that was last changed, whatever snapshot is under it.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from loader import corrections
from loader.build import BuildRequest, ListInput, build
from loader.corrections import By
from loader.errors import ClassUnknown, NothingToChange
from snapshot.algorithms import SHA256
from snapshot.durable import replace_file
from snapshot.errors import SnapshotMissing
from snapshot.labels import LabelClass, Tier
from snapshot.publish import RETAINED, Publisher
from snapshot.reader import Snapshot
from snapshot.store import Store
from snapshot.verify import verify_store

CONTENTS = 6
BY = By("x", "a test")
CLASS = LabelClass("a", "default", Tier.ILLEGAL)


class Killed(BaseException):
    """The end of the process, as far as the store can tell."""


def kill(*_: object, **__: object) -> None:
    raise Killed


class Publishing(RuleBasedStateMachine):
    """Holds a store against a list of what was live, newest first, and a set of what lies there."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="hashwacht-publishing-"))
        self.store = Store(self.directory / "store")
        self.rng = random.Random(20_210_514)
        self.digests = [self.rng.randbytes(32) for _ in range(CONTENTS)]
        self.ids: dict[int, str] = {}
        self.compiles = 0
        self.live: list[str] = []
        self.present: set[str] = set()
        self.retained: list[str] = []
        self.highest = 0
        #: What is in force on top of the snapshot, and the versions that were, newest first.
        self.approved = False
        #: Somebody revoked the class by name: no compile approves it until somebody approves it by name.
        self.switched_off = False
        self.suppressed: set[int] = set()
        self.added: set[int] = set()
        self.overlays = [0]
        self.overlay_files: set[int] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    def compile(self, content: int, *, approving: bool = False) -> str:
        """Compile one of the contents, from a file that is never twice the same: so is the manifest."""
        self.compiles += 1
        file = self.directory / "list.txt"
        file.write_text(f"{self.digests[content].hex()}\n" * self.compiles)
        item = ListInput("a", Tier.ILLEGAL, [str(file)])
        result = build(BuildRequest(self.store.path, [item], by="x", approve_lists=["a"] if approving else []))
        assert result.published is not None
        return result.published.manifest.snapshot_id

    def overlay_changed(
        self, *, approved: bool | None = None, suppressed: set[int] | None = None, added: set[int] | None = None
    ) -> None:
        """Take note of what is in force now; a change has a version that never was before, void ones included."""
        before = self.approved, self.suppressed, self.added
        self.approved = self.approved if approved is None else approved
        self.suppressed = self.suppressed if suppressed is None else suppressed
        self.added = self.added if added is None else added
        if before != (self.approved, self.suppressed, self.added):
            version = self.store.current().overlay_version
            assert version > self.overlays[0]
            assert version not in self.overlay_files
            self.overlays.insert(0, version)

    def went_live(self, snapshot_id: str) -> None:
        before = self.highest
        self.highest = self.store.current().generation
        assert self.highest > before
        self.live.insert(0, snapshot_id)
        self.present.add(snapshot_id)
        order = [name for name in dict.fromkeys(self.live) if name in self.present]
        self.retained = order[:RETAINED]

    @rule(content=st.integers(0, CONTENTS - 1), approving=st.booleans())
    def compile_a_list(self, content: int, approving: bool) -> None:
        self.ids[content] = self.compile(content, approving=approving)
        self.overlay_changed(approved=self.approved or (approving and not self.switched_off))
        self.went_live(self.ids[content])
        self.present = set(self.retained)

    @precondition(lambda self: len(set(self.live)) > 1)
    @rule()
    def go_back_one(self) -> None:
        expected = next(name for name in self.live if name != self.live[0])
        with Publisher(self.store) as publisher:
            if expected not in self.present:
                try:
                    publisher.rollback(None, by="x")
                except SnapshotMissing:
                    return
                raise AssertionError("went back to a snapshot that is not there")
            assert publisher.rollback(None, by="x").current.snapshot_id == expected
        self.went_live(expected)
        self.present = set(self.retained)

    @precondition(lambda self: self.retained)
    @rule(data=st.data())
    def go_back_to(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(self.retained))
        with Publisher(self.store) as publisher:
            publisher.rollback(target[:12], by="x")
        self.went_live(target)
        self.present = set(self.retained)

    @rule(
        content=st.integers(0, CONTENTS - 1),
        approving=st.booleans(),
        stage=st.sampled_from(["read", "rename", "swap", "history", "current", "removal"]),
    )
    def be_killed(self, content: int, approving: bool, stage: str) -> None:
        """Die during a compile: nothing is cleaned up, and only the last of the stages comes after the swap."""
        target, replacement = {
            "read": ("loader.build.write_snapshot", kill),
            "rename": ("snapshot.publish.Publisher.publish", kill),
            "swap": ("snapshot.publish.swapping", kill),
            "history": ("snapshot.swap.replace_file", self.killed_before(self.store.history_dir)),
            "current": ("snapshot.swap.replace_file", self.killed_before(self.store.current_file)),
            "removal": ("snapshot.publish.Publisher._prune", kill),
        }[stage]
        # A process that is killed takes nothing back.
        with patch(target, replacement), patch("snapshot.publish.Publisher._take_back", lambda *_: None):
            try:
                self.compile(content, approving=approving)
            except Killed:
                pass
            else:
                raise AssertionError(f"nothing of {stage} was called")
        (self.store.tmp / "4711-0badcafe").mkdir(parents=True)
        # The id follows from the content, so a snapshot that lies there now can be told by what it was before.
        lying = {path.name for path in self.store.snapshots.iterdir()}
        new = lying - self.present
        assert len(new) <= (stage in {"swap", "history", "current", "removal"})
        if stage == "removal":
            self.overlay_changed(approved=self.approved or (approving and not self.switched_off))
            self.went_live(self.store.current().snapshot_id)
        elif stage == "current":
            self.highest = max(self.store.generations())
        self.present = lying

    def killed_before(self, place: Path) -> Callable[[Path, bytes], None]:
        """Give a replace_file that dies where CURRENT, or a file of this directory, is to be written."""

        def replace(path: Path, content: bytes) -> None:
            if place in (path, path.parent):
                raise Killed
            replace_file(path, content)

        return replace

    @precondition(lambda self: self.live)
    @rule()
    def approve(self) -> None:
        if self.approved:
            with pytest.raises(NothingToChange):
                corrections.approve(self.store, "a", None, BY)
            return
        corrections.approve(self.store, "a", None, BY)
        self.switched_off = False
        self.overlay_changed(approved=True)
        self.went_live(self.live[0])

    @precondition(lambda self: self.live)
    @rule()
    def revoke(self) -> None:
        if not self.approved:
            with pytest.raises(NothingToChange):
                corrections.revoke(self.store, "a", None, BY)
            return
        corrections.revoke(self.store, "a", None, BY)
        self.switched_off = True
        self.overlay_changed(approved=False)
        self.went_live(self.live[0])

    @precondition(lambda self: self.live)
    @rule(content=st.integers(0, CONTENTS - 1))
    def suppress(self, content: int) -> None:
        if content in self.suppressed:
            corrections.unsuppress(self.store, [(SHA256, self.digests[content])], BY)
        else:
            corrections.suppress(self.store, [(SHA256, self.digests[content])], BY)
        self.overlay_changed(suppressed=self.suppressed ^ {content})
        self.went_live(self.live[0])

    @precondition(lambda self: self.live)
    @rule(content=st.integers(0, CONTENTS - 1))
    def add(self, content: int) -> None:
        digests = [(SHA256, self.digests[content])]
        if content in self.added:
            corrections.remove(self.store, digests, BY)
        elif not self.approved:
            with pytest.raises(ClassUnknown):
                corrections.add(self.store, digests, "a", "default", BY)
            return
        elif content in self.suppressed:
            with pytest.raises(NothingToChange):
                corrections.add(self.store, digests, "a", "default", BY)
            return
        else:
            corrections.add(self.store, digests, "a", "default", BY)
        self.overlay_changed(added=self.added ^ {content})
        self.went_live(self.live[0])

    @precondition(lambda self: self.live)
    @rule(content=st.integers(0, CONTENTS - 1), at=st.sampled_from(["overlays_dir", "history_dir", "current_file"]))
    def be_killed_while_suppressing(self, content: int, at: str) -> None:
        """Nothing of it is in force, and no number is used again."""
        if content in self.suppressed:
            return
        with patch("snapshot.swap.replace_file", self.killed_before(getattr(self.store, at))), pytest.raises(Killed):
            corrections.suppress(self.store, [(SHA256, self.digests[content])], BY)
        if at == "current_file":
            self.highest = max(self.store.generations())
        assert (max(self.store.overlay_versions(), default=0) > self.overlays[0]) or at == "overlays_dir"

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def be_killed_while_old_ones_are_removed(self, data: st.DataObject) -> None:
        """Half of a snapshot that is not retained is gone."""
        leftovers = sorted(self.present - set(self.retained))
        if leftovers:
            directory = self.store.snapshot_dir(data.draw(st.sampled_from(leftovers)))
            for path in sorted(directory.iterdir())[:1]:
                path.unlink()

    @invariant()
    def the_store_is_whole(self) -> None:
        if not self.live:
            assert not self.store.current_file.exists()
            return
        report = verify_store(self.store)
        assert report.damage == []
        assert report.verified == sorted(self.retained)
        assert report.snapshot_id == self.live[0]
        assert {path.name for path in self.store.snapshots.iterdir()} == self.present

    @invariant()
    def the_chain_is_what_was_live(self) -> None:
        if self.live:
            history = self.store.history()
            assert [entry.snapshot_id for entry in history] == self.live
            generations = [entry.generation for entry in history]
            assert generations == sorted(set(generations), reverse=True)
            assert history[0].retained == self.retained
            assert self.store.current().generation == generations[0]
            versions = [entry.overlay_version for entry in history]
            assert list(dict.fromkeys(versions)) == [v for v in self.overlays if v or versions[-1] == 0]

    @invariant()
    def the_overlay_is_what_was_asked_for(self) -> None:
        if not self.live:
            assert self.overlays == [0]
            return
        current = self.store.current()
        assert current.overlay_version == self.overlays[0]
        overlay = self.store.overlay(current.overlay_version, current.overlay_sha256)
        assert overlay.approved == ({CLASS} if self.approved else set())
        for found, wanted in ((overlay.suppressions, self.suppressed), (overlay.additions, self.added)):
            assert sorted(each.raw() for each in found) == sorted(self.digests[content] for content in wanted)
        assert {addition.label.label_class for addition in overlay.additions} <= {CLASS}
        by_version = {entry.overlay_version: entry.overlay_sha256 for entry in self.store.history()}
        if overlay.version:
            assert overlay.previous_sha256 == by_version.get(self.overlays[1])
        self.overlay_files = set(self.store.overlay_versions())
        assert set(self.overlays) - {0} <= self.overlay_files

    @invariant()
    def the_live_content_is_found(self) -> None:
        if not self.live:
            return
        current = self.store.current()
        with Snapshot.open(self.store.live_dir(current), current.manifest_sha256) as snapshot:
            found = [digest for digest in self.digests if snapshot.tables["sha256"].find(digest) is not None]
        assert len(found) == 1
        content = self.digests.index(found[0])
        assert self.ids.setdefault(content, current.snapshot_id) == current.snapshot_id


def test_any_sequence_leaves_the_store_whole() -> None:
    run_state_machine_as_test(
        Publishing,
        settings=settings(
            max_examples=40, stateful_step_count=20, suppress_health_check=[HealthCheck.too_slow], deadline=None
        ),
    )
