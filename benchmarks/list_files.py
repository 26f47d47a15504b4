"""Made-up list files as suppliers publish them, large enough to be timed, with what a reader must find in them.

    vics    VICS 2.0: media of some 580 bytes with three digests, flags, tags and a nested list of files
    nsrl    NSRL RDS, version 3: FILE as a table, or as published: a view that joins two tables
    csv     a table with two digests a row and a category, without references
    hex     the digests of that table, one a line

The tests have makers of all forms (tests/samples/forms.py), entry by entry and as small as a form allows: a medium of
180 bytes would make a figure in MB/s that no supplier's file has. These here are as wide as real ones.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from benchmarks.digests import cut, random_digests
from benchmarks.errors import must
from snapshot.algorithms import ALGORITHMS

_CATEGORIES: Final = ("A1", "A2", "B1", "B2")
_VICS_CATEGORIES: Final = ("1", "2")
_VICS_HEAD: Final = (
    '{"@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/Default/$metadata#Media", '
    '"value": [\n'
)
#: The digest of the nested file is not the medium's: a reader that took it would give others than it must.
_MEDIUM: Final = (
    '{{"MediaID": {number}, "Category": {category}, "MD5": "{md5}", "SHA1": "{sha1}", "PhotoDNA": "{photodna}", '
    '"MediaSize": "{size}", "IsPrecategorized": true, "VictimIdentified": false, "IsDistributed": true, '
    '"Tags": "made up", "MimeType": "image/jpeg", "DateUpdated": "2024-10-20T00:00:00Z", "MediaFiles": '
    '[{{"MD5": "{other}", "FileName": "picture {number}.jpg", "FilePath": "made/up"}}]}}'
)
_NSRL_TABLE: Final = ("CREATE TABLE FILE (sha256, sha1, md5, crc32, file_name, file_size, package_id)",)
#: As the NSRL publishes it.
_NSRL_VIEW: Final = (
    "CREATE TABLE METADATA (object_id PRIMARY KEY, sha256, sha1, md5, crc32, file_name, extension, bytes)",
    "CREATE TABLE PACKAGE_OBJECT (package_id, object_id)",
    "CREATE INDEX by_object ON PACKAGE_OBJECT (object_id)",
    """
    CREATE VIEW FILE AS SELECT UPPER(m.sha256) AS sha256, UPPER(m.sha1) AS sha1, UPPER(m.md5) AS md5, m.crc32 AS crc32,
    CASE m.extension WHEN '' THEN m.file_name ELSE m.file_name || '.' || m.extension END AS file_name,
    m.bytes AS file_size, p.package_id AS package_id
    FROM METADATA AS m, PACKAGE_OBJECT AS p WHERE m.object_id = p.object_id
    """,
)
#: What is read of FILE, in this order.
NSRL_SELECT: Final = "SELECT sha256, sha1, md5 FROM FILE"
_NSRL_ALGORITHMS: Final = ("sha256", "sha1", "md5")
#: Packages that a file of the NSRL's is part of, and so its rows in FILE.
_PACKAGES: Final = 2


@dataclass(frozen=True, slots=True)
class ListFileMade:
    """A file, and what is in it: digests by algorithm, packed, in the file's order; labels of the rows, if any.

    Each row has a digest of each algorithm.
    """

    path: Path
    rows: int
    packed: Mapping[str, bytes] = field(repr=False)
    categories: Sequence[str] | None = field(default=None, repr=False)
    references: Sequence[str] | None = field(default=None, repr=False)

    @property
    def digests(self) -> int:
        """Digests of all algorithms."""
        return self.rows * len(self.packed)


def made_digests(seed: int, stream: str, rows: int, *algorithms: str) -> dict[str, bytes]:
    """Give `rows` random digests of each algorithm, packed."""
    return {name: random_digests(seed, f"{stream} {name}", rows, ALGORITHMS[name].digest_bytes) for name in algorithms}


def write_vics(path: Path, seed: int, rows: int) -> ListFileMade:
    """Write media with md5, sha1 and photodna, a category in turn and numbered references."""
    packed = made_digests(seed, "vics", rows, "md5", "sha1", "photodna")
    categories = _in_turn(_VICS_CATEGORIES, rows)
    references = [str(number + 1) for number in range(rows)]
    md5, sha1 = _hex(packed, "md5"), _hex(packed, "sha1")
    photodna = [base64.b64encode(digest).decode() for digest in _cut(packed, "photodna")]
    others = md5[1:] + md5[:1]
    with path.open("w", encoding="ascii") as file:
        file.write(_VICS_HEAD)
        for place, (number, category) in enumerate(zip(references, categories, strict=True)):
            medium = _MEDIUM.format(
                number=number, category=category, md5=md5[place].upper(), sha1=sha1[place].upper(),
                photodna=photodna[place], size=100_000 + place, other=others[place].upper(),
            )  # fmt: skip
            file.write(medium + ("]}\n" if place + 1 == rows else ",\n"))
    return ListFileMade(path, rows, packed, categories, references)


def write_nsrl(path: Path, seed: int, rows: int, *, as_view: bool) -> ListFileMade:
    """Write a database with as many rows in FILE, each file twice in the view; `rows` is to be even.

    Raises WrongAnswer when SQLite gives other rows than were written. Their order is that in which it gives them.
    """
    files = rows // _PACKAGES if as_view else rows
    packed = made_digests(seed, "nsrl", files, *_NSRL_ALGORITHMS)
    texts = list(zip(*(_hex(packed, name) for name in _NSRL_ALGORITHMS), strict=True))
    with closing(sqlite3.connect(path)) as database:
        for statement in _NSRL_VIEW if as_view else _NSRL_TABLE:
            database.execute(statement)
        if as_view:
            database.executemany("INSERT INTO METADATA VALUES (?, ?, ?, ?, '0A0B0C0D', 'made up', 'dll', 68)",
                                 ((number, *row) for number, row in enumerate(texts)))  # fmt: skip
            pairs = ((package, number) for number in range(files) for package in range(_PACKAGES))
            database.executemany("INSERT INTO PACKAGE_OBJECT VALUES (?, ?)", pairs)
        else:
            upper = ([text.upper() for text in row] for row in texts)
            database.executemany("INSERT INTO FILE VALUES (?, ?, ?, '0A0B0C0D', 'made up.dll', 68, 1)", upper)
        database.commit()
        found = [tuple(text.lower() for text in row) for row in database.execute(NSRL_SELECT)]
    must(
        sorted(found) == sorted(texts * (rows // files)) and len(found) == rows,
        "SQLite gives other rows than were written",
    )
    in_order = {
        name: bytes.fromhex("".join(row[place] for row in found)) for place, name in enumerate(_NSRL_ALGORITHMS)
    }
    return ListFileMade(path, rows, in_order)


def write_csv(path: Path, seed: int, rows: int) -> ListFileMade:
    """Write a table of md5, sha256 and a category in turn."""
    packed = made_digests(seed, "csv", rows, "md5", "sha256")
    categories = _in_turn(_CATEGORIES, rows)
    lines = map(",".join, zip(_hex(packed, "md5"), _hex(packed, "sha256"), categories, strict=True))
    path.write_text("\n".join(["md5,sha256,category", *lines, ""]), encoding="ascii")
    return ListFileMade(path, rows, packed, categories)


def write_hex(path: Path, like: ListFileMade) -> ListFileMade:
    """Write the digests of another file as a hex list, row by row."""
    columns = [_hex(like.packed, name) for name in like.packed]
    path.write_text("\n".join([*_row_by_row(columns), ""]), encoding="ascii")
    return ListFileMade(path, like.rows, like.packed)


def _row_by_row(columns: list[list[str]]) -> Iterator[str]:
    for row in zip(*columns, strict=True):
        yield from row


def _in_turn(values: Sequence[str], rows: int) -> list[str]:
    return list(islice(cycle(values), rows))


def _cut(packed: Mapping[str, bytes], name: str) -> list[bytes]:
    return cut(packed[name], 1, ALGORITHMS[name].digest_bytes)


def _hex(packed: Mapping[str, bytes], name: str) -> list[str]:
    return [digest.hex() for digest in _cut(packed, name)]
