"""What some tests need of the machine, and the rule when it is not there.

    @pytest.mark.needs("chromium")      this test needs it; `@pytest.mark.browser` means the same
    @pytest.mark.needs("tmpfs", "dpkg")

A machine that lacks it skips the test by name, and the end of the run says which tests did not run and why. With
CI=true that is a failure: where it counts, nothing is left out in silence. `tests/machine.py` installs what can be
installed. A pytest plugin: tests/conftest.py names it in `pytest_plugins`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

DPKG_LISTS = Path("/var/lib/dpkg/info")


def in_ci() -> bool:
    """Tell whether this run may leave nothing out."""
    return os.environ.get("CI") == "true"


def _can_mount_tmpfs() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as directory:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory], capture_output=True, check=False
        )
        if mounted.returncode == 0:
            subprocess.run(["umount", directory], check=True)
        return mounted.returncode == 0


@dataclass(frozen=True)
class Need:
    """Something a machine has or lacks. `packages` are Debian's that bring it; `service` is what they start unasked."""

    is_there: Callable[[], bool]
    without: str
    packages: tuple[str, ...] = ()
    service: str = ""


def program(name: str, package: str, service: str = "") -> Need:
    """Give the need of a program in PATH, which a Debian package brings."""
    return Need(lambda: shutil.which(name) is not None, f"no {name} in PATH", (package,), service)


NEEDS = {
    "chromium": program("chromium", "chromium"),
    "dpkg": Need(lambda: any(DPKG_LISTS.glob("*.md5sums")), f"no md5sums in {DPKG_LISTS}"),
    "hfind": program("hfind", "sleuthkit"),
    "redis": program("redis-server", "redis-server", service="redis-server"),
    "root": Need(lambda: os.geteuid() == 0, "not run as root"),
    "tmpfs": Need(_can_mount_tmpfs, "a tmpfs cannot be mounted (root on Linux can)"),
    "wrk": program("wrk", "wrk"),
}


@functools.cache
def is_there(name: str) -> bool:
    """Tell whether this machine has what a need names; looked at once."""
    return NEEDS[name].is_there()


def needs_of(item: pytest.Item) -> Iterator[str]:
    """Yield the names of what a test needs. Raises KeyError for one that nobody knows."""
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            NEEDS[name]
            yield name
    if item.get_closest_marker("browser"):
        yield "chromium"


_NOT_RUN: defaultdict[str, list[str]] = defaultdict(list)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): what the machine must have; see tests/needs.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in needs_of(item):
        if not is_there(name):
            _NOT_RUN[name].append(item.nodeid)
            message = f"needs {name}: {NEEDS[name].without}"
            if in_ci():
                pytest.fail(f"{message}, and CI=true leaves nothing out", pytrace=False)
            pytest.skip(message)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, tests in sorted(_NOT_RUN.items()):
        terminalreporter.section(f"not run: {NEEDS[name].without}")
        for test in sorted(tests):
            terminalreporter.write_line(test)
