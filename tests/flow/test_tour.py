"""The tour of docs/operations.md, run: every command in its order, and what it prints is what the page shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import hashwacht
from tests.command import ROOT
from tests.samples import pages

PAGE = "operations.md"
STEPS = pages.steps_of((ROOT / "docs" / PAGE).read_text(encoding="utf-8"))
#: What an operator comes across on a first day, in this order.
TOUR = ("inspect", "compile", "lists", "approve", "serve", "test-list", "suppress", "lookup", "history", "rollback",
        "verify", "keys", "show")  # fmt: skip


def test_the_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    found = pages.differences(PAGE, STEPS, tmp_path / "session")
    assert not found, "\n\n".join([*found, "if that is meant: python -m tests.samples.pages"])


def test_the_page_goes_through_the_whole_day() -> None:
    words = [step.command.split() for step in STEPS]
    used = list(dict.fromkeys(each[1] for each in words if each[0] == "hashwacht"))
    assert used == list(TOUR)
    assert set(used) <= set(hashwacht.COMMANDS)
    assert all(step.output for step in STEPS if step.command.split()[0] not in ("cat", "cp")), "a command shows nothing"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_page_that_says_something_else_is_noticed(tmp_path: Path, number: int) -> None:
    """The comparison itself: one digit more, one line less, a failure that was none."""
    steps = STEPS[:2]
    first = steps[0]
    if number == 0:
        steps[0] = replace(first, output=first.output.replace("2,000 sha256", "2,001 sha256"))
    elif number == 1:
        steps[0] = replace(first, output="".join(first.output.splitlines(keepends=True)[1:]))
    else:
        steps[0] = replace(first, output=first.output + "error [list_unreadable]: none\n")
    assert steps[0] != first
    (found,) = pages.differences(PAGE, steps, tmp_path / "session")
    assert f"docs/{PAGE}:{first.line}" in found


def test_a_command_that_fails_in_silence_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit code 1"):
        pages.differences(PAGE, [pages.Step(1, "false", "")], tmp_path / "session")


def test_what_is_made_alike_and_what_is_not() -> None:
    digest, other = "0123456789abcdef" * 4, "f" * 64
    for text, same in (
        (f"live generation 3, snapshot {digest}, 0.4 s\n", f"live generation 3, snapshot {other}, 12.3 s\n"),
        ("2026-11-25 03:04:05 UTC", "2027-01-02 13:14:15 UTC"),
        (f'"snapshot_id":"{digest}"', f'"snapshot_id":"{other}"'),
        ("key 0123456789abcdef", "key ffffffffffffffff"),
    ):  # fmt: skip
        assert pages.alike(text) == pages.alike(same)
    for text, different in (
        (f"suppressed  {digest}", f"suppressed  {other}"),
        (f"live generation 3, snapshot {digest}", f"live generation 4, snapshot {digest}"),
        ("12 digests", "13 digests"),
        ("0.4 MB", "0.5 MB"),
    ):
        assert pages.alike(text) != pages.alike(different)


def test_a_page_is_read_as_it_stands_and_only_what_differs_is_written() -> None:
    text = (
        "# A page\n\n```console\n$ echo a\na\n$ cat > x <<'END'\n$ no command\nEND\n"
        "$ date\n2026-11-25 03:04:05 UTC\n```\n\nend\n"
    )
    steps = pages.steps_of(text)
    assert [(step.line, step.command, step.output) for step in steps] == [
        (4, "echo a", "a\n"),
        (6, "cat > x <<'END'\n$ no command\nEND", ""),
        (9, "date", "2026-11-25 03:04:05 UTC\n"),
    ]
    printed = {4: "b\n", 6: "", 9: "2027-01-01 00:00:00 UTC\n"}
    assert pages.rewritten(text, printed) == text.replace("\na\n", "\nb\n")
    with pytest.raises(ValueError, match="line 2: a session begins with a command"):
        pages.steps_of("```console\nno command\n```\n")
