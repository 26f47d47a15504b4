"""The NSRL's databases: rows and cells, what is no such database, damage, and views that mean harm."""

from __future__ import annotations

import gzip
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import (
    ListDamaged,
    ListFileError,
    ListTruncated,
    ListUnreadable,
    UnknownColumn,
    UnknownFormat,
)
from loader.readers import nsrl
from loader.readers.base import ReadOptions
from loader.readers.nsrl import NsrlSqliteReader
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import MD5, PHOTODNA, SHA512, Algorithm

SIZES = {"sha256": 32, "sha1": 20, "md5": 16}
COLUMNS = "sha256, sha1, md5, crc32, file_name, file_size, package_id"
JOIN = """
    CREATE VIEW FILE AS SELECT UPPER(m.sha256) AS sha256, UPPER(m.sha1) AS sha1, UPPER(m.md5) AS md5, m.crc32 AS crc32,
    CASE m.extension WHEN '' THEN m.file_name ELSE m.file_name || '.' || m.extension END AS file_name,
    m.bytes AS file_size, p.package_id AS package_id
    FROM METADATA AS m, PACKAGE_OBJECT AS p WHERE m.object_id = p.object_id
"""

Row = dict[str, object]


def read(path: Path | str, declared: Algorithm | None = None) -> tuple[dict[str, Counter[bytes]], FileReport]:
    report = FileReport(str(path), "nsrl-sqlite", "record")
    found: dict[str, Counter[bytes]] = defaultdict(Counter)
    with ListFile(path) as source:
        for batch in NsrlSqliteReader().read(source, ReadOptions(declared), report):
            assert batch.digests.shape[1] == batch.algorithm.digest_bytes
            assert batch.categories is None
            assert batch.references is None
            found[batch.algorithm.name].update(row.tobytes() for row in batch.digests)
    assert report.digests == {name: digests.total() for name, digests in found.items()}
    return dict(found), report


def database(path: Path, *statements: str, rows: Iterable[Row] = (), pragmas: Iterable[str] = ()) -> Path:
    """Make a database with a table FILE, or that of the statements, and put rows in it."""
    with closing(sqlite3.connect(path)) as connection:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        for statement in statements or (f"CREATE TABLE FILE ({COLUMNS})",):
            connection.execute(statement)
        for row in rows:
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO FILE ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
        connection.commit()
    return path


def random_row(chance: random.Random) -> dict[str, bytes]:
    return {name: chance.randbytes(size) for name, size in SIZES.items()}


def as_text(digests: dict[str, bytes]) -> Row:
    return {name: digest.hex() for name, digest in digests.items()}


