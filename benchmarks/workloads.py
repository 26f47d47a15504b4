"""What is asked over HTTP: bodies made beforehand, and the reply that each of them must get.

Listed and malformed items stand at the same places in every body of a load, so that all its replies have the same
bytes. In a sample listed items stand anywhere among the misses, and each reply is read.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import orjson

from benchmarks.digests import cut, random_digests
from benchmarks.errors import must
from benchmarks.processes import Server
from benchmarks.raw_http import connect, exchange, post
from benchmarks.stores import CATEGORY, LIST_ID, TIER
from benchmarks.wrk import Load
from snapshot.algorithms import ALGORITHMS

_LABEL: Final = {"list_id": LIST_ID, "category": CATEGORY, "tier": TIER}
_SAMPLES: Final = 20
#: Bytes of different bodies in a load: several times what a processor's caches hold.
_POOL_BYTES: Final = 25_000_000


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request. `columns`: digests of each algorithm in it; `matches`, `invalid`: how many of all those.

    By file the columns stand beside each other: file i has digest i of each.
    """

    name: str
    form: Literal["json", "packed", "files"]
    columns: tuple[tuple[str, int], ...]
    matches: int = 0
    invalid: int = 0

    @property
    def digests(self) -> int:
        """Digests in one request, of all algorithms."""
        return sum(count for _, count in self.columns)

    @property
    def target(self) -> str:
        """What is asked of the service."""
        return f"/v1/match?algorithm={self.columns[0][0]}" if self.form == "packed" else "/v1/match"

    @property
    def content_type(self) -> str:
        """The Content-Type of the request."""
        return "application/octet-stream" if self.form == "packed" else "application/json"

    def places(self, count: int, first: int = 0) -> range:
        """Give `count` places of items in a request, evenly spread."""
        return range(first, self.digests, self.digests // count)[:count] if count else range(0)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a store holds: its snapshot's id, and packed entries by algorithm."""

    snapshot_id: str
    entries: Mapping[str, bytes]

    @property
    def count(self) -> int:
        """Entries of all algorithms."""
        return sum(len(packed) // _length(name) for name, packed in self.entries.items())

    def draw(self, draw: random.Random, algorithm: str) -> bytes:
        """Give one of the entries."""
        packed, length = self.entries[algorithm], _length(algorithm)
        at = draw.randrange(len(packed) // length) * length
        return packed[at : at + length]


@dataclass(frozen=True, slots=True)
class Request:
    """A body, and what its reply must say."""

    body: bytes
    reply: dict[str, object]


def requests(
    workload: Workload, listed: Listed, seed: int, stream: str, places: Sequence[Sequence[int]]
) -> Iterator[Request]:
    """Make one request for each of `places`: the places of the listed items among its items, ascending."""
    draw = random.Random(f"{seed} {stream}")
    misses = {
        name: cut(random_digests(seed, f"{stream} {name}", count * len(places), _length(name)), 1, _length(name))
        for name, count in workload.columns
    }
    spoilt = set(workload.places(workload.invalid, 1))
    for number, listed_places in enumerate(places):
        columns: list[_Column] = []
        first = 0
        for name, count in workload.columns:
            column = _Column(name, misses[name][number * count : (number + 1) * count])
            for place in range(first, first + count) if spoilt else ():
                if place in spoilt:
                    column.spoil(place - first)
            for place in listed_places:
                if first <= place < first + count:
                    column.list(place - first, listed.draw(draw, name))
            columns.append(column)
            first += count
        yield _request(workload, listed.snapshot_id, columns)


class _Column:
    """The digests of one algorithm in a request that is being made."""

    def __init__(self, name: str, digests: list[bytes]) -> None:
        self.name = name
        self.digests = digests
        self.texts = [digest.hex() for digest in digests]
        self.listed: list[int] = []
        self.invalid: list[tuple[int, str]] = []

    def list(self, index: int, digest: bytes) -> None:
        self.digests[index] = digest
        self.texts[index] = digest.hex()
        self.listed.append(index)

    def spoil(self, index: int) -> None:
        """Make an item malformed: now by its length, now by a letter."""
        text = self.texts[index][:-1]
        self.texts[index], why = (text, "wrong_length") if len(self.invalid) % 2 else (f"{text}g", "not_hex")
        self.invalid.append((index, why))


def _request(workload: Workload, snapshot_id: str, columns: list[_Column]) -> Request:
    reply: dict[str, object] = {"snapshot_id": snapshot_id, "overlay_version": 1}
    reply["checked"] = {column.name: len(column.texts) - len(column.invalid) for column in columns}
    reply["not_loaded"] = {}
    if workload.form == "files":
        texts = [dict(zip([column.name for column in columns], row, strict=True))
                 for row in zip(*(column.texts for column in columns), strict=True)]  # fmt: skip
        matches = _file_matches(columns)
        invalid = _invalid_files(columns, {match["index"] for match in matches})
        clear = len(texts) - len(matches) - len(invalid)
        reply["files"] = {"match": len(matches), "clear": clear, "invalid": len(invalid)}
        reply |= {"matches": matches, "invalid": invalid}
        return Request(orjson.dumps({"files": [{"ref": _ref(i), **file} for i, file in enumerate(texts)]}), reply)
    reply["matches"] = [
        {"algorithm": column.name, "index": index, "digest": column.texts[index], "action": "block", "labels": [_LABEL]}
        for column in columns
        for index in column.listed
    ]
    reply["invalid"] = [
        {"algorithm": column.name, "index": index, "reason": why} for column in columns for index, why in column.invalid
    ]
    if workload.form == "packed":
        return Request(b"".join(columns[0].digests), reply)
    return Request(orjson.dumps({column.name: column.texts for column in columns}), reply)


def _file_matches(columns: list[_Column]) -> list[dict[str, object]]:
    matched: dict[int, list[dict[str, object]]] = {}
    for column in columns:
        for index in column.listed:
            matched.setdefault(index, []).append(
                {"algorithm": column.name, "digest": column.texts[index], "labels": [_LABEL]}
            )
    return [
        {"index": index, "ref": _ref(index), "action": "block", "matched": matched[index]} for index in sorted(matched)
    ]


def _invalid_files(columns: list[_Column], matched: set[object]) -> list[dict[str, object]]:
    """Give the files without a match that have a malformed digest, with the reason of the first."""
    found: dict[int, dict[str, object]] = {}
    for column in columns:
        for index, why in column.invalid:
            if index not in matched:
                found.setdefault(index, {"index": index, "ref": _ref(index), "reason": why, "algorithm": column.name})
    return [found[index] for index in sorted(found)]


def _ref(index: int) -> str:
    return f"upload-{index}"


def _length(algorithm: str) -> int:
    return ALGORITHMS[algorithm].digest_bytes


def ask(server: Server, workload: Workload, wanted: Sequence[Request]) -> list[tuple[bytes, bytes]]:
    """Send requests one by one and require the right reply to each; give (head, body) of all."""
    with closing(connect(server.port)) as connection:
        replies = []
        for request in wanted:
            head, body = exchange(connection, post(server.port, workload.target, workload.content_type, request.body))
            must(orjson.loads(body) == request.reply, f"{workload.name}: a request was not answered right")
            replies.append((head, body))
        return replies


def check_sample(server: Server, workload: Workload, listed: Listed, seed: int) -> None:
    """Send misses with entries among them and require a match at each entry's index, and nowhere else."""
    draw = random.Random(seed)
    good = sorted(set(range(workload.digests)) - set(workload.places(workload.invalid, 1)))
    places = [sorted(draw.sample(good, min(len(good), number % 4))) for number in range(_SAMPLES)]
    ask(server, workload, list(requests(workload, listed, seed, f"sample {workload.name}", places)))


def make_load(server: Server, workload: Workload, listed: Listed, seed: int, bodies: Path) -> tuple[Load, bytes]:
    """Write a load's bodies to a file; give the load, and the body of the service's reply to the first of them."""
    places = list(workload.places(workload.matches))
    one = len(next(requests(workload, listed, seed, workload.name, [places])).body)
    count = max(20, min(20_000, _POOL_BYTES // one))
    made = list(requests(workload, listed, seed, workload.name, [places] * count))
    bodies.write_bytes(b"".join(request.body for request in made))
    replies = ask(server, workload, made[:_SAMPLES])
    head, body = replies[0]
    must(all(len(request.body) == one for request in made), f"{workload.name}: bodies differ in length")
    must(
        {(len(h), len(b)) for h, b in replies} == {(len(head), len(body))}, f"{workload.name}: replies differ in length"
    )
    return Load(workload.target, workload.content_type, bodies, one, len(head), len(head) + len(body)), body
