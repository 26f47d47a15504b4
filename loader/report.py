"""What became of every line: counts per file and over a compile, and the first lines that were refused.

A refused line is a digest that will not be found, so each is counted and the first are named. Blank lines and
comments are neither digests nor refused. A bad line is described by field, length and position and never by
its text, which may be a digest.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

from loader.errors import ListTruncated, TooManyBadLines
from loader.guard import GuardReport
from snapshot.algorithms import Algorithm

#: Share of lines that may be bad unless the operator says otherwise. Records are written by programs: none of those.
MAX_BAD_SHARE: Final = 0.0001
#: Bad lines that are named, of a file and of a compile; the others are only counted.
NAMED_BAD_LINES: Final = 20
#: Beside the limit over all files: no single file may have a larger share of bad lines than this (or than the
#: limit, where that is larger). A small list that was wholly misread must not hide behind a large one.
MAX_BAD_SHARE_OF_A_FILE: Final = 0.01

_REMEDY: Final = (
    "Each refused line is a digest that would not be found. Have the list corrected, or check --format, --algorithm "
    "and --column; if these lines may be missing, raise --max-bad-share."
)


#: What the files of a format consist of, and are counted in.
Unit = Literal["line", "record"]


@dataclass(frozen=True, slots=True)
class BadLine:
    """One refused line: `field` is what was wrong in it (digest, a column), `why` reads on from there."""

    path: str
    line: int
    field: str
    why: str
    unit: str = "line"

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.unit == "line" else f"{self.path}: {self.unit} {self.line}"
        return f"{where}: {self.field}: {self.why}"


@dataclass(slots=True)
class FileReport:
    """What was read from one file. Readers count into it as they go.

    `unit` is what the format consists of; where that is records, all that is said of lines here holds for them.
    `lines_read` counts physical lines, blank ones and comments included; `digests` what was kept, by algorithm
    name; `bad_line_count` the refused lines, of which `bad_lines` names the first 20.
    """

    path: str
    format: str
    unit: Unit = "line"
    #: Share that may be bad; None: MAX_BAD_SHARE for lines, none for records.
    max_bad_share: float | None = None
    lines_read: int = 0
    digests: Counter[str] = field(default_factory=Counter)
    bad_line_count: int = 0
    bad_lines: list[BadLine] = field(default_factory=list)
    #: Number of the last refused line, and of a last line that has no line end; 0 for none.
    last_bad_line: int = 0
    unended_line: int = 0

    @property
    def digest_count(self) -> int:
        """Digests kept, of all algorithms."""
        return self.digests.total()

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing in it: no digest and no refused line."""
        return not self.digest_count and not self.bad_line_count

    @property
    def names_more(self) -> bool:
        """Whether a bad line further on will be named; when not, its reason need not be found out."""
        return len(self.bad_lines) < NAMED_BAD_LINES

    def keep(self, algorithm: Algorithm, count: int) -> None:
        """Count digests that were kept."""
        if count:
            self.digests[algorithm.name] += count

    def refuse(self, line: int, field: str, why: str, line_count: int = 1) -> None:
        """Count a bad line, or `line_count` of them refused for one reason, named by the first.

        Lines may come in any order; the first of the file are the ones that stay named.
        """
        self.bad_line_count += line_count
        self.last_bad_line = max(self.last_bad_line, line + line_count - 1)
        if self.names_more or line < self.bad_lines[-1].line:
            insort(self.bad_lines, BadLine(self.path, line, field, why, self.unit), key=lambda bad: bad.line)
            del self.bad_lines[NAMED_BAD_LINES:]

    def refuse_unnamed(self, line_count: int, last_line: int) -> None:
        """Count bad lines without naming them; `last_line` is the number of the last of them."""
        self.bad_line_count += line_count
        self.last_bad_line = max(self.last_bad_line, last_line)


@dataclass(slots=True)
class CompileReport:
    """What was read from all files of a compile, in their order, and what became of it.

    `merged` and `guard` are filled in by the build: digests that were kept and stood in the lists already, and what
    was left out.
    """

    files: list[FileReport] = field(default_factory=list)
    merged: int = 0
    guard: GuardReport = field(default_factory=GuardReport)

    @property
    def empty_files(self) -> list[str]:
        """The paths of files that had nothing in them."""
        return [file.path for file in self.files if file.is_empty]

    @property
    def lines_read(self) -> int:
        """Physical lines of all files."""
        return sum(file.lines_read for file in self.files)

    @property
    def digests(self) -> Counter[str]:
        """Digests kept, by algorithm name, before merging."""
        return sum((file.digests for file in self.files), Counter[str]())

    @property
    def digest_count(self) -> int:
        """Digests kept, of all algorithms, before merging."""
        return self.digests.total()

    @property
    def refused(self) -> int:
        """Bad lines of all files."""
        return sum(file.bad_line_count for file in self.files)

    @property
    def bad_lines(self) -> list[BadLine]:
        """The first 20 bad lines over all files."""
        return [bad for file in self.files for bad in file.bad_lines][:NAMED_BAD_LINES]


def check_bad_lines(report: CompileReport) -> None:
    """Stop a compile that lost too many lines.

    A file's share may be from 0 (none may be bad) to 1 (all may). It holds for all files of one share together; a
    single file of lines may not exceed the larger of it and 1 %. Of records none may be bad unless a share is given.

    Raises TooManyBadLines, naming the first 20 as file:line: field: why, the counts, the limit and the remedy.
    """
    by_share: dict[float, list[FileReport]] = {}
    for file in report.files:
        by_share.setdefault(_share(file), []).append(file)
    for share, files in by_share.items():
        lines, refused = sum(file.lines_read for file in files), sum(file.bad_line_count for file in files)
        if refused > share * lines:
            named = [bad for file in files for bad in file.bad_lines][:NAMED_BAD_LINES]
            raise TooManyBadLines(_message(named, refused, lines, share, "refused", _unit_of(files)))
    for file in report.files:
        limit = max(_share(file), MAX_BAD_SHARE_OF_A_FILE)
        if file.bad_line_count > limit * file.lines_read:
            what = f"of {file.path} refused"
            raise TooManyBadLines(
                _message(file.bad_lines, file.bad_line_count, file.lines_read, limit, what, _unit_of([file]))
            )


def _share(file: FileReport) -> float:
    if file.max_bad_share is not None:
        return file.max_bad_share
    return MAX_BAD_SHARE if file.unit == "line" else 0.0


def refuse_cut_files(report: CompileReport) -> None:
    """Raise ListTruncated for a file whose last line is malformed and has no line end: a transfer that broke off.

    For what `check_bad_lines` let pass: in a long list one bad line is within the limit, the missing rest is not.
    """
    for file in report.files:
        if file.unended_line and file.last_bad_line >= file.unended_line:
            raise ListTruncated(
                file.path,
                f"line {file.unended_line:,}, the last, is malformed and has no line end, as if the file had been cut; "
                "fetch it again, or remove that line",
            )


def _unit_of(files: list[FileReport]) -> str:
    units = {file.unit for file in files}
    return f"{units.pop()}s" if len(units) == 1 else "lines and records"


def _message(named: list[BadLine], refused: int, lines: int, limit: float, what: str, units: str) -> str:
    more = [f"… and {refused - len(named):,} more {units}"] if refused > len(named) else []
    share = _percent(refused / max(lines, 1))
    return "\n  ".join(
        [
            f"{refused:,} of {lines:,} {units} {what} ({share}), the limit is {_percent(limit)}; nothing is published",
            *map(str, named),
            *more,
            _REMEDY,
        ]
    )


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
