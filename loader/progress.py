"""Telling how far long work is: a bar with rate on a terminal, a plain line now and then elsewhere.

Work reports to a `Progress`; who listens is decided at the command line. All of it goes to standard error, so that
standard output stays what a script asked for.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

#: Seconds between two lines where there is no terminal.
PLAIN_LINE_SECONDS = 5.0


class Progress(Protocol):
    """Something that hears how far work is."""

    def stage(self, name: str, total_bytes: int | None) -> None:
        """Begin a stage of so many bytes; None when nobody knows."""

    def advance(self, count: int) -> None:
        """So many more bytes are done."""


class Silent:
    """A Progress that nobody looks at."""

    def stage(self, name: str, total_bytes: int | None) -> None:
        """Do nothing."""

    def advance(self, count: int) -> None:
        """Do nothing."""


class Shown:
    """A Progress for people: a bar on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar: RichProgress | None = None
        if console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True),
                TransferSpeedColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
                console=console, transient=True,
            )  # fmt: skip
        self._task: TaskID | None = None
        self._name = ""
        self._total: int | None = None
        self._done = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, name: str, total_bytes: int | None) -> None:
        """Begin a stage of so many bytes; None when nobody knows."""
        self._name, self._total, self._done = name, total_bytes, 0
        self._began = self._said = time.monotonic()
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total_bytes)

    def advance(self, count: int) -> None:
        """So many more bytes are done."""
        self._done += count
        if self._bar is not None:
            assert self._task is not None
            self._bar.advance(self._task, count)
            return
        now = time.monotonic()
        if now - self._said >= PLAIN_LINE_SECONDS:
            self._said = now
            sys.stderr.write(self._line(now) + "\n")
            sys.stderr.flush()

    def _line(self, now: float) -> str:
        mib = self._done / 2**20
        of = f" of {self._total / 2**20:,.0f}" if self._total else ""
        return f"{self._name}: {mib:,.0f}{of} MiB, {mib / max(now - self._began, 1e-9):,.0f} MiB/s"