@pytest.mark.parametrize("as_view", [False, True])
def test_the_published_form(tmp_path: Path, rng: random.Random, as_view: bool) -> None:
    rows = [random_row(rng) for _ in range(1000)]
    path = tmp_path / "RDS.db"
    if as_view:
        database(
            path,
            "CREATE TABLE METADATA (object_id PRIMARY KEY, sha256, sha1, md5, crc32, file_name, extension, bytes)",
            "CREATE TABLE PACKAGE_OBJECT (package_id, object_id)",
            "CREATE INDEX by_object ON PACKAGE_OBJECT (object_id)",
            JOIN,
        )
        with closing(sqlite3.connect(path)) as connection:
            for number, row in enumerate(rows):
                values = (number, *(digest.hex() for digest in row.values()), "0", "a", "dll", 1)
                connection.execute("INSERT INTO METADATA VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
                connection.executemany("INSERT INTO PACKAGE_OBJECT VALUES (?, ?)", [(1, number), (2, number)])
            connection.commit()
    else:
        texts = [as_text(row) | {"crc32": "0", "file_name": "a", "file_size": 1} for row in rows]
        database(path, rows=[text | {"package_id": package} for text in texts for package in (1, 2)])
    found, report = read(path)
    assert found == {name: Counter([row[name] for row in rows] * 2) for name in SIZES}  # once for each package
    assert (report.lines_read, report.bad_line_count) == (2000, 0)
    assert sorted(path.parent.iterdir()) == [path]  # nothing is left beside it


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
@pytest.mark.parametrize("page_size", [512, 65_536])
def test_other_forms_of_databases(tmp_path: Path, rng: random.Random, encoding: str, page_size: int) -> None:
    rows = [random_row(rng) for _ in range(50)]
    pragmas = [f"encoding = '{encoding}'", f"page_size = {page_size}"]
    path = database(tmp_path / "a ?#%41 database", rows=map(as_text, rows), pragmas=pragmas)
    assert read(path)[0]["sha1"] == Counter(row["sha1"] for row in rows)


def test_names_of_columns_in_any_case(tmp_path: Path, rng: random.Random) -> None:
    digest = rng.randbytes(64)
    path = database(tmp_path / "db", "CREATE TABLE file (SHA512, Name)", rows=[{"sha512": digest.hex()}])
    assert read(path, SHA512)[0] == {"sha512": Counter([digest])}
    with pytest.raises(UnknownColumn, match="declared as md5"):
        read(path, MD5)
    with pytest.raises(UnknownColumn, match="declared as photodna"):
        read(path, PHOTODNA)


@pytest.mark.parametrize(
    ("form", "missing"),
    [
        ("TABLE FILE (photodna, name)", "sha256, sha1, md5"),
        ("TABLE FILE (sha512)", "sha256, sha1, md5"),
        ("TABLE FILE (sha257, sha1, md5)", "sha256"),
        ("TABLE FILE (sha256, sha1 md5)", "md5"),
        ("VIEW FILE AS SELECT sha256, sha1< md5 FROM t", "sha1, md5"),
    ],
)
def test_a_flipped_bit_cannot_make_an_algorithm_vanish(tmp_path: Path, form: str, missing: str) -> None:
    path = database(tmp_path / "db", "CREATE TABLE t (sha256, sha1, md5)", f"CREATE {form}")
    with pytest.raises(UnknownColumn, match=f"no column {missing}, .*--algorithm"):
        read(path)


@pytest.mark.parametrize("absent", [None, "", "  ", b"", b" "])
def test_absent_cells(tmp_path: Path, rng: random.Random, absent: object) -> None:
    full, part = random_row(rng), random_row(rng)
    rows = [as_text(full), as_text(part) | {"sha256": absent}, dict.fromkeys(SIZES, absent)]
    found, report = read(database(tmp_path / "db", rows=rows))
    both = {name: Counter([full[name], part[name]]) for name in ("sha1", "md5")}
    assert found == both | {"sha256": Counter([full["sha256"]])}
    (bad,) = report.bad_lines
    assert (bad.line, bad.field, bad.why) == (3, "row", "has no digest")
    assert (report.lines_read, report.bad_line_count) == (3, 1)


@pytest.mark.parametrize(
    ("column", "damage", "why"),
    [
        ("md5", lambda text: text[:-1], "has 31 characters"),
        ("sha1", lambda text: text + " ", "has 41 characters"),
        ("sha256", lambda text: text[:-1] + "g", "at position 64"),
        ("sha256", lambda text: "é" + text[1:], "at position 1"),
        ("md5", lambda text: text[:5] + "\0" + text[6:], "at position 6"),
        ("md5", lambda text: text + "\0x", "has 34 characters"),
        ("md5", lambda text: 5, "is int, not a text"),
        ("sha1", lambda text: 5.5, "is float, not a text"),
        ("md5", bytes.fromhex, "has 16 characters"),
    ],
)
def test_nothing_of_a_bad_row_is_taken(
    tmp_path: Path, rng: random.Random, column: str, damage: Callable[[str], object], why: str
) -> None:
    rows = [random_row(rng) for _ in range(3)]
    texts = [as_text(row) for row in rows]
    texts[1][column] = damage(rows[1][column].hex())
    found, report = read(database(tmp_path / "db", rows=texts))
    assert found == {name: Counter([rows[0][name], rows[2][name]]) for name in SIZES}
    (bad,) = report.bad_lines
    assert (bad.line, bad.field) == (2, column)
    assert why in bad.why


@given(forms=st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), max_size=30), batch_rows=st.integers(1, 9))
def test_any_rows_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, forms: list[list[int]], batch_rows: int
) -> None:
    chance, texts, bad = random.Random(str(forms)), [], []
    held: dict[str, Counter[bytes]] = defaultdict(Counter)
    for number, form in enumerate(forms, start=1):
        row = random_row(chance)
        text = as_text(row)
        for name, kind in zip(SIZES, form, strict=True):
            text[name] = [str(text[name])[:-1], None, " "][kind] if kind < 3 else text[name]
        texts.append(text)
        if 0 in form or all(kind < 3 for kind in form):
            bad.append(number)
        else:
            for name, kind in zip(SIZES, form, strict=True):
                held[name].update([row[name]] if kind > 2 else [])
    path = database(tmp_path_factory.mktemp("nsrl") / "db", rows=texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nsrl, "BATCH_ROWS", batch_rows)
        found, report = read(path)
    assert found == {name: digests for name, digests in held.items() if digests}
    assert [entry.line for entry in report.bad_lines] == bad[:20]
    assert (report.lines_read, report.bad_line_count) == (len(forms), len(bad))


