"""Everything that is live in a store, found the way serving finds it."""

from __future__ import annotations

from pathlib import Path

from snapshot.algorithms import ALGORITHMS
from snapshot.reader import Snapshot
from snapshot.store import Store
from tests.listfiles import random_digests

Labels = tuple[tuple[str, str, str, str | None], ...]
Contents = dict[tuple[str, bytes], Labels]


def contents(path: Path) -> Contents:
    """Give every live digest with its labels, after filter and store have confirmed each of them.

    Also asks for random digests that are not listed, which must not be found.
    """
    store = Store(path)
    current = store.current()
    found: Contents = {}
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        for name, table in snapshot.tables.items():
            records = list(table.records())
            digests = [digest for digest, _ in records]
            assert digests == sorted(set(digests)), f"{name}: not ascending, or not distinct"
            assert table.filter.probe(b"".join(digests)) == [*range(len(digests))], f"{name}: the filter denies entries"
            for digest, label_set_id in records:
                assert table.find(digest) == label_set_id, f"{name}: an entry is not found"
                found[name, digest] = tuple((*map(str, label[:3]), label[3]) for label in snapshot.labels(label_set_id))
            for digest in random_digests(name, 1000, "not listed"):
                assert table.find(digest) is None, f"{name}: a digest is found that is in no list"
    return found


def labelled(digests: dict[str, list[bytes]], *labels: tuple[str, str, str, str | None]) -> Contents:
    """Give the contents that `digests`, by algorithm, make when each has the same labels."""
    assert set(digests) <= set(ALGORITHMS)
    return {(name, digest): labels for name, of_one in digests.items() for digest in of_one}
