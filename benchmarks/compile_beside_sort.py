"""`hashwacht compile` and `LC_ALL=C sort -u` of the same list in turns, at every size; and this machine's own lists.

Both read the file from the page cache, written just before, and write their output to the same disk; both may use two
processors, and sort 2 GiB of memory. The compile is the real command with its start-up, into a new store each time;
it also syncs what it wrote, which sort does not.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.digests import cut, random_digests, write_hex_list
from benchmarks.errors import CannotMeasure, must
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.processes import Finished, run
from benchmarks.run import Run
from benchmarks.sizes import Sizes
from benchmarks.stores import Compiled, check_lookups, compile_store
from loader.guard import trivial_digests
from snapshot.algorithms import MD5

PART: Final = "compile"
DPKG_LISTS: Final = Path("/var/lib/dpkg/info")
_SAMPLE: Final = 1_000
_MIB: Final = 1 << 20
_SORT: Final = ("sort", "-u", "--parallel=2", "-S", "2G")
#: Of sort's time, at the size that the goal is stated for.
_GOAL: Final = Goal(0.5, at_most=True, ratio_to="sort -u")
_AIM: Final = 0.35
_DPKG_GOAL_SECONDS: Final = 6
_HASHSUM_LINE: Final = re.compile(rb"^([0-9a-f]{32})  ", re.MULTILINE)


@dataclass(slots=True)
class Costs:
    """What several runs of a command took: seconds, and peak memory in MiB, None where it was not seen."""

    seconds: list[float] = field(default_factory=list)
    peak_mib: list[float | None] = field(default_factory=list)

    def add(self, finished: Finished) -> None:
        """Take a run in."""
        self.seconds.append(finished.seconds)
        self.peak_mib.append(None if finished.peak_bytes is None else finished.peak_bytes / _MIB)

    def seen_mib(self) -> list[float]:
        """Give the peaks that were seen. Raises CannotMeasure when none was."""
        seen = [peak for peak in self.peak_mib if peak is not None]
        if not seen:
            raise CannotMeasure("the memory of a process cannot be seen here; that needs Linux's /proc")
        return seen


def measure(run: Run) -> Iterator[Figure]:
    """Measure lists of random digests beside sort, and the lists of Debian packages where there are any."""
    sizes = run.sizes
    for lines in sorted({*sizes.growth, sizes.compile_lines}):
        yield from _beside_sort(sizes, run.work, lines)
    lists = sorted(DPKG_LISTS.glob("*.md5sums"))
    if lists:
        yield from _dpkg(sizes, run.work, lists)


def _beside_sort(sizes: Sizes, work: Path, lines: int) -> Iterator[Figure]:
    source, sorted_file, store = work / "list.txt", work / "sorted.txt", work / "compiled"
    first = write_hex_list(source, sizes.seed, f"compile-{lines}", lines)
    members = cut(first[: _SAMPLE * 32], 1)
    others = cut(random_digests(sizes.seed, "compile-misses", _SAMPLE), 1)
    sort = [*_SORT, str(source), "-o", str(sorted_file), "-T", str(work)]
    ours, theirs = Costs(), Costs()
    for _ in range(sizes.compile_rounds):
        compiled = compile_store(store, [source])
        check_counts(compiled, lines)
        check_lookups(store, "sha256", members, others)
        shutil.rmtree(store)
        ours.add(compiled.finished)
        theirs.add(run(sort, {"LC_ALL": "C"}))
        must(sorted_file.stat().st_size == source.stat().st_size, "sort -u lost or kept lines that it should not")
        sorted_file.unlink()
    source.unlink()
    at, what = {"lines": lines}, f"compile {lines:,} sha256 lines"
    goals: tuple[Goal, ...] = ()
    note = ""
    if lines == sizes.compile_lines:
        goals = (_GOAL,)
        note = f"{lines / Spread.of(ours.seconds).median:,.0f} lines/s; sort has two processors; the aim is {_AIM} ×"
    baselines = (beside("sort -u", ours.seconds, theirs.seconds),)
    yield Figure(PART, "compile", what, "s", Spread.of(ours.seconds), at, baselines, goals, note)
    yield from peak_beside_sort(f"{what}, peak memory", lines, ours, theirs)


def peak_beside_sort(what: str, lines: int, ours: Costs, theirs: Costs) -> Iterator[Figure]:
    """Give the figure of peak memory, of the rounds in which both were seen: a short sort ends before a look at it."""
    seen = [(our, their) for our, their in zip(ours.peak_mib, theirs.peak_mib, strict=True) if our and their]
    if seen:
        own, others = ([pair[side] for pair in seen] for side in (0, 1))
        baselines = (beside("sort -u", own, others),)
        note = "resident memory of all its processes, summed"
        yield Figure(PART, "compile peak", what, "MiB", Spread.of(own), {"lines": lines}, baselines, note=note)


def _dpkg(sizes: Sizes, work: Path, lists: Sequence[Path]) -> Iterator[Figure]:
    listed = {bytes.fromhex(line.decode()) for path in lists for line in _HASHSUM_LINE.findall(path.read_bytes())}
    # Packages have empty files and single line ends, which are known good and never compiled in.
    digests = sorted(listed - {digest for algorithm, digest in trivial_digests() if algorithm is MD5})
    others = cut(random_digests(sizes.seed, "dpkg-misses", _SAMPLE, 16), 1, 16)
    costs = Costs()
    for number in range(sizes.compile_rounds):
        store = work / f"dpkg-{number}"
        compiled = compile_store(store, lists)
        must(compiled.said["entries"] == len(digests), f"{compiled.said['entries']} entries of {len(digests)}")
        check_lookups(store, "md5", digests, others)
        shutil.rmtree(store)
        costs.add(compiled.finished)
    yield Figure(
        PART, "compile dpkg", "compile the md5 lists of this machine's packages", "s", Spread.of(costs.seconds),
        goals=(Goal(_DPKG_GOAL_SECONDS, at_most=True),),
        note=f"{len(lists):,} lists, {len(digests):,} digests, every one found; {max(costs.seen_mib()):,.0f} MiB",
    )  # fmt: skip


def check_counts(compiled: Compiled, lines: int) -> None:
    """Require that a compile says it read so many distinct lines, and all of them well. Raises WrongAnswer."""
    expected = {"lines": lines, "digests": lines, "entries": lines, "merged": 0, "refused": 0}
    said = {name: compiled.said[name] for name in expected}
    must(said == expected, f"the compile says {said} of {lines:,} distinct lines")
