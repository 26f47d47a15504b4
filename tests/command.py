"""The command as a user runs it: a process of its own, with its exit code and what it printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Finished:
    """What came of a command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Give standard output as the one JSON value it must be."""
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    """Give this process's environment without settings of hashwacht and of terminals, and with `changes`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HASHWACHT_", "PYTEST_"))}
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):  # rich would obey them
        clean.pop(name, None)
    clean.pop("PYTHONDONTWRITEBYTECODE", None)  # without byte code each of many processes takes twice as long
    return {**clean, "COLUMNS": "200", "PYTHONWARNINGS": "always", **changes}


def command_line(*arguments: str | Path) -> list[str]:
    """Give the words that start the command with this interpreter."""
    return [sys.executable, "-m", "hashwacht", *map(str, arguments)]


def hashwacht(*arguments: str | Path, stdin: bytes = b"", code: int = 0, **changes: str) -> Finished:
    """Run the command to its end and require its exit code.

    Whatever happens, it shows no traceback and no warning of Python: those are for developers.
    """
    done = subprocess.run(
        command_line(*arguments),
        input=stdin,
        capture_output=True,
        env=environment(**changes),
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    finished = Finished(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    assert finished.code == code, f"exit {finished.code}, expected {code}: {arguments}\n{finished.out}{finished.err}"
    for sign in ("Traceback", "Warning:", "Exception ignored"):
        assert sign not in finished.err, finished.err
    return finished


def compile_lists(store: Path, *files: str | Path, list_id: str = "list", tier: str = "illegal", **options: Any) -> Any:
    """Compile with --json and give what it printed; `options` as for `hashwacht`, with `extra` arguments before."""
    extra = options.pop("extra", ())
    words = ("compile", "--json", "--store", store, "--list-id", list_id, "--tier", tier, *extra, *files)
    return hashwacht(*words, **options).json()


@contextmanager
def waiting_compile(store: Path, begun: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A compile at work: it holds the lock, has read `begun` from its standard input and waits for the rest."""
    line = command_line("compile", "--store", store, "--list-id", "list", "--tier", "illegal", "-")
    process = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=ROOT
    )
    try:
        assert process.stdin is not None
        process.stdin.write(begun)
        process.stdin.flush()
        limit = time.monotonic() + 30
        while not any((store / "tmp").glob("*/references")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()
