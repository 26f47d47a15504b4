"""Progress: a bar on a terminal, a line now and then elsewhere, and never a word on standard output."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from loader import progress
from loader.progress import PLAIN_LINE_SECONDS, Shown, Silent


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=io.StringIO(), force_terminal=False))


@pytest.mark.usefixtures("no_terminal")
def test_without_a_terminal_there_is_a_line_every_few_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Shown() as shown:
        shown.stage("reading", 100 << 20)
        for _ in range(40):
            clock.now += PLAIN_LINE_SECONDS / 4
            shown.advance(1 << 20)
        shown.stage("checksums", None)
        clock.now += 2 * PLAIN_LINE_SECONDS
        shown.advance(30 << 20)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 11
    assert lines[0] == "reading: 4 of 100 MiB, 1 MiB/s"
    assert lines[9] == "reading: 40 of 100 MiB, 1 MiB/s"
    assert lines[10] == "checksums: 30 MiB, 3 MiB/s"


@pytest.mark.usefixtures("no_terminal")
def test_short_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Shown() as shown:
        shown.stage("reading", 1)
        clock.now += PLAIN_LINE_SECONDS * 0.9
        shown.advance(1)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    asked: list[dict[str, object]] = []

    def console(**options: object) -> Console:
        asked.append(options)
        return Console(file=screen, force_terminal=True, width=120)

    monkeypatch.setattr(progress, "Console", console)
    with Shown() as shown:
        shown.stage("reading", 10 << 20)
        shown.advance(5 << 20)
        shown.stage("writing md5", None)
        shown.advance(1 << 20)
    assert asked == [{"stderr": True}]
    assert "writing md5" in screen.getvalue()
    assert capsys.readouterr() == ("", "")


def test_silence_is_silence(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Silent()
    silent.stage("reading", 1)
    silent.advance(1)
    assert capsys.readouterr() == ("", "")
