"""Prepare this machine for the tests: what they need beside Python. `make test` runs it before pytest.

    python tests/machine.py [NAME …]    all of tests/needs.py, or only these: `make bench` wants redis, wrk and hfind

On Debian as root what is missing is installed, and no service that the packages bring is left running; elsewhere the
tests that will be skipped are named. With CI=true something missing ends the run. Nothing is done, and nothing said,
where all is there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS.parent))

from tests.needs import NEEDS, in_ci, is_there  # noqa: E402 - only found once the checkout is in the path

APT = ("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0")


def main(names: list[str]) -> int:
    """Install what can be installed; give 1 when something would be left out and must not, 2 for an unknown name."""
    unknown = [name for name in names if name not in NEEDS]
    if unknown:
        say(f"unknown: {', '.join(unknown)}; known are {', '.join(NEEDS)}")
        return 2
    missing = [name for name in names or NEEDS if not is_there(name)]
    packages = sorted({package for name in missing for package in NEEDS[name].packages})
    failure = ""
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        failure = install(packages) or "".join(end_service(NEEDS[name].service) for name in missing)
        is_there.cache_clear()
        missing = [name for name in missing if not is_there(name)]
    rule = "with CI=true none of these may be left out" if in_ci() else "left out will be"
    for name in missing:
        say(f"{NEEDS[name].without}; {rule}:")
        for line in ["the benchmarks that want it"] if names else tests_that_need(name):
            say(f"  {line}")
    if failure:
        say(failure)
    return 1 if failure or (missing and in_ci()) else 0


def install(packages: list[str]) -> str:
    """Install Debian packages, quietly; give what is to be said when that fails, else nothing."""
    install_them = [*APT, "install", "--yes", "--no-install-recommends", *packages]
    say(f"installing: {', '.join(packages)}")
    if not run(install_them):
        return ""
    failure = run([*APT, "update"]) or run(install_them)  # the lists of packages may be old, or not there yet
    return f"apt-get could not install {', '.join(packages)}:\n{failure}" if failure else ""


def end_service(name: str) -> str:
    """End a service that was just installed, also for the next boot; give what is to be said when that fails."""
    if not name:
        return ""
    if Path("/run/systemd/system").is_dir():
        return run(["systemctl", "disable", "--now", name])
    # Where nothing starts services by itself (a container), it was not started and need not be known.
    return run(["service", name, "stop"]) if shutil.which("service") and Path("/etc/init.d", name).exists() else ""


def say(line: str) -> None:
    """Tell whoever runs the tests."""
    sys.stderr.write(f"{line}\n")


def run(command: list[str]) -> str:
    """Run a command; give the end of what it said when it failed, else nothing."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    said = (done.stdout + done.stderr).strip().splitlines()[-10:]
    return "\n".join(["$ " + " ".join(command), *said]) if done.returncode else ""


def tests_that_need(name: str) -> list[str]:
    """Give the tests marked with a need, as file::test, read from their source."""
    marks = rf'mark\.needs\([^)]*"{name}"' + (r"|mark\.browser" if name == "chromium" else "")
    marked = re.compile(rf"^@pytest\.(?:{marks})[\s\S]*?^(?:async )?def (test_\w+)", re.MULTILINE)
    whole_file = re.compile(rf"^pytestmark = .*(?:{marks})", re.MULTILINE)
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        shown = path.relative_to(TESTS.parent).as_posix()
        if whole_file.search(text):
            found.append(shown)
        found += [f"{shown}::{match[1]}" for match in marked.finditer(text)]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
