"""Real processes for real figures: commands timed with their peak memory, and servers on loopback."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.errors import CannotMeasure

#: The checkout: `python -m hashwacht` and `benchmarks.bare_app` are found from here.
ROOT = Path(__file__).resolve().parent.parent

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_PEAK_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended well: wall time, peak resident memory (None where /proc is missing), standard output."""

    seconds: float
    peak_bytes: int | None
    stdout: bytes


def hashwacht(*arguments: str | Path) -> list[str]:
    """Give the command line of a hashwacht subcommand, by this interpreter."""
    return [sys.executable, "-m", "hashwacht", *map(str, arguments)]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give our environment without HASHWACHT_ variables, which would change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HASHWACHT_")}
    return {**kept, **(extra or {})}


def run(command: Sequence[str], extra_environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end and time it. Raises CannotMeasure when it fails."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(extra_environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        peak = _PeakMemory(child.pid)
        peak.start()
        try:
            stdout, stderr = child.communicate()
        except BaseException:
            child.kill()
            raise
        finally:
            seconds = time.perf_counter() - began
            peak.stop()
    if child.returncode:
        raise CannotMeasure(
            f"{' '.join(command[:5])} … ended with {child.returncode}: {stderr.decode(errors='replace')[-500:]}"
        )
    return Finished(seconds, peak.bytes or None, stdout)


class _PeakMemory(threading.Thread):
    """Reads VmHWM while a child runs. rusage would not do: a child inherits its parent's peak across exec."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._status = Path(f"/proc/{pid}/status")
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(_PEAK_POLL_SECONDS):
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            for line in lines:
                if line.startswith("VmHWM:"):
                    self.bytes = int(line.split()[1]) << 10

    def stop(self) -> None:
        self._done.set()
        self.join()


@dataclass(frozen=True, slots=True)
class Server:
    """A server process that answers on 127.0.0.1."""

    pid: int
    port: int

    def processes(self) -> list[psutil.Process]:
        """Give the process and its descendants that live."""
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Give the processor time of the whole group so far."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(part.user + part.system for part in times))


@contextmanager
def serving(
    command: Sequence[str], port: int, ready_path: str, log: Path, extra_environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server until the block ends; it begins when `ready_path` answers 200. Raises CannotMeasure."""
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment(extra_environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        _wait_ready(child, port, ready_path, log)
        yield Server(child.pid, port)
    finally:
        _stop(child)


@contextmanager
def serving_store(store: Path, work: Path, workers: int) -> Iterator[Server]:
    """Run `hashwacht serve` on a store until the block ends."""
    port = free_port()
    command = hashwacht(
        "serve", "--store", store, "--port", str(port), "--workers", str(workers), "--state-dir", work / "state"
    )
    with serving(command, port, "/readyz", work / f"serve-{port}.log") as server:
        yield server


def free_port() -> int:
    """Give a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get_status(port: int, path: str) -> int | None:
    """Give the status of a GET, or None when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def _wait_ready(child: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        if get_status(port, path) == 200:
            return
        time.sleep(0.05)
    said = log.read_text(errors="replace")[-500:]
    raise CannotMeasure(f"the server on port {port} did not become ready: {said}")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a server and its workers: by SIGTERM, and what is left of the group by SIGKILL."""
    try:
        workers = psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        workers = []
    child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for worker in psutil.wait_procs(workers, timeout=2)[1]:
        worker.kill()
