"""sleuthkit's hfind beside ours: indexing the same md5sum list, and looking digests up in the index.

hfind reads its questions from a file and writes an answer to each, a process at a time. Ours are looked up in the
process that asks, as a worker does.
"""

from __future__ import annotations

import binascii
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.digests import cut, random_digests
from benchmarks.errors import must
from benchmarks.figures import Figure, Spread, beside
from benchmarks.peers.hfind import index_seconds, lookup_ns, require_hfind
from benchmarks.run import Run
from benchmarks.stores import compile_store, open_view
from service.match import listed
from service.view import View
from snapshot.algorithms import ALGORITHMS
from snapshot.hexdigest import ParsedDigests

PART: Final = "hfind"
BATCH: Final = 1_000
_MD5_BYTES: Final = ALGORITHMS["md5"].digest_bytes


def measure(run: Run) -> Iterator[Figure]:
    """Measure both on one list, in turns. Raises CannotMeasure when hfind is not installed."""
    require_hfind()
    sizes, lines = run.sizes, run.sizes.hfind_lines
    source, store = run.work / "md5sums", run.work / "hfind"
    entries = random_digests(sizes.seed, "hfind", lines, _MD5_BYTES)
    write_md5sums(source, entries)
    asked = max(BATCH, sizes.digests_a_round // 2 // BATCH * BATCH)
    compiling, indexing = [], []
    misses: tuple[list[float], list[float]] = ([], [])
    hits: tuple[list[float], list[float]] = ([], [])
    for number in range(sizes.compile_rounds):
        shutil.rmtree(store, ignore_errors=True)
        compiling.append(compile_store(store, [source]).finished.seconds)
        indexing.append(index_seconds(source))
        strangers = cut(random_digests(sizes.seed, f"hfind-misses-{number}", asked, _MD5_BYTES), 1, _MD5_BYTES)
        members = cut(entries[: asked * _MD5_BYTES], 1, _MD5_BYTES)
        with open_view(store) as view:
            for digests, held, (ours, theirs) in ((strangers, 0, misses), (members, len(members), hits)):
                ours.append(ours_ns(view, digests, held))
                theirs.append(lookup_ns(source, digests, run.work / "asked", held))
    what = f"compile {lines:,} lines of md5sum"
    baselines = (beside("hfind", compiling, indexing),)
    yield Figure(PART, "compile md5sum", what, "s", Spread.of(compiling), {"lines": lines}, baselines)
    for key, (ours, theirs) in (("miss", misses), ("hit", hits)):
        what = f"{key} of md5, {BATCH:,} a batch, {lines:,} entries"
        at = {"batch": BATCH, "entries": lines}
        yield Figure(PART, f"{key} md5", what, "ns", Spread.of(ours), at, (beside("hfind", ours, theirs),))


def write_md5sums(path: Path, packed: bytes) -> None:
    """Write a list as md5sum does: a hexdigest, two blanks, a name; here the name is the hexdigest again."""
    lines = binascii.hexlify(packed, b"\n", -_MD5_BYTES).split(b"\n")
    path.write_bytes(b"".join(b"%b  %b\n" % (line, line) for line in lines))


def ours_ns(view: View, digests: Sequence[bytes], held: int) -> float:
    """Give ns per digest of looking md5 digests up in batches, packed beforehand; just `held` must be matches."""
    table = view.tables["md5"]
    parts = [digests[at : at + BATCH] for at in range(0, len(digests), BATCH)]
    columns = [ParsedDigests(b"".join(part), len(part), None, []) for part in parts]
    began = time.perf_counter_ns()
    found = [list(listed(view, table, column)) for column in columns]
    elapsed = time.perf_counter_ns() - began
    matches = sum(map(len, found))
    must(matches == held, f"{matches} of {len(digests)} digests are matches, {held} are listed")
    return elapsed / len(digests)
