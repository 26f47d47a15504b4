"""Makes stores by the real command, and opens them as a worker does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.digests import write_packed_list
from benchmarks.errors import must
from benchmarks.processes import Finished, hashwacht, run
from service.view import View
from service.watch import open_ready
from snapshot.algorithms import ALGORITHMS
from snapshot.manifest import Manifest, read_manifest
from snapshot.store import Store

LIST_ID = "benchmark"
CATEGORY = "random"
TIER = "illegal"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A store that `hashwacht compile` made, how that went, and what it said."""

    store: Path
    finished: Finished
    said: dict[str, object]


def compile_store(store: Path, lists: Sequence[Path | str]) -> Compiled:
    """Compile hash lists into a new store with the real command."""
    command = hashwacht(
        "compile", "--store", store, "--list-id", LIST_ID, "--tier", TIER, "--category", CATEGORY, "--json", *lists
    )
    finished = run(command)
    return Compiled(store, finished, orjson.loads(finished.stdout))


def compile_packed(store: Path, entries: Mapping[str, bytes]) -> Compiled:
    """Compile packed digests, by algorithm, into a store, new or not; their lists are written beside it and removed."""
    lists = {name: store.with_name(f"{store.name}-{name}.txt") for name in entries}
    for name, packed in entries.items():
        write_packed_list(lists[name], packed, ALGORITHMS[name].digest_bytes)
    try:
        compiled = compile_store(store, list(lists.values()))
    finally:
        for path in lists.values():
            path.unlink()
    count = sum(len(packed) // ALGORITHMS[name].digest_bytes for name, packed in entries.items())
    must(compiled.said["entries"] == count, f"the store has {compiled.said['entries']} entries, not {count}")
    return compiled


def live_manifest(store: Path) -> Manifest:
    """Read the manifest of the live snapshot."""
    opened = Store(store)
    return read_manifest(opened.live_dir(opened.current()))[0]


@contextmanager
def open_view(store: Path) -> Iterator[View]:
    """Open the live snapshot as a worker of the service does: filters read in, canary looked up."""
    opened = Store(store)
    current = opened.current()
    snapshot = open_ready(opened.live_dir(current), current.manifest_sha256)
    try:
        yield View(current, snapshot, opened.overlay(current.overlay_version, current.overlay_sha256))
    finally:
        snapshot.close()


def check_lookups(store: Path, algorithm: str, members: Sequence[bytes], others: Sequence[bytes]) -> None:
    """Require that all of `members` are found with the right label, and none of `others`."""
    with open_view(store) as view:
        table = view.tables[algorithm]
        must(table.filter.probe(b"".join(members)) == list(range(len(members))), "the filter denies an entry")
        for digest in members:
            label_set_id = table.find(digest)
            if label_set_id is None:
                must(False, "an entry of the list is not found")
                return
            labels = [(label.list_id, label.category, label.tier.value) for label in view.snapshot.labels(label_set_id)]
            must(labels == [(LIST_ID, CATEGORY, TIER)], "an entry has the wrong label")
        must(all(table.find(digest) is None for digest in others), "a digest that is on no list is found")
