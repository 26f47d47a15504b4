"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

_LIBRARIES: Final = (
    "numpy", "lmdb", "uvicorn", "uvloop", "httptools", "orjson", "bitarray", "pybloom-live", "fastapi", "pydantic",
    "redis", "hiredis",
)  # fmt: skip
#: Programs that run beside ours, and how each is asked for its version.
_PROGRAMS: Final = {"sort": "--version", "redis-server": "--version", "wrk": "-v", "hfind": "-V"}


@dataclass(frozen=True, slots=True)
class Machine:
    """Machine, versions and date. `load_before` is the load average before the run: above 0.5 others are at work."""

    date: str
    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    libraries: dict[str, str]
    programs: dict[str, str]
    load_before: float

    @classmethod
    def here(cls) -> Machine:
        """Describe this machine now."""
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            cpu=_cpu(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
            kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
            python=f"{platform.python_implementation()} {platform.python_version()}",
            libraries={name: version(name) for name in _LIBRARIES},
            programs={name: _program_version(name, option) for name, option in _PROGRAMS.items()},
            load_before=round(os.getloadavg()[0], 2),
        )

    def lines(self) -> list[str]:
        """Give the description as lines of text."""
        versions = ", ".join(f"{name} {number}" for name, number in (self.libraries | self.programs).items())
        hardware = f"{self.cpu}, {self.cores} cores, {self.memory_gib:g} GiB"
        return [
            f"{self.date}  {hardware}, {self.kernel}, load before {self.load_before:g}",
            f"{self.python}, {versions}",
        ]


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no Linux
    return platform.processor() or "unknown CPU"


def _program_version(name: str, option: str) -> str:
    """Give the first number like 1.2 that a program says when asked; "missing" where it is not installed."""
    if shutil.which(name) is None:
        return "missing"
    asked = subprocess.run([name, option], capture_output=True, text=True, check=False, timeout=10)  # wrk ends with 1
    number = re.search(r"\d+\.[\d.]*\d", asked.stdout + asked.stderr)
    return number[0] if number else "unknown"
