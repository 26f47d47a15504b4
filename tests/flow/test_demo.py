"""`make demo`, run whole: what it prints works when pasted, Ctrl-C ends it cleanly, a taken port is said."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

import demo
from tests.command import compile_lists, hashwacht

ROOT = Path(__file__).parents[2]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    return number


def start(port: int, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["make", "-s", "demo", f"PORT={port}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives one
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
    )


def test_the_printed_requests_work_and_ctrl_c_ends_it(port: int, tmp_path: Path) -> None:
    running = start(port, tmp_path)
    watchdog = threading.Timer(180, os.killpg, [running.pid, signal.SIGKILL])
    watchdog.start()
    said: list[str] = []
    try:
        assert running.stdout is not None
        for line in running.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        requests = [line for line in said if line.startswith("curl ")]
        assert len(requests) == 3, "".join(said)
        answers = []
        for request in requests:
            pasted = subprocess.run(["bash", "-c", request], capture_output=True, text=True, timeout=30, check=True)
            assert pasted.stdout.endswith("}\n")
            answers.append(json.loads(pasted.stdout))
        listed, harmless, unlisted = answers
        for answer, list_id in ((listed, "demo"), (harmless, "hashwacht-test")):
            assert [match["labels"][0]["list_id"] for match in answer["matches"]] == [list_id]
            assert answer["matches"][0]["action"] == "block"
        assert any("listed digests are known good and left out: " in line for line in said)
        assert unlisted["matches"] == []
        assert sum(unlisted["checked"].values()) == 1
        os.killpg(running.pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal
        rest = running.stdout.read()
        code = running.wait(timeout=20)
        assert "Traceback" not in rest, rest
        assert "stopped" in rest
        assert code in (0, -signal.SIGINT), rest  # make itself ends by the signal, as shells expect
    finally:
        watchdog.cancel()
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        if running.stdout is not None:
            running.stdout.close()
    assert list(tmp_path.iterdir()) == []  # it kept nothing


def test_without_packages_of_debian_the_demo_lists_python_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DPKG", tmp_path / "absent")
    files, algorithm, listed, what = demo.real_list(tmp_path)
    result = compile_lists(tmp_path / "store", *files, list_id="demo", tier="baseline")
    assert result["refused"] == 0
    assert result["algorithms"] == {algorithm: result["entries"]}
    assert result["entries"] > 500
    answer = hashwacht("lookup", "--store", tmp_path / "store", "--json", listed).json()["answers"][0]
    assert answer["verdict"] == "listed"
    shown = Path(what.removeprefix("the SHA-256 of "))
    assert hashlib.sha256(shown.read_bytes()).hexdigest() == listed


def test_a_taken_port_is_said_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        running = start(taken, tmp_path)
        said, _ = running.communicate(timeout=60)
    assert running.returncode != 0
    assert f"Port {taken} on 127.0.0.1 is taken" in said
    assert f"PORT={taken + 1}" in said
    assert "compiled" not in said
