"""The NSRL's Reference Data Set, version 3: an SQLite database. (Version 2 is a table: loader/readers/presets.py.)

    FILE    sha256, sha1, md5, crc32, file_name, file_size, package_id

FILE is a view in what is published, and may be a table. One file is there once for each package that it is part of; the
repeats merge later. It must have the three columns of digests, or that of the algorithm which the list was declared as;
sha512 is taken as well where there is such a column. A cell that is NULL or blank is absent; a row without any digest
is bad, and so is one with a malformed cell: then nothing of it is taken.

The database is opened read-only and as one that nobody changes, so nothing is written beside it. It must be a file of
its own: not standard input, not compressed, and with no journal or write-ahead log beside it, whose changes would be
missed.

SQLite keeps no checksums. What a damaged file cannot do is to lose pages, rows of a page or columns of FILE: `_check`
and `_columns` see to that. Other digits in a cell, another key in a row that FILE joins, or another name or condition
in how it joins them have no second source in the file: only the checksum that the NSRL publishes beside it tells.

A database can hold any SQL. What FILE may do is to select from tables of the file, with or without a few functions: no
recursion and no virtual tables. How many steps it may take, and how many rows it may give, follows from the file's
size. A view that sorts or joins may make SQLite write temporary files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from loader.errors import ListDamaged, ListTruncated, ListUnreadable, UnknownColumn, UnknownFormat
from loader.readers.base import Batch, ReadOptions
from loader.readers.faults import digest_fault
from loader.report import FileReport, Unit
from loader.sources import STDIN, ListFile
from snapshot.algorithms import ALGORITHMS, PHOTODNA, Algorithm
from snapshot.hexdigest import ParsedDigests, parse_digests

#: Rows of a batch, so few that one of the longest cells takes no more than 64 MiB for a column.
BATCH_ROWS: Final = 1024
#: The longest row, in bytes: what bounds the memory, and what a step can cost.
MAX_ROW_BYTES: Final = 64 * 1024

# https://www.sqlite.org/fileformat.html, 1.3: the header. Offset, size and meaning, big-endian:
#   0   16  magic
#   16  2   page size; 1 means 65,536
#   18  1   file format write version; 2 means that there may be a write-ahead log
#   20  1   bytes at the end of each page that are not used
#   24  4   file change counter
#   28  4   size of the database in pages, valid if the two counters are equal
#   92  4   the change counter for which that size is valid
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
#: The smallest size of a row in a page: two bytes of pointer, and four of length, rowid and an empty record.
_MIN_ROW_BYTES: Final = 6
# Steps of SQLite's virtual machine: a join of two tables takes 0.3 for a byte of the file, and 100 ns each.
_STEPS_PER_BYTE: Final = 16
_STEPS_AT_LEAST: Final = 10_000_000
_STEPS_BETWEEN_CHECKS: Final = 100_000
_LOCK_BYTE: Final = 1 << 30

# Columns that FILE has in all that is published, for others could be lost without a trace: one byte of the schema is
# enough to rename one, or to make one of two.
_PUBLISHED: Final = ("sha256", "sha1", "md5")
_USED: Final[Mapping[str, Algorithm]] = {name: a for name, a in ALGORITHMS.items() if a is not PHOTODNA}
# A cache of 64 MiB, so that a join does not read its pages again and again. No mapping: if a file is cut while it is
# mapped, that kills the process.
_SETTINGS: Final = (
    "trusted_schema = OFF",
    "query_only = ON",
    "cell_size_check = ON",
    "cache_size = -65536",
    "mmap_size = 0",
)
# What a view may call: functions of a cell that give at most twice the cell, and cost in proportion to it.
_FUNCTIONS: Final = frozenset(
    {"upper", "lower", "substr", "substring", "hex", "length", "typeof", "min", "max"}
    | {"coalesce", "ifnull", "nullif", "iif"}
)
_NOT_PLAIN: Final = "has a FILE that does more than select from tables; check that it is an NSRL RDS of version 3"


class NsrlSqliteReader:
    """`nsrl-sqlite`: 0.9 million rows with three digests a second from a table, 0.35 from a view that joins two."""

    name = "nsrl-sqlite"
    unit: Unit = "record"
    is_text = False

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether it is an SQLite database; whether it has a FILE is seen when it is read."""
        return bool(first_lines) and first_lines[0].startswith(_MAGIC)

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests of up to 1,024 rows, an algorithm at a time.

        Raises ListUnreadable for what is no plain file or has changes pending, UnknownFormat if it is no database or
        has no FILE, UnknownColumn if that has no column with digests, ListTruncated if it is shorter than it says, and
        ListDamaged for any other fault.
        """
        header, size_bytes = _require_whole_file(source)
        try:
            with closing(_open(source.path)) as database:
                yield from _read(database, header, size_bytes, options, report)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise _translated(error, source.path, report.lines_read) from error


def _require_whole_file(source: ListFile) -> tuple[bytes, int]:
    """Give the file's header and its size in bytes, if it is a database that can be opened by its path and is whole."""
    path, size_bytes = source.path, source.size_bytes
    if path == STDIN or size_bytes is None:
        raise ListUnreadable(path, "is not a file, as a database must be to be read; save it as one first")
    try:
        with Path(path).open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise ListUnreadable(path, f"cannot be read: {error.strerror or error}") from error
    if not header.startswith(_MAGIC):
        if source.first_lines() and source.first_lines()[0].startswith(_MAGIC):
            raise ListUnreadable(path, "is a compressed database, which cannot be read in place; decompress it first")
        raise UnknownFormat(path, "is no SQLite database; check --format")
    if len(header) < _HEADER_BYTES:
        raise ListTruncated(path, f"ends within its header, after {len(header)} bytes; fetch it again")
    page_bytes = int.from_bytes(header[16:18], "big")
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    expected = page_bytes * int.from_bytes(header[28:32], "big")
    if header[24:28] == header[92:96] and size_bytes < expected:
        raise ListTruncated(path, f"has {size_bytes:,} bytes of the {expected:,} that it says; fetch it again")
    for suffix in ("-journal", "-wal"):
        beside = Path(path + suffix)
        if beside.exists() and beside.stat().st_size:
            raise ListUnreadable(
                path, f"has changes pending in {beside}; open and close it once with sqlite3, then load it"
            )
    return header, size_bytes


