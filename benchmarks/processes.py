"""Real processes for real figures: commands timed with their peak memory, and servers on loopback."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.errors import CannotMeasure

#: The checkout: `python -m hashwacht` and `benchmarks.bare_app` are found from here.
ROOT = Path(__file__).resolve().parent.parent

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_READY_POLL_SECONDS = 0.01
#: Between looks at a command's memory: short at first, for the command may be.
_FIRST_PAUSE_SECONDS = 0.001
_LAST_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended well: wall time, peak resident memory, standard output.

    The memory is that of the command's process and its descendants, summed; None where /proc is missing, or when the
    command had ended before the first look.
    """

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
    """Samples the resident memory of a child and its descendants, summed, while it runs.

    A page that several of them map is counted in each: the sum errs upwards. What a sample missed between two looks
    is in the child's own VmHWM, which the kernel keeps. rusage would not do: a child inherits its parent's peak
    across exec.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._look()  # before the thread runs, a short command may have ended

    def run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._done.wait(pause):
            self._look()
            pause = min(1.1 * pause, _LAST_PAUSE_SECONDS)

    def _look(self) -> None:
        resident = sum(_status_bytes(pid, "VmRSS:") for pid in _family(self._pid))
        self.bytes = max(self.bytes, resident, _status_bytes(self._pid, "VmHWM:"))

    def stop(self) -> None:
        self._done.set()
        self.join()


def _family(pid: int) -> list[int]:
    """Give a process and its descendants, from /proc alone: a look at all of the machine's processes takes longer."""
    found = [pid]
    for parent in found:  # grows while it is walked
        with contextlib.suppress(OSError):  # a process or a thread may end while it is looked at
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def _status_bytes(pid: int, name: str) -> int:
    """Read a size from /proc/PID/status; 0 when the process has ended, or where there is no such file."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(name)), 0)


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
    command: Sequence[str], port: int, ready_path: str, log: Path, extra_environment: Mapping[str, str] | None = None,
    status: int = 200,
) -> Iterator[Server]:  # fmt: skip
    """Run a server until the block ends; it begins when `ready_path` answers with `status`. Raises CannotMeasure."""
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment(extra_environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        _wait_ready(child, port, ready_path, status, log)
        yield Server(child.pid, port)
    finally:
        stop(child)


@contextmanager
def serving_store(store: Path, work: Path, workers: int) -> Iterator[Server]:
    """Run `hashwacht serve` on a store until the block ends; it notes verified snapshots in `work`/state."""
    port = free_port()
    with serving(serve_command(store, work, workers, port), port, "/readyz", work / f"serve-{port}.log") as server:
        yield server


def serve_command(store: Path, work: Path, workers: int, port: int) -> list[str]:
    """Give the command line of that service."""
    options = {"store": store, "port": port, "workers": workers, "state-dir": work / "state", "log-format": "json"}
    return hashwacht("serve", *(str(text) for name, value in options.items() for text in (f"--{name}", value)))


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


def wait_for(port: int, path: str, status: int, gone: Callable[[], bool] = lambda: False) -> bool:
    """Ask until the answer is `status`; tell whether it was before half a minute was over, or `gone` said so."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and not gone():
        if get_status(port, path) == status:
            return True
        time.sleep(_READY_POLL_SECONDS)
    return False


def _wait_ready(child: subprocess.Popen[bytes], port: int, path: str, status: int, log: Path) -> None:
    if not wait_for(port, path, status, gone=lambda: child.poll() is not None):
        said = log.read_text(errors="replace")[-500:]
        raise CannotMeasure(f"the server on port {port} did not become ready: {said}")


def stop(child: subprocess.Popen[bytes]) -> None:
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
