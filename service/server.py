"""Runs the service: one listening socket, one or more workers behind it, an orderly end.

The socket is bound here, before any worker, so that a taken port is said at once and clients that come early wait
instead of being refused. One worker runs in this process; several are spawned, each reads its settings from the
environment and none outlives this process (service/parent.py).
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import time
from multiprocessing.connection import wait
from types import FrameType
from typing import Final

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from service.errors import BadSettings, CannotListen, OpenHost, WorkersFailed
from service.logs import configure_logging
from service.settings import ServiceSettings
from snapshot.errors import SnapshotError
from snapshot.store import Store

_BACKLOG: Final = 2048
#: Requests in flight have this long to finish after SIGTERM: with what the supervisor takes, 10 seconds at most.
_GRACEFUL_SECONDS: Final = 8
#: Idle connections are kept longer than uvicorn's 5 seconds: clients that pool them would often meet a closed one.
_KEEP_ALIVE_SECONDS: Final = 30
#: uvicorn's 5 seconds kill a worker that is busy opening a large snapshot.
_HEALTHCHECK_SECONDS: Final = 30
#: How long the supervisor waits for one worker's answer before it looks after the others and its own signals.
_ANSWER_SECONDS: Final = 0.1

_log = structlog.stdlib.get_logger("service.server")


def serve(settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT; return once all requests in flight are answered. Raises ServiceError."""
    configure_logging(settings)
    listener = open_socket(settings)
    os.environ.update(settings.environment())  # the workers read their settings from there
    _log.info(_serving_line(settings, listener))
    config = uvicorn.Config(
        "service.app:create_app",
        factory=True,
        interface="asgi3",
        http="service.protocol:BoundedProtocol",
        loop="uvloop",
        ws="none",
        lifespan="on",
        workers=settings.workers,
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        timeout_worker_healthcheck=_HEALTHCHECK_SECONDS,
    )
    with listener:
        if settings.workers == 1:
            _run_here(config, listener)
        else:
            _run_workers(config, listener)
    _log.info("hashwacht: ended")


def _run_here(config: uvicorn.Config, listener: socket.socket) -> None:
    server = uvicorn.Server(config)

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises the signal again when it is done; without a handler of ours that would end in exit code -15.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        server.run(sockets=[listener])
    except SystemExit as error:  # uvicorn's, when the lifespan fails
        raise WorkersFailed("the worker could not start; the lines above say why") from error


def _run_workers(config: uvicorn.Config, listener: socket.socket) -> None:
    supervisor = _Workers(config, sockets=[listener])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise WorkersFailed("the workers could not start; the lines above say why")


class _Workers(Multiprocess):
    """uvicorn's supervisor, with two differences.

    At the end it lets go of the socket too, so newcomers are refused, not left hanging. And a worker that dies while
    it is being asked for its health is noticed at once: uvicorn's own question waits for the whole time-out, deaf to
    SIGTERM as well, and a worker that has just started takes a second to answer.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets=sockets)
        self._asked: dict[int, float] = {}

    def keep_subprocess_alive(self) -> None:
        """Replace workers that ended or hang; called twice a second."""
        answered = [self._has_answered(process) for process in self.processes]  # each of them, whatever the first says
        if all(answered):
            super().keep_subprocess_alive()

    def _has_answered(self, worker: Process) -> bool:
        """Ask a worker whether it turns, and give it a moment. True when it has answered, ended, or been killed."""
        assert worker.pid is not None
        now = time.monotonic()
        if worker.pid not in self._asked:
            worker.parent_conn.send(b"ping")
            self._asked[worker.pid] = now
        ready = wait([worker.parent_conn, worker.process.sentinel], _ANSWER_SECONDS)
        if not ready and now - self._asked[worker.pid] < _HEALTHCHECK_SECONDS:
            return False
        if worker.parent_conn in ready:
            worker.parent_conn.recv()
        elif not ready:
            _log.error("a worker hangs and is replaced", worker=worker.pid)
            worker.process.kill()
            worker.process.join()
        del self._asked[worker.pid]
        return True

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def open_socket(settings: ServiceSettings) -> socket.socket:
    """Bind and listen where the settings say. Raises OpenHost, BadSettings (unknown host) or CannotListen."""
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise BadSettings(
            f"--host or HASHWACHT_HOST: {host} is no address of this machine ({error.strerror})"
        ) from None
    if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        if not settings.insecure_open:
            raise OpenHost(
                f"--host or HASHWACHT_HOST: {host} can be reached from other machines, and nothing authenticates "
                "clients yet. Listen on 127.0.0.1 behind a proxy that does, or say --insecure-open."
            )
        _log.warning("open to other machines without authentication, as --insecure-open says", host=host)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(
            f"cannot listen on {host} port {port}: {error.strerror}. "
            "Choose another with --port, or --port 0 for a free one."
        ) from None
    listener.setblocking(False)
    return listener


def _serving_line(settings: ServiceSettings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    at = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    try:
        state = f"generation {Store(settings.store).current().generation}"
    except SnapshotError as error:
        state = f"not ready: {error.reason}"
    return f"hashwacht: serving {settings.store} on {at} ({workers}, {state})"
