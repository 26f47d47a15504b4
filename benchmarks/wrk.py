"""Closed loops by wrk: many connections, each with one request under way at a time.

wrk takes whole seconds only, so it is given a long time and interrupted, at which it stops and reports as ever. It
does not look into replies. That they were right shows in three ways: replies to a sample are read before and after
(benchmarks/workloads.py), none had an error's status, and all together they had exactly the bytes that they must have.
"""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.errors import CannotMeasure, must
from benchmarks.processes import Server, environment

_SCRIPT = Path(__file__).with_name("wrk.lua")
_LONG_SECONDS = 600
#: The script's word on standard error once it has read the bodies.
_READY = b"ready\n"
#: wrk looks ten times a second whether it was interrupted, and a reply may be under way.
_STOP_SECONDS = 10
#: wrk reads this much at once: a longer reply may be half read when it stops.
_READ_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: to which target, from a file of bodies of `body_bytes` each; and the bytes of every reply."""

    target: str
    content_type: str
    bodies: Path
    body_bytes: int
    head_bytes: int
    reply_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many requests were answered in how long; processor time of wrk and of the server meanwhile."""

    requests: int
    seconds: float
    wrk_cpu_seconds: float
    server_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def server_us(self) -> float:
        """Processor time of the server for a request, in µs. The kernel counts in steps of 10 ms."""
        return 1e6 * max(self.server_cpu_seconds, 0.01) / self.requests


def closed_loop(server: Server, load: Load, connections: int, seconds: float) -> Outcome:
    """Put a load on a server for so long. Raises WrongAnswer when a reply was wrong, CannotMeasure without wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise CannotMeasure("wrk is not installed: apt-get install wrk")
    command = [
        wrk, "--threads", "1", "--connections", str(connections), "--duration", f"{_LONG_SECONDS}s",
        "--script", str(_SCRIPT), f"http://127.0.0.1:{server.port}{load.target}", "--",
        str(load.bodies), str(load.body_bytes), load.content_type,
    ]  # fmt: skip
    server_cpu, wrk_cpu = server.cpu_seconds(), _children_cpu_seconds()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as child:
        try:
            report = _interrupted_after(child, seconds)
        finally:
            child.kill()
    server_cpu, wrk_cpu = server.cpu_seconds() - server_cpu, _children_cpu_seconds() - wrk_cpu
    _check(report, load, connections)
    return Outcome(report["requests"], report["microseconds"] / 1e6, wrk_cpu, server_cpu)


def _interrupted_after(child: subprocess.Popen[bytes], seconds: float) -> dict[str, int]:
    """Let wrk run for so long once it has read the bodies; give its report. Raises CannotMeasure."""
    assert child.stderr is not None
    complaint = child.stderr.readline()
    if complaint == _READY:
        complaint = b""
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)  # it ends by itself only when something is wrong
        child.send_signal(signal.SIGINT)
    try:
        stdout, stderr = child.communicate(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise CannotMeasure("wrk does not stop: it may have been interrupted before it was ready for that") from None
    lines = stdout.splitlines()
    if child.returncode or not lines or not lines[-1].startswith(b"{"):
        said = (complaint + stderr + stdout).decode(errors="replace")
        raise CannotMeasure(f"wrk ended with {child.returncode}: {said[-500:]}")
    report: dict[str, int] = orjson.loads(lines[-1])
    return report


def _check(report: dict[str, int], load: Load, connections: int) -> None:
    troubles = {name: report[name] for name in ("not_connected", "cut_off", "refused", "late") if report[name]}
    must(not troubles, f"load on {load.target}: {troubles} of {report['requests']} requests")
    must(report["requests"] > 0, f"load on {load.target}: not one reply")
    under_way = report["bytes"] - report["requests"] * load.reply_bytes
    if load.reply_bytes > _READ_BYTES:
        right = 0 <= under_way < connections * load.reply_bytes
    else:  # what was under way at the end are heads whose bodies had not come
        right = under_way % load.head_bytes == 0 and 0 <= under_way // load.head_bytes <= connections
    must(
        right,
        f"load on {load.target}: {report['bytes']:,} bytes for {report['requests']:,} replies of {load.reply_bytes:,}",
    )


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