def _open(path: str) -> sqlite3.Connection:
    # Closed by whoever lets go of the generator, which need not be the thread that began.
    uri = Path(path).absolute().as_uri() + "?mode=ro&immutable=1"
    database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    return database


def _read(
    database: sqlite3.Connection, header: bytes, size_bytes: int, options: ReadOptions, report: FileReport
) -> Iterator[Batch]:
    for setting in _SETTINGS:
        database.execute(f"PRAGMA {setting}")
    database.set_progress_handler(_Steps(size_bytes).more, _STEPS_BETWEEN_CHECKS)
    tables = _tables(database, report.path)
    _check(database, header[20], report.path)
    database.set_authorizer(_authorizer(tables))
    algorithms = _columns(database, options, report)
    columns = ", ".join(f'"{algorithm.name}"' for algorithm in algorithms)
    cursor = database.execute(f"SELECT {columns} FROM main.FILE")  # noqa: S608 - our own names
    while rows := cursor.fetchmany(BATCH_ROWS):
        first_row = report.lines_read + 1
        report.lines_read += len(rows)
        if report.lines_read > size_bytes // _MIN_ROW_BYTES:
            raise UnknownFormat(report.path, f"gives more rows than it has room for: it {_NOT_PLAIN}")
        yield from _batches(list(zip(*rows, strict=True)), algorithms, first_row, report)


