"""A real server process for tests: `hashwacht serve` on a free port of loopback, ended by its process id.

    with running_service(store, workers=2) as service:
        status, headers, body = service.post("/v1/match", {"sha256": […]})

Leaving the block ends the server by SIGTERM and requires exit code 0, no worker left behind and no exception in the
log. A test that expects otherwise says so.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.command import ROOT, command_line, environment

SERVING = re.compile(r"hashwacht: serving (?P<store>.*) on (?P<url>http://(?P<host>\S+):(?P<port>\d+)) \(.*\)")
START_SECONDS = 60.0


class Answer:
    """Status, headers and body of one response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self) -> tuple[int, str]:
        """Give (status, reason) of what must be a whole problem+json."""
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.body)
        problem = self.json()
        assert set(problem) == {"type", "title", "status", "reason", "detail"}
        assert problem["status"] == self.status
        assert problem["detail"]
        return self.status, problem["reason"]


class ServiceProcess:
    """The running server."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip("\n")
            self.lines.append(line)
            if found := SERVING.search(line):
                self.host, self.port, self.url = found["host"].strip("[]"), int(found["port"]), found["url"]
                self._listening.set()
        self._listening.set()

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers: the spawned children that are Python running uvicorn."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # ended meanwhile, or a zombie
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    def wait_until_listening(self) -> None:
        assert self._listening.wait(START_SECONDS), f"not listening\n{self.log}"
        assert hasattr(self, "port"), f"ended before it listened\n{self.log}"

    def wait_for(self, what: str, seconds: float = 10.0) -> None:
        """Wait until a line of the log has `what` in it."""
        assert until(lambda: what in self.log, seconds), f"no {what!r} in the log\n{self.log}"

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, timeout: float = 30
    ) -> Answer:
        """Make one request on a connection of its own."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=timeout)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            return Answer(connection.getresponse())

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, value: object) -> Answer:
        return self.request("POST", path, json.dumps(value), {"Content-Type": "application/json"})

    def match(self, value: object) -> Any:
        """Post to /v1/match, require 200, give the reply."""
        answer = self.post("/v1/match", value)
        assert answer.status == 200, answer.body
        return answer.json()

    def ready(self) -> tuple[int, Any]:
        answer = self.get("/readyz")
        return answer.status, answer.json()

    def end(self, seconds: float = 20.0) -> int:
        """Send SIGTERM and give the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code


def until(condition: Any, seconds: float, pause: float = 0.05) -> bool:
    """Tell whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


@contextmanager
def running_service(
    store: Path,
    *options: str,
    workers: int = 2,
    state_dir: Path | None = None,
    ready: bool = True,
    exit_code: int | None = 0,
    may_log: str = "",
    **variables: str,
) -> Iterator[ServiceProcess]:
    """Start the server on a free port; end it and look over what it left. `may_log` is a regular expression of log
    lines that are expected although they tell of an error. `exit_code` None: the test ends the process in its own way.
    """
    state = state_dir or store.parent / "state"
    words = ("serve", "--store", store, "--port", "0", "--workers", str(workers), "--state-dir", state, *options)
    process = subprocess.Popen(
        command_line(*words), cwd=ROOT, env=environment(**variables), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    service = ServiceProcess(process)
    family: list[psutil.Process] = []
    try:
        service.wait_until_listening()
        if ready:
            assert until(lambda: service.log.count("snapshot live") >= workers, START_SECONDS), service.log
            assert service.ready()[0] == 200, service.log
        yield service
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        if exit_code is not None:
            assert process.poll() is None, f"the server ended by itself: {process.returncode}\n{service.log}"
            assert service.end() == exit_code, service.log
    finally:
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
        _, left = psutil.wait_procs(family, timeout=10)
        for child in left:
            child.kill()
        service._reader.join(5)
        assert process.stderr is not None
        process.stderr.close()
    assert not left, f"left behind: {left}"
    for line in service.lines:
        if re.search(r"Traceback|Exception|Warning|\[error|\[critical|\"level\": ?\"error", line):
            assert re.search(may_log or r"\Z.", line), f"unexpected in the log: {line}\n{service.log}"


def raw_request(service: ServiceProcess, *pieces: bytes, pause: float = 0.0, timeout: float = 30) -> bytes:
    """Send bytes as they are, reading meanwhile, until the server closes or nothing comes for `timeout` seconds."""
    received: list[bytes] = []
    with socket.create_connection((service.host, service.port), timeout=timeout) as connection:

        def read() -> None:
            with suppress(TimeoutError, ConnectionResetError):
                while chunk := connection.recv(65536):
                    received.append(chunk)

        reader = threading.Thread(target=read)
        reader.start()
        with suppress(ConnectionResetError, BrokenPipeError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        reader.join()
    return b"".join(received)
