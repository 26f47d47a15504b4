"""sleuthkit's hfind: a sorted text index beside an md5sum list, binary search, a process for each batch of lookups."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.errors import CannotMeasure, must
from benchmarks.processes import run

_NOT_FOUND = b"Hash Not Found"


def require_hfind() -> None:
    """Raise CannotMeasure when hfind is not installed."""
    if shutil.which("hfind") is None:
        raise CannotMeasure("hfind is not installed; Debian's package is sleuthkit")


def index_seconds(listed: Path) -> float:
    """Index a list of md5sum's lines (`digest  name`), which is all but NSRL's that it takes; give the wall time.

    The index lies beside the list, as `<name>-md5.idx`, `.idx2`; an old one is removed first.
    """
    for old in listed.parent.glob(f"{listed.name}-md5.idx*"):
        old.unlink()
    seconds = run(["hfind", "-i", "md5sum", str(listed)]).seconds
    must((listed.parent / f"{listed.name}-md5.idx").stat().st_size > listed.stat().st_size // 2, "hfind wrote no index")
    return seconds


def lookup_ns(listed: Path, digests: Sequence[bytes], asked: Path, held: int = 0) -> float:
    """Give ns per digest of one call for all of `digests`, of which just `held` are listed.

    `asked` is where to write the questions. Starting the process counts: with 100,000 digests it is 5 % of the time.
    """
    asked.write_bytes(b"".join(digest.hex().encode() + b"\n" for digest in digests))
    finished = run(["hfind", "-f", str(asked), str(listed)])
    answers = finished.stdout.splitlines()
    must(len(answers) == len(digests), f"hfind gave {len(answers)} answers to {len(digests)} digests")
    found = sum(not answer.endswith(_NOT_FOUND) for answer in answers)
    must(found == held, f"hfind found {found} digests, {held} are listed")
    return finished.seconds * 1e9 / len(digests)
