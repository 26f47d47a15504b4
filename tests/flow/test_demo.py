"""`make demo`, run whole: what it prints works when pasted, Ctrl-C ends it cleanly, a taken port is said."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

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
    demo = start(port, tmp_path)
    watchdog = threading.Timer(180, os.killpg, [demo.pid, signal.SIGKILL])
    watchdog.start()
    said: list[str] = []
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        requests = [line for line in said if line.startswith("curl ")]
        assert len(requests) == 2, "".join(said)
        answers = []
        for request in requests:
            pasted = subprocess.run(["bash", "-c", request], capture_output=True, text=True, timeout=30, check=True)
            assert pasted.stdout.endswith("}\n")
            answers.append(json.loads(pasted.stdout))
        listed, unlisted = answers
        assert [match["labels"][0]["list_id"] for match in listed["matches"]] == ["demo"]
        assert listed["matches"][0]["action"] == "block"
        assert unlisted["matches"] == []
        assert sum(unlisted["checked"].values()) == 1
        os.killpg(demo.pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal
        rest = demo.stdout.read()
        code = demo.wait(timeout=20)
        assert "Traceback" not in rest, rest
        assert "stopped" in rest
        assert code in (0, -signal.SIGINT), rest  # make itself ends by the signal, as shells expect
    finally:
        watchdog.cancel()
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
        if demo.stdout is not None:
            demo.stdout.close()
    assert list(tmp_path.iterdir()) == []  # it kept nothing


def test_a_taken_port_is_said_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        demo = start(taken, tmp_path)
        said, _ = demo.communicate(timeout=60)
    assert demo.returncode != 0
    assert f"Port {taken} on 127.0.0.1 is taken" in said
    assert f"PORT={taken + 1}" in said
    assert "compiled" not in said
