"""`hashwacht compile` and `LC_ALL=C sort -u FILE -o OUT` of the same list in turns; and this machine's own lists.

Both read the file from the page cache, written just before, and write their output to the same disk. The compile
is the real command with its start-up, into a new store each time; it also syncs what it wrote, which sort does not.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from benchmarks.digests import cut, random_digests, write_hex_list
from benchmarks.errors import must
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.processes import run
from benchmarks.sizes import Sizes
from benchmarks.stores import Compiled, check_lookups, compile_store, live_manifest

PART = "compile"
_SAMPLE = 1_000
DPKG_LISTS = Path("/var/lib/dpkg/info")
_HASHSUM_LINE = re.compile(rb"^([0-9a-f]{32})  ", re.MULTILINE)


def measure(sizes: Sizes, work: Path) -> list[Figure]:
    """Measure the long list beside sort, and the lists of Debian packages where there are any."""
    figures = _beside_sort(sizes, work)
    lists = sorted(DPKG_LISTS.glob("*.md5sums"))
    return [*figures, *(_dpkg(sizes, work, lists) if lists else [])]


def _beside_sort(sizes: Sizes, work: Path) -> list[Figure]:
    source, sorted_file, store = work / "list.txt", work / "sorted.txt", work / "compiled"
    first = write_hex_list(source, sizes.seed, "compile", sizes.compile_lines)
    members = cut(first[: _SAMPLE * 32], 1)
    others = cut(random_digests(sizes.seed, "compile-misses", _SAMPLE), 1)
    sort = ["sort", "-u", str(source), "-o", str(sorted_file), "-T", str(work)]
    ours, theirs, peaks = [], [], []
    for _ in range(sizes.compile_rounds):
        compiled = compile_store(store, [source])
        _check_counts(compiled, sizes.compile_lines)
        check_lookups(store, "sha256", members, others)
        size = live_manifest(store).total_bytes / sizes.compile_lines
        shutil.rmtree(store)
        ours.append(compiled.finished.seconds)
        peaks.append(compiled.finished.peak_bytes)
        theirs.append(run(sort, {"LC_ALL": "C"}).seconds)
        must(sorted_file.stat().st_size == source.stat().st_size, "sort -u lost or kept lines that it should not")
        sorted_file.unlink()
    source.unlink()
    what = f"{sizes.compile_lines:,} sha256 lines"
    goal = Goal(1.0, at_most=True, of_ratio=True)
    return [
        Figure(
            PART, what, "s", Spread.of(ours), (beside("sort -u", ours, theirs),), goal,
            note=f"{sizes.compile_lines / Spread.of(ours).median:,.0f} lines/s; peak memory {_mib(peaks)}",
        ),
        Figure(PART, f"bytes an entry, {what}", "bytes", Spread.of([size]), goal=Goal(40, at_most=True)),
    ]  # fmt: skip


def _dpkg(sizes: Sizes, work: Path, lists: list[Path]) -> list[Figure]:
    digests = list(
        {bytes.fromhex(line.decode()) for path in lists for line in _HASHSUM_LINE.findall(path.read_bytes())}
    )
    others = cut(random_digests(sizes.seed, "dpkg-misses", _SAMPLE, 16), 1, 16)
    seconds, peaks = [], []
    for number in range(sizes.compile_rounds):
        store = work / f"dpkg-{number}"
        compiled = compile_store(store, lists)
        must(compiled.said["entries"] == len(digests), f"{compiled.said['entries']} entries of {len(digests)}")
        check_lookups(store, "md5", digests, others)
        shutil.rmtree(store)
        seconds.append(compiled.finished.seconds)
        peaks.append(compiled.finished.peak_bytes)
    what = f"dpkg: {len(lists):,} lists, {len(digests):,} md5"
    return [
        Figure(
            PART, what, "s", Spread.of(seconds), goal=Goal(6, at_most=True),
            note=f"every entry found; peak memory {_mib(peaks)}",
        )
    ]  # fmt: skip


def _check_counts(compiled: Compiled, lines: int) -> None:
    expected = {"lines": lines, "digests": lines, "entries": lines, "merged": 0, "refused": 0}
    said = {name: compiled.said[name] for name in expected}
    must(said == expected, f"the compile says {said} of {lines:,} distinct lines")


def _mib(peaks: list[int | None]) -> str:
    known = [peak for peak in peaks if peak is not None]
    return f"{max(known) / (1 << 20):,.0f} MiB" if known else "unknown"
