"""`make demo`: the whole path once, on this machine's own software.

Compiles a real list (on Debian the MD5 sums of every installed package's files, elsewhere the SHA-256 of the Python
installation's files) and the public test list, serves them on 127.0.0.1 and prints three requests: for a digest of the
real list, for one of a harmless test file, and for one that nobody listed. It runs the same two commands that an
operator would, keeps its store in a temporary directory and removes it at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from loader.test_list import harmless_files

HASHWACHT = [sys.executable, "-m", "hashwacht"]
HOST = "127.0.0.1"
DPKG = Path("/var/lib/dpkg/info")
READY_SECONDS = 60


def main() -> int:
    """Run the demo; give its exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    if taken(port):
        print(f"Port {port} on {HOST} is taken by another program. Choose another: make demo PORT={port + 1}")
        return 6
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="hashwacht-demo-") as directory:
        try:
            return run(Path(directory), port)
        except KeyboardInterrupt:
            print("\nstopped")
            return 0


def run(directory: Path, port: int) -> int:
    """Compile, serve, print the requests, and wait for Ctrl-C."""
    files, algorithm, listed, what = real_list(directory)
    store = str(directory / "store")
    compile_command = [
        *HASHWACHT, "compile", "--store", store, "--list-id", "demo", "--tier", "baseline", "--with-test-list",
    ]  # fmt: skip
    print(f"$ {shown(compile_command)} {files[0] if len(files) == 1 else DPKG / '*.md5sums'}", flush=True)
    subprocess.run([*compile_command, *files], check=True)
    serve = [*HASHWACHT, "serve", "--store", store, "--host", HOST, "--port", str(port)]
    print(f"$ {shown(serve)}", flush=True)
    # Notes of verified snapshots go with the store, not into the home directory.
    server = subprocess.Popen(serve, env={**os.environ, "HASHWACHT_STATE_DIR": str(directory / "state")})
    try:
        wait_until_ready(port, server)
        unlisted = secrets.token_hex(len(listed) // 2)
        test_file, content = next(iter(harmless_files().items()))
        harmless = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
        print(
            f"\nReady. In another terminal, three requests: for a listed digest ({what}),\n"
            f"for one of the public test list ({test_file}, which `hashwacht test-list --write DIR` writes:\n"
            "upload it where you have integrated this), and for one that nobody listed:\n"
        )
        for digest in (listed, harmless, unlisted):
            print(
                f"curl -s -w '\\n' http://{HOST}:{port}/v1/match -H 'content-type: application/json' "
                f"""-d '{{"{algorithm}": ["{digest}"]}}'"""
            )
        print(f"\nThe API is described at http://{HOST}:{port}/docs. Ctrl-C ends the demo.", flush=True)
        return server.wait()
    finally:
        end(server)


def real_list(directory: Path) -> tuple[list[str], str, str, str]:
    """Give list files of this machine's own software, their algorithm, one digest of theirs, and what it is of."""
    sums = sorted(str(path) for path in DPKG.glob("*.md5sums"))
    for path in sums:
        for line in Path(path).read_text("utf-8", "replace").splitlines():
            digest, _, name = line.partition("  ")
            if name.startswith(("bin/", "usr/bin/")):
                return sums, "md5", digest, f"the MD5 of /{name} as Debian ships it"
    sources = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    lines = [f"{hashlib.sha256(source.read_bytes()).hexdigest()}  {source}\n" for source in sources]
    list_file = directory / "python.sha256sums"
    list_file.write_text("".join(lines), encoding="utf-8")
    # Not of an empty file: those are known good, and never listed.
    first = next(line for source, line in zip(sources, lines, strict=True) if source.stat().st_size)
    digest, _, name = first.partition("  ")
    return [str(list_file)], "sha256", digest, f"the SHA-256 of {name.strip()}"


def taken(port: int) -> bool:
    """Tell whether another program listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def wait_until_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until /readyz says so."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the service ended by itself with exit code {server.returncode}")
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass  # not listening yet
        finally:
            connection.close()
        time.sleep(0.1)
    sys.exit(f"the service was not ready within {READY_SECONDS} seconds")


def end(server: subprocess.Popen[bytes]) -> None:
    """End the service, which lets requests in flight finish. After Ctrl-C on a terminal it is ending already."""
    if server.poll() is None:
        server.terminate()
    server.wait(timeout=15)


def shown(command: list[str]) -> str:
    """Give a command as one would type it."""
    return shlex.join(["hashwacht", *command[len(HASHWACHT) :]])


if __name__ == "__main__":
    sys.exit(main())
