"""A redis-server of its own on loopback, in memory only, with the entries as raw bytes in one set.

with redis_server(work) as server:
    fill(server, entries)
    redis.Redis(port=server.port).smismember(KEY, digests)

redis-py parses replies by hiredis where that is installed, which it is for benchmarks.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import redis

from benchmarks.errors import CannotMeasure, must
from benchmarks.processes import Server, free_port, stop

#: The set that holds the entries.
KEY: Final = "entries"

_START_SECONDS: Final = 10.0
#: Entries in one SADD, and commands in one pipeline: 320 kB a time.
_ENTRIES_A_COMMAND: Final = 1_000
_COMMANDS_A_PIPELINE: Final = 10


@contextmanager
def redis_server(work: Path) -> Iterator[Server]:
    """Run redis-server until the block ends; it saves nothing. Raises CannotMeasure when it is missing or stays silent.

    Any other redis-server of this machine is left alone.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise CannotMeasure("redis-server is not installed; Debian's package is redis-server")
    port = free_port()
    with TemporaryDirectory(prefix="redis-", dir=work) as directory:
        log = Path(directory) / "redis.log"
        command = [
            program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--daemonize", "no", "--dir", directory,
        ]  # fmt: skip
        with log.open("wb") as file:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            _wait_ready(child, port, log)
            yield Server(child.pid, port)
        finally:
            stop(child)


def fill(server: Server, entries: Sequence[bytes]) -> None:
    """Put digests into the set KEY, pipelined. Cost: 1 to 2 µs an entry. Raises WrongAnswer when some are missing."""
    with closing(redis.Redis(port=server.port)) as client:
        step = _ENTRIES_A_COMMAND * _COMMANDS_A_PIPELINE
        for start in range(0, len(entries), step):
            pipeline = client.pipeline(transaction=False)
            for at in range(start, min(start + step, len(entries)), _ENTRIES_A_COMMAND):
                pipeline.sadd(KEY, *entries[at : min(at + _ENTRIES_A_COMMAND, start + step)])
            pipeline.execute()
        held = client.scard(KEY)
    must(held == len(entries), f"Redis holds {held} of {len(entries)} entries")


def used_memory_bytes(server: Server) -> int:
    """Give what Redis says it has allocated: `used_memory` of INFO."""
    with closing(redis.Redis(port=server.port)) as client:
        return int(client.info("memory")["used_memory"])


def _wait_ready(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        with closing(redis.Redis(port=port)) as client:
            try:
                # Another process that took the port in between would answer with a process_id of its own.
                if client.info("server")["process_id"] == child.pid:
                    return
            except redis.ConnectionError:
                time.sleep(0.02)
    raise CannotMeasure(f"redis-server did not become ready: {log.read_text(errors='replace')[-500:]}")
