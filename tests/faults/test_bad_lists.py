"""Lists that misbehave while they are read: written to meanwhile, or with a line of 100 MB; and Ctrl-C at any step."""

from __future__ import annotations

import gzip
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from snapshot.store import Store
from snapshot.verify import verify_store
from tests import listfiles
from tests.contents import contents
from tests.faults.conftest import compiling
from tests.faults.doomed import Call, Doomed, Step

LONG_BYTES = 100_000_000


@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    "at", [Call("loader.build:choose_reader"), Call("loader.build:normalise"), Call("loader.build:parse", "during")]
)
def test_a_list_that_is_written_to_while_it_is_read(
    doomed: Doomed, fresh: Callable[[], Path], tmp_path: Path, at: Call, compression: str
) -> None:
    path = fresh()
    before = (path / "CURRENT").read_bytes()
    digests = listfiles.random_digests("sha1", 500, "growing")
    growing = listfiles.write(tmp_path / f"growing.txt{compression}", listfiles.hex_lines(digests))
    done = doomed.run(compiling(path, growing), at=at, fate=f"sh:echo >> {shlex.quote(str(growing))}")
    assert done.code == 3
    changed = f"error [list_changed]: {growing}: changed while it was read"
    # What was added comes to light as damage when it is read, and stands behind the last frame.
    damaged = f"error [list_damaged]: {growing}: does not decompress" if compression else changed
    assert done.err.startswith((changed, damaged)), done.err
    assert (path / "CURRENT").read_bytes() == before
    report = verify_store(Store(path))
    assert (report.damage, report.leftovers) == ([], [])


def long_line(path: Path, before: bytes, after: bytes) -> Path:
    """Write a list with a line of 100 MB between others; as gzip, so that it takes no room."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(before)
        for _ in range(LONG_BYTES // 1_000_000):
            file.write(b"a" * 1_000_000)
        file.write(b"\n" + after)
    return path


@pytest.mark.parametrize("form", ["hex", "gnu", "csv", "a quoted cell of csv", "hashdeep"])
def test_a_line_of_100_mb_is_refused_without_being_held(doomed: Doomed, tmp_path: Path, form: str) -> None:
    """The lines around it are found, and memory is that of a compile without it, give or take two chunks of lines."""
    digests = listfiles.random_digests("sha256", 2000, form)
    begin, end = digests[:1000], digests[1000:]
    row = {
        "hex": listfiles.hex_lines,
        "gnu": listfiles.gnu_lines,
        "csv": lambda some: b"".join(b"%s,x\n" % digest.hex().encode() for digest in some),
        "a quoted cell of csv": lambda some: b"".join(b"%s,x\n" % digest.hex().encode() for digest in some),
        "hashdeep": lambda some: b"".join(b"1,%s,name\n" % digest.hex().encode() for digest in some),
    }[form]
    header = {
        "csv": b"sha256,name\n",
        "a quoted cell of csv": b"sha256,name\n",
        "hashdeep": b"%%%% HASHDEEP-1.0\n%%%% size,sha256,filename\n",
    }.get(form, b"")
    opening = b"%064d" % 0 + b',"' if form == "a quoted cell of csv" else b""
    long = long_line(tmp_path / "long.gz", header + row(begin) + opening, row(end))
    plain = listfiles.write(tmp_path / "plain", header + row(digests))
    usual = doomed.run(compiling(tmp_path / "usual", plain))
    done = doomed.run([*compiling(tmp_path / "store", long), "--max-bad-share", "0.01"])
    assert (usual.code, done.code) == (0, 0), done.err
    assert done.err == f"refused: {long}:{header.count(10) + 1001}: line: is longer than 65,536 bytes\n"
    assert {digest for _, digest in contents(tmp_path / "store")} == set(digests)
    assert done.peak_bytes < usual.peak_bytes + 40_000_000, (done.peak_bytes, usual.peak_bytes)


def test_interrupted_at_each_step(doomed: Doomed, fresh: Callable[[], Path], lists: list[Path]) -> None:
    """Ctrl-C, unlike a kill, runs the cleaning up: what is live is old or new, and nothing is left over."""
    path = fresh()
    words = compiling(path, lists[3])
    steps = doomed.run(words, count_steps=True).steps
    swap = 1 + next(i for i, step in enumerate(steps) if step.startswith("os.rename") and "/store/CURRENT " in step)
    wrong = []
    for number, step in enumerate(steps, start=1):
        fresh()
        before = Store(path).current()
        done = doomed.run(words, at=Step(number), fate="interrupt")
        after = Store(path).current()
        report = verify_store(Store(path))
        fine = (
            done.code == 130
            and done.err == "interrupted; `hashwacht show` tells what is live\n"
            and not done.out
            and after.generation == before.generation + (number > swap)
            and not report.damage
        )
        # Interrupted while it cleans up, it leaves something, which is no damage.
        if not fine or (report.leftovers and number <= swap):
            wrong.append(f"{number}: {step}: {done} {report}")
    assert not wrong, "\n".join(wrong)