def test_what_cannot_be_opened_by_its_path(tmp_path: Path, rng: random.Random) -> None:
    path = database(tmp_path / "db", rows=[as_text(random_row(rng))])
    packed = tmp_path / "db.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ListUnreadable, match="decompress it first"):
        read(packed)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", path, pipe]), pytest.raises(ListUnreadable, match="save it as one first"):
        read(pipe)
    text = tmp_path / "text"
    text.write_bytes(b"0" * 200)
    with pytest.raises(UnknownFormat, match="--format"):
        read(text)


def test_standard_input_is_refused(tmp_path: Path, rng: random.Random) -> None:
    path = database(tmp_path / "db", rows=[as_text(random_row(rng))])
    script = (
        "from loader.readers.nsrl import *\n"
        "try:\n    list(NsrlSqliteReader().read(ListFile('-'), ReadOptions(), FileReport('-', 'nsrl-sqlite')))\n"
        "except ListUnreadable as error:\n    print(error)"
    )
    with path.open("rb") as file:
        said = subprocess.run([sys.executable, "-c", script], stdin=file, capture_output=True, check=True, text=True)
    assert "save it as one first" in said.stdout


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_pending_changes_are_refused(tmp_path: Path, rng: random.Random, suffix: str) -> None:
    path = database(tmp_path / "db", rows=[as_text(random_row(rng))])
    beside = Path(f"{path}{suffix}")
    beside.write_bytes(b"")
    assert read(path)[1].lines_read == 1
    beside.write_bytes(b"x")
    with pytest.raises(ListUnreadable, match=f"db{suffix}"):
        read(path)


@pytest.mark.parametrize(
    ("statements", "error", "match"),
    [
        (("CREATE TABLE other (md5)",), UnknownFormat, "FILE is not there"),
        (("CREATE VIRTUAL TABLE FILE USING fts5 (md5)",), UnknownFormat, "FILE is a virtual table"),
        (("CREATE VIEW FILE AS SELECT md5 FROM nowhere",), UnknownFormat, "more than select"),
        (("CREATE VIEW FILE AS SELECT value AS md5 FROM json_each('[1]')",), UnknownFormat, "more than select"),
        (("CREATE VIEW FILE AS SELECT md5 FROM (SELECT randomblob(9) AS md5)",), UnknownFormat, "more than select"),
        (("CREATE VIEW FILE AS SELECT load_extension('x') AS md5",), UnknownFormat, "more than select"),
        (("CREATE VIEW FILE AS SELECT printf('%.*c', 1000000000, 'x') AS md5",), UnknownFormat, "more than select"),
        (("CREATE VIEW FILE AS SELECT name AS md5 FROM pragma_table_list",), UnknownFormat, "more than select"),
        (("CREATE VIEW FILE AS SELECT sql AS md5 FROM sqlite_master",), UnknownFormat, "more than select"),
        (
            ("CREATE VIEW FILE AS WITH t(a) AS (SELECT 'x' UNION ALL SELECT a FROM t) SELECT a AS md5 FROM t",),
            UnknownFormat,
            "more than select",
        ),
        (
            (
                "CREATE TABLE t (a)",
                "INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)",
                "CREATE VIEW FILE AS SELECT a.a AS md5 FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l",
            ),
            UnknownFormat,
            "more rows than it has room for",
        ),
        (
            (
                "CREATE TABLE t (a)",
                "INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)",
                "CREATE VIEW FILE AS SELECT min(a.a) AS md5 FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k",
            ),
            UnknownFormat,
            "takes too long",
        ),
    ],
)  # fmt: skip
def test_a_view_that_is_no_plain_select_is_refused(
    tmp_path: Path, statements: tuple[str, ...], error: type[ListFileError], match: str
) -> None:
    path = database(tmp_path / "db", *statements)
    with pytest.raises(error, match=match):
        read(path, MD5)