def _check(database: sqlite3.Connection, reserved_bytes: int, path: str) -> None:
    """Raise ListDamaged for pages that do not hold together, or belong to nothing. Costs a quarter of reading.

    quick_check looks for pages that belong to nothing by itself, but mostly not where there are views: their root page,
    0, is what asks for a check of some tables only, if it comes first. Then a schema that names for a table another
    page than its root would make it a shorter one. So the pages are counted as well.
    """
    if database.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
        raise ListDamaged(path, "does not hold together as a database; fetch it again")
    if database.execute("SELECT 1 FROM main.sqlite_master WHERE ifnull(rootpage, 0) = 0").fetchone() is None:
        return
    if ("ENABLE_DBSTAT_VTAB",) not in database.execute("PRAGMA compile_options").fetchall():
        raise ListUnreadable(
            path, "has views, which cannot be checked for damage: the SQLite of this Python was built without dbstat"
        )
    (used,) = database.execute("SELECT count(*) FROM dbstat('main')").fetchone()
    pages, free, is_vacuumed, page_bytes = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "auto_vacuum", "page_size")
    )
    # https://www.sqlite.org/fileformat.html, 1.4 and 1.8: the page at 1 GiB is never used; with auto_vacuum, the second
    # page has 5 bytes for each of those that follow, and after those comes the next of its kind.
    locked = int(pages > _LOCK_BYTE // page_bytes)
    maps = (pages - 2) // ((page_bytes - reserved_bytes) // 5 + 1) + 1 if is_vacuumed else 0
    if used + free + locked + maps != pages:
        raise ListDamaged(path, f"has {pages:,} pages, of which {used + free:,} are accounted for; fetch it again")


def _tables(database: sqlite3.Connection, path: str) -> frozenset[str]:
    """Give the names, in small letters, of what may be read: tables with pages of their own, and views."""
    rows = database.execute("SELECT lower(name), type, rootpage FROM main.sqlite_master").fetchall()
    tables = frozenset(name for name, kind, page in rows if (kind == "table" and page) or kind == "view")
    if "file" not in tables:
        what = "is a virtual table" if any(name == "file" for name, *_ in rows) else "is not there"
        raise UnknownFormat(path, f"is no NSRL RDS of version 3: its view FILE {what}")
    return tables


def _authorizer(tables: frozenset[str]) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    def decide(action: int, first: str | None, second: str | None, schema: str | None, source: str | None) -> int:
        allowed = action == sqlite3.SQLITE_SELECT
        if action == sqlite3.SQLITE_READ:
            allowed = (first or "").lower() in tables
        elif action == sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() in _FUNCTIONS
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    return decide


class _Steps:
    """Ends a query that takes far more steps than its file's size can account for."""

    def __init__(self, size_bytes: int) -> None:
        self._left = max(_STEPS_AT_LEAST, _STEPS_PER_BYTE * size_bytes) // _STEPS_BETWEEN_CHECKS

    def more(self) -> bool:
        """Count some steps; tell SQLite whether to stop."""
        self._left -= 1
        return self._left < 0


def _columns(database: sqlite3.Connection, options: ReadOptions, report: FileReport) -> list[Algorithm]:
    description = database.execute("SELECT * FROM main.FILE LIMIT 0").description
    names = [str(column[0]).lower() for column in description]
    algorithms = [algorithm for name, algorithm in _USED.items() if name in names]
    if options.algorithm is not None and options.algorithm not in algorithms:
        message = f"the list was declared as {options.algorithm.name}, which is no column of its FILE"
        raise UnknownColumn(report.path, message)
    missing = [name for name in _PUBLISHED if name not in names]
    if missing and options.algorithm is None:
        message = (
            f"its FILE has no column {', '.join(missing)}, which an RDS of version 3 has; fetch it again, or if it is "
            "another database, say with --algorithm which it has"
        )
        raise UnknownColumn(report.path, message)
    return algorithms


def _batches(
    table: Sequence[Sequence[object]], algorithms: Sequence[Algorithm], first_row: int, report: FileReport
) -> Iterator[Batch]:
    """Yield the digests of the rows of which all cells are good; refuse the others. `table` has the columns."""
    parsed = [_parse_column(cells, algorithm) for cells, algorithm in zip(table, algorithms, strict=True)]
    bad = _bad_rows(table, algorithms, parsed)
    for index, (name, why) in sorted(bad.items()):
        report.refuse(first_row + index, name, why)
    for (present, digests), algorithm in zip(parsed, algorithms, strict=True):
        matrix = np.frombuffer(digests.packed, dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
        if bad:
            kept = [p for p in range(digests.count) if present[digests.index_of(p)] not in bad]
            matrix, present = matrix[kept], [present[digests.index_of(p)] for p in kept]  # noqa: PLW2901 - what is left
        if len(matrix):
            report.keep(algorithm, len(matrix))
            rows = [first_row + index for index in present] if len(algorithms) > 1 else None
            yield Batch(algorithm, matrix, rows=rows)


def _parse_column(cells: Sequence[object], algorithm: Algorithm) -> tuple[Sequence[int], ParsedDigests]:
    """Parse the cells that are not absent; give their row indexes too."""
    digests = parse_digests(cells, algorithm)
    if not digests.invalid:
        return range(len(cells)), digests
    present = [index for index, cell in enumerate(cells) if not _is_absent(cell)]
    return present, parse_digests([cells[index] for index in present], algorithm)


def _is_absent(cell: object) -> bool:
    return cell is None or (isinstance(cell, (str, bytes)) and not cell.strip())


def _bad_rows(
    table: Sequence[Sequence[object]],
    algorithms: Sequence[Algorithm],
    parsed: Sequence[tuple[Sequence[int], ParsedDigests]],
) -> dict[int, tuple[str, str]]:
    """Give field and fault of each row that is to be refused, by its index: the first fault of each."""
    bad: dict[int, tuple[str, str]] = {}
    if all(len(present) < len(cells) for cells, (present, _) in zip(table, parsed, strict=True)):
        empty = set(range(len(table[0]))).difference(*(present for present, _ in parsed))
        bad = dict.fromkeys(empty, ("row", "has no digest"))
    for cells, algorithm, (present, digests) in zip(table, algorithms, parsed, strict=True):
        for position, _ in digests.invalid:
            index = present[position]
            bad.setdefault(index, (algorithm.name, digest_fault(cells[index], algorithm)))
    return bad


def _translated(error: sqlite3.Error | UnicodeDecodeError, path: str, rows: int) -> Exception:
    """Give the loader's error for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    where = f"after row {rows:,}"
    # A function that is not allowed, or a table that is not there, is no more than an error.
    if primary in {sqlite3.SQLITE_AUTH, sqlite3.SQLITE_ERROR}:
        return UnknownFormat(path, _NOT_PLAIN)
    if primary == sqlite3.SQLITE_INTERRUPT:
        return UnknownFormat(path, f"takes too long {where}: it {_NOT_PLAIN}")
    if primary == sqlite3.SQLITE_CANTOPEN:
        return ListUnreadable(path, "cannot be opened as a database")
    return ListDamaged(path, f"cannot be read as a database {where} ({type(error).__name__}); fetch it again")
