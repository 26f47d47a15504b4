"""What a compile shows while it works: lines where there is no terminal, a bar on one; and what Ctrl-C does."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snapshot.store import Store
from snapshot.verify import verify_store
from tests import listfiles
from tests.command import ROOT, command_line, compile_lists, environment, hashwacht, waiting_compile

DIGESTS = listfiles.random_digests("sha256", 2000, "progress")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_compile_publishes_nothing(tmp_path: Path, sign: signal.Signals) -> None:
    store = tmp_path / "store"
    compile_lists(store, listfiles.write(tmp_path / "l", listfiles.hex_lines(DIGESTS[:5])))
    before = (store / "CURRENT").read_bytes()
    with waiting_compile(store, listfiles.hex_lines(DIGESTS)) as process:
        os.kill(process.pid, sign)
        out, err = process.communicate(timeout=30)
    if sign == signal.SIGINT:
        assert process.returncode == 130
        assert err.decode() == "interrupted; `hashwacht show` tells what is live\n"
        assert not (store / "tmp").exists(), "its own leftovers are gone"
    else:
        assert process.returncode == -signal.SIGTERM
    assert not out
    assert (store / "CURRENT").read_bytes() == before
    assert verify_store(Store(store)).whole
    compile_lists(store, tmp_path / "l")
    assert verify_store(Store(store)).leftovers == []


def test_plain_lines_without_a_terminal(tmp_path: Path) -> None:
    """A line now and then, on standard error; the interval is shortened from outside, since a test cannot wait."""
    path = listfiles.write(tmp_path / "l", listfiles.hex_lines(listfiles.random_digests("sha256", 150_000, "lines")))
    program = "import loader.progress, hashwacht; loader.progress.PLAIN_LINE_SECONDS = 0; hashwacht.main()"
    words = ["compile", "--json", "--store", str(tmp_path / "s"), "--list-id", "l", "--tier", "other", str(path)]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    stages = ["reading", "writing sha256", "checksums"]
    lines = done.stderr.splitlines()
    assert [
        line for line in lines if not re.fullmatch(r"[a-z0-9 ]+: [\d,]+( of [\d,]+)? MiB, [\d,]+ MiB/s", line)
    ] == []
    assert list(dict.fromkeys(line.split(":")[0] for line in lines)) == stages
    assert any(line.startswith("reading: 9 of 9 MiB, ") for line in lines)
    assert "\x1b" not in done.stderr


def test_a_short_compile_says_nothing_on_the_way(tmp_path: Path) -> None:
    path = listfiles.write(tmp_path / "l", listfiles.hex_lines(DIGESTS))
    said = hashwacht("compile", "--store", tmp_path / "s", "--list-id", "l", "--tier", "other", path)
    assert said.err == ""


def test_a_bar_with_rate_on_a_terminal_and_nothing_of_it_in_the_output(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    line = command_line("compile", "--json", "--store", tmp_path / "s", "--list-id", "l", "--tier", "other", "-")
    process = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, env=environment(TERM="xterm"), cwd=ROOT
    )
    os.close(theirs)
    try:
        assert process.stdin is not None
        process.stdin.write(listfiles.hex_lines(DIGESTS))
        process.stdin.flush()
        shown = read_terminal(ours, until=b"/s")
        out, _ = process.communicate(timeout=30)
        shown += read_terminal(ours, until=None)
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
    assert process.returncode == 0
    assert re.search(rb"reading .*KiB.*/s", shown, re.DOTALL)
    assert out.startswith(b"{\n")
    assert b"\x1b" not in out


def read_terminal(fd: int, until: bytes | None) -> bytes:
    """Read what a terminal shows until a text comes, or all that is left."""
    shown = b""
    limit = time.monotonic() + 30
    while until is None or until not in shown:
        assert time.monotonic() < limit, shown
        ready, _, _ = select.select([fd], [], [], 0.2)
        if not ready:
            if until is None:
                return shown
            continue
        try:
            shown += os.read(fd, 65536)
        except OSError:  # the other end is closed
            return shown
    return shown
