"""Any sequence of compiles, rollbacks and kills: generations grow, the chain is whole, what is retained is there."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from loader.build import BuildRequest, ListInput, build
from snapshot.errors import SnapshotMissing
from snapshot.labels import Tier
from snapshot.publish import RETAINED, Publisher
from snapshot.reader import Snapshot
from snapshot.store import Store
from snapshot.verify import verify_store

CONTENTS = 6


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

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    def compile(self, content: int) -> str:
        """Compile one of the contents, from a file that is never twice the same: so is the manifest."""
        self.compiles += 1
        file = self.directory / "list.txt"
        file.write_text(f"{self.digests[content].hex()}\n" * self.compiles)
        result = build(BuildRequest(self.store.path, [ListInput("a", Tier.OTHER, [str(file)])], by="x"))
        return result.published.manifest.snapshot_id

    def went_live(self, snapshot_id: str) -> None:
        before = self.highest
        self.highest = self.store.current().generation
        assert self.highest > before
        self.live.insert(0, snapshot_id)
        self.present.add(snapshot_id)
        order = [name for name in dict.fromkeys(self.live) if name in self.present]
        self.retained = order[:RETAINED]

    @rule(content=st.integers(0, CONTENTS - 1))
    def compile_a_list(self, content: int) -> None:
        self.ids[content] = self.compile(content)
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

    @rule(content=st.integers(0, CONTENTS - 1), stage=st.sampled_from(["read", "rename", "history", "swap", "removal"]))
    def be_killed(self, content: int, stage: str) -> None:
        """Die during a compile: nothing is cleaned up, and only the last of the stages comes after the swap."""
        replace = Publisher._replace

        def killed_after_history(publisher: Publisher, path: Path, raw: bytes) -> None:
            if path == self.store.current_file:
                raise Killed
            replace(publisher, path, raw)

        target, replacement = {
            "read": ("loader.build.write_snapshot", kill),
            "rename": ("snapshot.publish.Publisher.publish", kill),
            "history": ("snapshot.publish.Publisher._swap", kill),
            "swap": ("snapshot.publish.Publisher._replace", killed_after_history),
            "removal": ("snapshot.publish.Publisher._prune", kill),
        }[stage]
        # A process that is killed takes nothing back.
        with patch(target, replacement), patch("snapshot.publish.Publisher._take_back", lambda *_: None):
            try:
                self.compile(content)
            except Killed:
                pass
            else:
                raise AssertionError(f"nothing of {stage} was called")
        (self.store.tmp / "4711-0badcafe").mkdir(parents=True)
        # The id follows from the content, so a snapshot that lies there now can be told by what it was before.
        lying = {path.name for path in self.store.snapshots.iterdir()}
        new = lying - self.present
        assert len(new) <= (stage in {"history", "swap", "removal"})
        if stage == "removal":
            self.went_live(self.store.current().snapshot_id)
        elif stage == "swap":
            self.highest = max(self.store.generations())
        self.present = lying

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
            max_examples=25, stateful_step_count=20, suppress_health_check=[HealthCheck.too_slow], deadline=None
        ),
    )
