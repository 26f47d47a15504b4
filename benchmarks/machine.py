"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("numpy", "lmdb", "uvicorn", "uvloop", "httptools", "orjson", "bitarray", "pybloom-live")


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
            load_before=round(os.getloadavg()[0], 2),
        )

    def lines(self) -> list[str]:
        """Give the description as lines of text."""
        libraries = ", ".join(f"{name} {number}" for name, number in self.libraries.items())
        hardware = f"{self.cpu}, {self.cores} cores, {self.memory_gib:g} GiB"
        return [
            f"{self.date}  {hardware}, {self.kernel}, load before {self.load_before:g}",
            f"{self.python}, {libraries}",
        ]


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no Linux
    return platform.processor() or "unknown CPU"
