from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from tests.command import ROOT, command_line, environment
from tests.service.snapshots import MadeSnapshot, live_store, random_entries
from tests.service_process import Answer, running_service, until

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeSnapshot:
    return live_store(tmp_path_factory.mktemp("life") / "store", random_entries(100, ("sha256",)))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_finish(made: MadeSnapshot, workers: int, how: signal.Signals) -> None:
    body = json.dumps({"sha256": ["0" * 64] * 100}).encode()
    with running_service(made.store, workers=workers, exit_code=None) as service:
        address = (service.host, service.port)
        halves: list[tuple[socket.socket, bytes]] = []
        for begun in (b"POST /v1/match HTTP/1.1\r\nHost: x\r\n", b"", b"POST"):  # at every stage of a request
            connection = socket.create_connection(address, timeout=20)
            rest = (
                b"POST /v1/match HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % len(body)
            )
            rest += body
            sent = begun or rest[:300]
            connection.sendall(sent)
            halves.append((connection, rest[len(sent) :]))
        time.sleep(0.3)
        started = time.monotonic()
        service.process.send_signal(how)
        time.sleep(1.0)
        with pytest.raises(OSError, match="refused"), socket.create_connection(address, timeout=5):
            pass  # nothing new is taken
        for connection, rest in halves:
            connection.sendall(rest)
            with connection, closing(http.client.HTTPResponse(connection)) as response:
                response.begin()
                answer = Answer(response)
            assert (answer.status, answer.json()["checked"]) == (200, {"sha256": 100})
            assert answer.headers["connection"] == "close"
        assert service.process.wait(20) == 0
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_loses_no_request(made: MadeSnapshot, workers: int) -> None:
    """Clients that keep their connection read a whole answer to each request until told that the connection ends."""
    failures: list[str] = []
    replies = [0] * 6

    def ask(number: int, host: str, port: int) -> None:
        body = json.dumps({"sha256": ["0" * 64] * 20})
        with closing(http.client.HTTPConnection(host, port, timeout=20)) as connection:
            while True:
                try:
                    connection.request("POST", "/v1/match", body, JSON)
                    answer = Answer(connection.getresponse())
                except (OSError, http.client.HTTPException) as error:
                    failures.append(repr(error))
                    return
                if answer.status != 200 or answer.json()["checked"] != {"sha256": 20}:
                    failures.append(str(answer.status))
                replies[number] += 1
                if answer.headers["connection"] == "close":
                    return

    with running_service(made.store, workers=workers, exit_code=None) as service:
        clients = [threading.Thread(target=ask, args=(i, service.host, service.port)) for i in range(6)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        service.process.terminate()
        for client in clients:
            client.join(20)
        assert service.process.wait(20) == 0
    assert failures == []
    assert all(replies)


def test_a_connection_that_hangs_does_not_hold_up_the_end(made: MadeSnapshot) -> None:
    with (
        running_service(
            made.store,
            "--request-timeout-seconds",
            "60",
            exit_code=None,
            may_log="Cancel 1 running|Exception|Traceback",
        ) as service,
        socket.create_connection((service.host, service.port)) as connection,
    ):
        connection.sendall(b"POST /v1/match HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.3)
        started = time.monotonic()
        service.process.terminate()
        assert service.process.wait(20) == 0
        assert time.monotonic() - started < 10


def test_workers_end_with_a_killed_parent(made: MadeSnapshot) -> None:
    with running_service(made.store, exit_code=None) as service:
        workers = [psutil.Process(pid) for pid in service.workers]
        assert len(workers) == 2
        port = service.port
        service.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert alive == []
    with running_service(made.store, "--port", str(port)) as service:  # the port is free again
        assert service.port == port


def test_a_killed_worker_is_replaced(made: MadeSnapshot) -> None:
    with running_service(made.store, may_log="died") as service:
        before = set(service.workers)
        os.kill(min(before), signal.SIGKILL)
        assert until(lambda: len(set(service.workers) - before) == 1, 15)
        assert until(lambda: service.log.count("snapshot live") == 3, 15)
        for _ in range(20):
            with suppress(ConnectionResetError, http.client.RemoteDisconnected):
                assert service.match({"sha256": ["0" * 64]})["checked"] == {"sha256": 1}


def refused(*options: str | Path, code: int, **variables: str) -> str:
    words = command_line("serve", *options)
    done = subprocess.run(
        words, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_beyond_loopback_only_when_told(made: MadeSnapshot) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        assert "--insecure-open" in refused("--store", made.store, "--host", host, code=2)
    with running_service(made.store, "--host", "0.0.0.0", "--insecure-open", workers=1, ready=False) as service:
        assert "without authentication" in service.log
        service.host = "127.0.0.1"
        assert service.get("/livez").status == 200


def test_a_taken_port(made: MadeSnapshot) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refused("--store", made.store, "--port", port, code=6)
    assert f"port {port}" in said
    assert "--port" in said


def test_settings_that_make_no_sense(made: MadeSnapshot, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert "not a directory" in refused("--store", file, code=2)
    assert "HASHWACHT_STORE" in refused(code=2)
    assert "--workers" in refused("--store", made.store, "--workers", "none", code=2)
    assert "HASHWACHT_MAX_DIGESTS" in refused("--store", made.store, code=2, HASHWACHT_MAX_DIGEST="7")
    assert "no-such-host" in refused("--store", made.store, "--host", "no-such-host.invalid", code=2)


def test_settings_by_variable_reach_the_workers_and_options_win(made: MadeSnapshot) -> None:
    variables = {"HASHWACHT_MAX_DIGESTS": "3", "HASHWACHT_LOG_FORMAT": "json", "HASHWACHT_MAX_BODY_BYTES": "2048"}
    with running_service(made.store, "--max-body-bytes", "4096", **variables) as service:
        assert service.match({"sha256": ["0" * 64] * 3})["checked"] == {"sha256": 3}
        assert service.post("/v1/match", {"sha256": ["0" * 64] * 4}).problem() == (413, "too_many_digests")
        assert service.request("POST", "/v1/match", b" " * 4000, JSON).problem() == (400, "malformed_json")
        assert service.request("POST", "/v1/match", b" " * 4097, JSON).problem() == (413, "body_too_large")
        records = [json.loads(line) for line in service.lines]
        live = [record for record in records if record["event"] == "snapshot live"]
        assert {record["process"] for record in live} == set(service.workers)


def test_a_worker_stays_small(made: MadeSnapshot) -> None:
    with running_service(made.store, workers=1) as service:
        service.match({"sha256": ["0" * 64] * 1000})
        private = psutil.Process(service.process.pid).memory_full_info().uss
    assert private < 90 * 1024 * 1024
