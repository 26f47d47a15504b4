"""A compiled snapshot asked both ways: by the functions that serving calls, and by the plain matcher.

Replies are compared byte for byte. When two differ, the request is made smaller as long as they do, and what is left
is shown.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loader.build import BuildRequest, ListInput, build
from service.forms import Files, read_json, read_packed
from service.match import match_columns, match_files
from service.problems import Problem
from service.view import View
from snapshot.algorithms import ALGORITHMS
from snapshot.labels import Tier
from snapshot.reader import Snapshot
from snapshot.seal import NO_SEAL_KEYS, Seal, SealKeys, resealed
from snapshot.store import Store
from tests.properties import hostile
from tests.properties.plain import LIMIT, SIZES, Label, PlainMatcher, Refused

LIST_SEED = 20_210_514
LISTED_COUNTS = {"md5": 40_000, "sha1": 30_000, "sha256": 60_000, "photodna": 1_000}


@dataclass(frozen=True)
class Served:
    """A compiled snapshot as serving sees it, and the plain matcher that knows the same lists."""

    view: View
    plain: PlainMatcher
    listed: dict[str, dict[bytes, set[Label]]] = field(repr=False)

    def stored(self, name: str, digests: Iterable[bytes]) -> list[bytes]:
        """Give digests as the snapshot has them."""
        return [resealed((ALGORITHMS[name], digest), None, self.view.seal)[1] for digest in digests]

    def members(self, name: str) -> list[bytes]:
        return list(self.listed.get(name) or hostile.clusters(random.Random(0), SIZES[name], 10))


def write_lists(directory: Path, *, references: bool) -> tuple[list[ListInput], dict[str, dict[bytes, set[Label]]]]:
    """Write a list of each tier, each overlapping with the next, and give them with what they say."""
    rng = random.Random(LIST_SEED)
    listed: dict[str, dict[bytes, set[Label]]] = {name: {} for name in LISTED_COUNTS}
    pool = []
    for name, count in LISTED_COUNTS.items():
        made = [*hostile.clusters(rng, SIZES[name], 4 if name == "photodna" else 20)]
        if name in {"md5", "photodna"}:  # beyond the last block of the others there is something to ask for
            made += hostile.ends(SIZES[name])
        made += [rng.randbytes(SIZES[name]) for _ in range(count - len(made))]
        pool += [(name, digest) for digest in made]
    rng.shuffle(pool)
    lists = []
    share = len(pool) // 5
    for number, tier in enumerate(Tier):
        rows = pool[number * share : (number + 1) * share + share // 10 if number < 4 else None]
        path = directory / f"{number}.csv"
        with path.open("w") as file:
            file.write(f"{','.join(LISTED_COUNTS)},category,reference\n")
            for name, digest in rows:
                category = rng.choice(["A", "B 1", "größer"])
                reference = f"case {rng.randrange(300)}" if references and rng.random() < 0.05 else None
                cells = [hostile.cased(rng, digest.hex()) if of == name else "" for of in LISTED_COUNTS]
                file.write(f"{','.join(cells)},{category},{reference or ''}\n")
                listed[name].setdefault(digest, set()).add((f"list-{number}", category, tier.value, reference))
        lists.append(ListInput(f"list-{number}", tier, [str(path)]))
    return lists, listed


def serve(directory: Path, *, references: bool, false_positive_rate: float, sealed: bool) -> Iterator[Served]:
    """Compile the lists as operators do, and open what has come of them as serving does."""
    lists, listed = write_lists(directory, references=references)
    store = Store(directory / "store")
    approved = [item.list_id for item in lists]
    seal = Seal(secrets.token_bytes(32)) if sealed else None
    request = BuildRequest(
        store.path, lists, by="tests", false_positive_rate=false_positive_rate, approve_lists=approved,
        seal_keys=NO_SEAL_KEYS if seal is None else SealKeys({seal.key_id: seal}),
    )  # fmt: skip
    build(request)
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        assert {name: table.entries for name, table in snapshot.tables.items()} == {
            name: len(digests) for name, digests in listed.items()
        }
        assert snapshot.manifest.label_set_id_bytes == (4 if references else 2)
        overlay = store.overlay(current.overlay_version, current.overlay_sha256)
        yield Served(View(current, snapshot, overlay, seal), PlainMatcher(snapshot.snapshot_id, listed), listed)


@dataclass(frozen=True)
class Form:
    """A way to ask: items → body → the fast answer and the plain one."""

    spell: Callable[[Sequence[bytes]], bytes]
    packed: str | None = None

    def fast(self, served: Served, body: bytes) -> bytes:
        try:
            if self.packed:
                return match_columns(served.view, read_packed(body, ALGORITHMS[self.packed], LIMIT))
            request = read_json(body, LIMIT)
            if isinstance(request, Files):
                return match_files(served.view, request)
            return match_columns(served.view, request)
        except Problem as problem:
            return problem.reason.encode()

    def plain(self, served: Served, body: bytes) -> bytes:
        try:
            return served.plain.packed(body, self.packed) if self.packed else served.plain.json(body)
        except Refused as refused:
            return str(refused).encode()


def packed(name: str) -> Form:
    return Form(b"".join, name)


def column(name: str, separator: str = ",", space: str = "") -> Form:
    """A request of one column; its items are JSON."""
    head, tail = f'{space}{{{space}"{name}"{space}:{space}[{space}', f"{space}]{space}}}{space}"
    return Form(lambda items: head.encode() + separator.encode().join(items) + tail.encode())


FILES = Form(lambda items: b'{"files":[%s]}' % b",".join(items))
WHOLE = Form(b"".join)  # the items are a body


def check(served: Served, form: Form, items: Sequence[bytes], kind: str) -> int:
    """Ask both, fail with the smallest request that they answer differently, and give the number of items."""

    def differ(some: Sequence[bytes]) -> bool:
        body = form.spell(some)
        return form.fast(served, body) != form.plain(served, body)

    if not differ(items):
        return len(items)
    least = smallest(items, differ)
    body = form.spell(least)
    fast, plain = form.fast(served, body), form.plain(served, body)
    at = next((i for i, (a, b) in enumerate(zip(fast, plain, strict=False)) if a != b), min(len(fast), len(plain)))
    near = slice(max(at - 60, 0), at + 120)
    pytest.fail(
        f"{kind}: {len(least)} of {len(items)} items are enough, a body of {len(body)} bytes\n"
        f"items: {[item[:400] for item in least[:3]]}\n"
        f"fast:  …{fast[near]!r}…\nplain: …{plain[near]!r}…",
        pytrace=False,
    )


def smallest(items: Sequence[bytes], differ: Callable[[Sequence[bytes]], bool]) -> Sequence[bytes]:
    """Leave out what is not needed for a difference: halves, quarters and so on to single items, for 10 seconds."""
    deadline = time.monotonic() + 10
    size = len(items) // 2
    while size:
        at = 0
        while at < len(items) and time.monotonic() < deadline:
            rest = [*items[:at], *items[at + size :]]
            if differ(rest):
                items = rest
            else:
                at += size
        size //= 2
    return items