def test_a_view_of_a_view_is_fine(tmp_path: Path, rng: random.Random) -> None:
    row = random_row(rng)
    path = database(
        tmp_path / "db",
        "CREATE TABLE t (m)",
        f"INSERT INTO t VALUES ('{row['md5'].hex()}')",
        "CREATE VIEW v AS SELECT lower(m) AS n FROM t",
        "CREATE VIEW FILE AS SELECT DISTINCT n AS md5 FROM v WHERE length(n) = 32 ORDER BY n",
    )
    assert read(path, MD5)[0] == {"md5": Counter([row["md5"]])}


def test_a_long_cell_is_an_error(tmp_path: Path) -> None:
    path = database(tmp_path / "db", rows=[{"md5": "0" * (1 << 20)}])
    with pytest.raises(ListDamaged, match="after row 0"):
        read(path)


def test_text_that_is_not_utf_8_is_damage(tmp_path: Path) -> None:
    path = database(tmp_path / "db", "CREATE TABLE FILE (md5)", "INSERT INTO FILE VALUES (CAST(x'ff' AS TEXT))")
    with pytest.raises(ListDamaged, match="after row 0"):
        read(path, MD5)


def test_every_truncation_is_noticed(tmp_path: Path, rng: random.Random) -> None:
    content = database(tmp_path / "whole", rows=[as_text(random_row(rng)) for _ in range(60)]).read_bytes()
    path = tmp_path / "db"
    for length in [*range(16, 200), *range(200, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ListTruncated, match="fetch it again"):
            read(path)


def test_a_lost_row_is_damage(tmp_path: Path, rng: random.Random) -> None:
    path = database(tmp_path / "db", rows=[as_text(random_row(rng)) for _ in range(10)])
    content = bytearray(path.read_bytes())
    page_bytes = int.from_bytes(content[16:18], "big")
    assert content[page_bytes + 3 : page_bytes + 5] == b"\0\x0a"  # the rows of the table's only page
    content[page_bytes + 4] = 9
    path.write_bytes(content)
    with pytest.raises(ListDamaged, match="does not hold together"):
        read(path)


def filled(path: Path, *statements: str, rows: int, pragmas: Iterable[str] = ()) -> Path:
    """Make a database of small pages whose FILE is a view of one table, with an index and long cells in another."""
    chance = random.Random(7)
    database(
        path,
        f"CREATE TABLE t ({COLUMNS})",
        "CREATE INDEX i ON t (sha1)",
        "CREATE TABLE long (a)",
        "CREATE VIEW FILE AS SELECT lower(sha256) AS sha256, sha1, md5 FROM t",
        pragmas=["page_size = 512", *pragmas],
    )
    with closing(sqlite3.connect(path)) as connection:
        for _ in range(rows):
            values = tuple(digest.hex() for digest in random_row(chance).values())
            connection.execute("INSERT INTO t VALUES (?, ?, ?, 0, 'a', 1, 1)", values)
        connection.execute("INSERT INTO long VALUES (zeroblob(5000)), (zeroblob(500)), (zeroblob(7000))")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


@pytest.mark.parametrize("vacuum", ["NONE", "FULL", "INCREMENTAL"])
@pytest.mark.parametrize("rows", [0, 1, 30, 250, 1000])
@pytest.mark.parametrize("more", [(), ("DELETE FROM long",), ("DELETE FROM t WHERE rowid > 20", "DELETE FROM long")])
def test_all_pages_are_accounted_for(tmp_path: Path, vacuum: str, rows: int, more: tuple[str, ...]) -> None:
    path = filled(tmp_path / "db", *more, rows=rows, pragmas=[f"auto_vacuum = {vacuum}"])
    assert read(path)[1].lines_read == (min(rows, 20) if len(more) == 2 else rows)


def test_pages_may_have_reserved_bytes(tmp_path: Path) -> None:
    path = database(
        tmp_path / "db", "CREATE TABLE t (a)", "DROP TABLE t", pragmas=["page_size = 512", "auto_vacuum = FULL"]
    )
    content = bytearray(path.read_bytes()[:1024])
    content[20] = 32
    content[105:107] = (512 - 32).to_bytes(2, "big")  # where the content of the first page begins
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as connection:
        for name in ("PRAGMA auto_vacuum", "PRAGMA quick_check"):
            assert connection.execute(name).fetchone() in {(1,), ("ok",)}
    filled(path, rows=400)
    assert path.read_bytes()[20] == 32
    assert read(path)[1].lines_read == 400


@pytest.mark.parametrize("vacuum", ["NONE", "FULL"])
def test_no_other_page_passes_for_a_table(tmp_path: Path, vacuum: str) -> None:
    path = filled(tmp_path / "db", rows=60, pragmas=[f"auto_vacuum = {vacuum}"])
    content = bytearray(path.read_bytes())
    place = content.index(b"tablett") + len(b"tablett")  # type, name and table, then the page
    root = content[place]
    for page in {*range(1, len(content) // 512 + 1)} - {root}:
        content[place] = page
        path.write_bytes(content)
        with pytest.raises(ListDamaged):
            read(path)


def test_an_sqlite_that_cannot_count_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "db", rows=3)

    class Without(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            return super().execute("SELECT 'THREADSAFE=1'" if "compile_options" in sql else sql, *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Without, **k))
    with pytest.raises(ListUnreadable, match="built without dbstat"):
        read(path)


@given(data=st.data())
def test_flipped_bytes_never_make_a_shorter_list(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("flipped")
    path = filled(directory / "db", rows=20)
    content = bytearray(path.read_bytes())
    # The header and the schema, where most can go wrong, as often as all the rest.
    begin, end = data.draw(st.sampled_from([(0, 100), (0, 512), (512, len(content))]))
    flips = data.draw(st.integers(1, 4))
    for _ in range(flips):
        content[data.draw(st.integers(begin, end - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        _, report = read(path)
    except ListFileError:
        return
    assert report.lines_read == 20
    # A byte can make a cell NULL, or another digest: for that there is no second source.
    assert 60 - flips <= report.digest_count + 3 * report.bad_line_count <= 60


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Long cells, joined and sorted: 240 MB of them."""
    path = database(
        tmp_path / "db",
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (hex(zeroblob(15000)))",
        *["INSERT INTO t SELECT a FROM t"] * 6,
        "CREATE VIEW FILE AS SELECT upper(p.a) AS md5, q.a AS sha1 FROM t AS p, t AS q ORDER BY q.rowid",
    )
    script = f"""
import resource
from loader.readers.nsrl import *
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = FileReport("db", "nsrl-sqlite", "record")
with ListFile({str(path)!r}) as source:
    assert not list(NsrlSqliteReader().read(source, ReadOptions(ALGORITHMS["md5"]), report))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, report.bad_line_count)
"""
    said = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True).stdout
    mebibytes, bad = map(int, said.split())
    assert bad == 4096
    assert mebibytes < 200


def test_recognition() -> None:
    reader, options = NsrlSqliteReader(), ReadOptions()
    assert reader.recognises([b"SQLite format 3\0\x10\0"], options)
    assert not reader.recognises([b"SQLite format 3"], options)
    assert not reader.recognises([], options)
