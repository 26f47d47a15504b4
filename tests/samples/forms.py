"""Makers of list files in each form that suppliers publish, out of the same made-up entries.

    entries("a seed", 100, ["md5", "photodna"], ["A1", "A2"])   → entries with random digests that follow from the seed
    MAKERS["vics"](some)                                        → the bytes of a file; every format of READERS has one

What a form has no place for is left away: KEEPS says what remains of an entry.
"""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loader.readers.ncmec import NAMESPACE
from snapshot.algorithms import ALGORITHMS
from tests import listfiles


@dataclass(frozen=True)
class Entry:
    """One file of a supplier's: its digests by algorithm, and what the supplier says of it."""

    digests: dict[str, bytes]
    category: str | None
    reference: str | None

    def hex(self, name: str) -> str:
        return self.digests[name].hex() if name in self.digests else ""

    def base64(self, name: str) -> str:
        return base64.b64encode(self.digests[name]).decode() if name in self.digests else ""


def entries(
    seed: str, count: int, algorithms: Sequence[str], categories: Sequence[str | None] = (None,), reference: str = "{}"
) -> list[Entry]:
    """Give made-up entries: categories in turn, references numbered."""
    chance = random.Random(seed)
    return [
        Entry(
            {name: chance.randbytes(ALGORITHMS[name].digest_bytes) for name in algorithms},
            categories[number % len(categories)],
            reference.format(number + 1),
        )
        for number in range(count)
    ]


def vics(some: Iterable[Entry]) -> bytes:
    """Give VICS 2.0: JSON, media with numbers as ids and categories."""
    names = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512", "photodna": "PhotoDNA"}
    media = [
        {
            "MediaID": int(entry.reference or 0),
            "MediaSize": "68",
            **({} if entry.category is None else {"Category": int(entry.category)}),
            **{key: entry.base64(name) if name == "photodna" else entry.hex(name).upper()
               for name, key in names.items() if name in entry.digests},
        }
        for entry in some
    ]  # fmt: skip
    context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/Default/$metadata#Media"
    return json.dumps({"@odata.context": context, "value": media}, indent=1).encode()


def ncmec(some: Iterable[Entry], withdrawn: Iterable[Entry] = ()) -> bytes:
    """Give NCMEC's XML, with references "member/id" and deletions."""
    names = {"photodna": "pdna"}

    def head(entry: Entry) -> str:
        member, _, number = (entry.reference or "").partition("/")
        return f'<member id="{member}">Made up</member><timestamp>2024-10-20T00:00:00Z</timestamp><id>{number}</id>'

    records = []
    for entry in some:
        prints = "".join(
            f"<{tag}>{entry.base64(name) if name == 'photodna' else entry.hex(name)}</{tag}>"
            for name in entry.digests
            for tag in [names.get(name, name)]
        )
        kind = "" if entry.category is None else f"<classification>{entry.category}</classification>"
        records.append(f"<image>{head(entry)}{kind}<fingerprints>{prints}</fingerprints></image>")
    records += [f"<deletedImage>{head(entry)}</deletedImage>" for entry in withdrawn]
    body = "\n".join(records)
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<queryResult xmlns="{NAMESPACE}">\n'
        f'<images count="{len(records)}">\n{body}\n</images>\n<videos/>\n</queryResult>\n'
    ).encode()


def icse(some: Iterable[Entry]) -> bytes:
    """Give an export of Interpol's ICSE."""
    header = [
        "MD5", "SHA1", "PhotoDNA", "Image ID", "Is distributed", "Victim identified", "Offender identified",
        "Series name", "Number of submissions", "File Available", "Media Type", "Baseline",
    ]  # fmt: skip
    rows = [
        [entry.hex("md5"), entry.hex("sha1"), entry.base64("photodna"), entry.reference or "",
         "Yes", "No", "No", "", "1", "Yes", "Image", entry.category or ""]
        for entry in some
    ]  # fmt: skip
    return listfiles.csv_lines(header, rows, ";")


def csv(some: Iterable[Entry]) -> bytes:
    """Give a CSV whose header has our names."""
    names = ["md5", "sha1", "sha256", "sha512", "photodna"]
    rows = [
        [*(entry.base64(name) if name == "photodna" else entry.hex(name) for name in names),
         entry.category or "", entry.reference or ""]
        for entry in some
    ]  # fmt: skip
    return listfiles.csv_lines([*names, "category", "reference"], rows)


def hashkeeper(some: Iterable[Entry]) -> bytes:
    """Give a HashKeeper table."""
    header = '"file_id","hashset_id","file_name","directory","hash","file_size","date_modified","time_zone"'
    rows = [f'"{e.reference}","12","a.txt","C:\\","{e.hex("md5").upper()}","68","2001-01-01",""' for e in some]
    return "\r\n".join([header, *rows, ""]).encode()


def misp(some: Iterable[Entry]) -> bytes:
    """Give MISP's hashes.csv."""
    return listfiles.csv_lines(["md5", "event-uuid"], ([entry.hex("md5"), entry.reference or ""] for entry in some))


def nsrl(some: Iterable[Entry]) -> bytes:
    """Give the NSRL's text, version 2."""
    header = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"'
    rows = [f'"{e.hex("sha1").upper()}","{e.hex("md5").upper()}","0A0B0C0D","a ""b"".dll",68,1,"362",""' for e in some]
    return "\r\n".join([header, *rows, ""]).encode()


def nsrl_sqlite(some: Iterable[Entry]) -> bytes:
    """Give the NSRL's database, version 3."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "RDS.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE FILE (sha256, sha1, md5, crc32, file_name, file_size, package_id)")
            connection.executemany(
                "INSERT INTO FILE VALUES (?, ?, ?, '0', 'a', 1, 1)",
                [[entry.hex(name).upper() for name in ("sha256", "sha1", "md5")] for entry in some],
            )
            connection.commit()
        return path.read_bytes()


def clamav(some: Iterable[Entry]) -> bytes:
    """Give ClamAV's signatures by hash, of one digest each."""
    return "".join(
        f"{raw.hex()}:68:Made.Up-{entry.reference}:73\n" for entry in some for raw in entry.digests.values()
    ).encode()


def hashsum(some: Iterable[Entry]) -> bytes:
    """Give what md5sum and its siblings print, one after the other."""
    kept = list(some)
    names = dict.fromkeys(name for entry in kept for name in entry.digests)
    return b"".join(listfiles.gnu_lines(e.digests[name] for e in kept if name in e.digests) for name in names)


def hashdeep(some: Iterable[Entry]) -> bytes:
    """Give hashdeep's table; every entry has the same algorithms."""
    kept = list(some)
    names = list(kept[0].digests)
    return listfiles.hashdeep_lines(names, *([entry.digests[name] for entry in kept] for name in names))


def hexlist(some: Iterable[Entry]) -> bytes:
    """Give one hexdigest a line."""
    return listfiles.hex_lines(raw for entry in some for raw in entry.digests.values())


MAKERS: Final[dict[str, Callable[[Iterable[Entry]], bytes]]] = {
    "nsrl-sqlite": nsrl_sqlite,
    "ncmec": ncmec,
    "vics": vics,
    "hashdeep": hashdeep,
    "nsrl": nsrl,
    "misp": misp,
    "hashkeeper": hashkeeper,
    "icse": icse,
    "csv": csv,
    "hashsum": hashsum,
    "clamav": clamav,
    "hex": hexlist,
}


@dataclass(frozen=True)
class Keeps:
    """What of an entry a form holds."""

    algorithms: tuple[str, ...]
    category: bool = False
    reference: bool = False


KEEPS: Final[dict[str, Keeps]] = {
    "nsrl-sqlite": Keeps(("md5", "sha1", "sha256")),
    "ncmec": Keeps(("md5", "sha1", "sha256", "sha512", "photodna"), category=True, reference=True),
    "vics": Keeps(("md5", "sha1", "sha256", "sha512", "photodna"), category=True, reference=True),
    "hashdeep": Keeps(("md5", "sha1", "sha256")),
    "nsrl": Keeps(("md5", "sha1")),
    "misp": Keeps(("md5",), reference=True),
    "hashkeeper": Keeps(("md5",), reference=True),
    "icse": Keeps(("md5", "sha1", "photodna"), category=True, reference=True),
    "csv": Keeps(("md5", "sha1", "sha256", "sha512", "photodna"), category=True, reference=True),
    "hashsum": Keeps(("md5", "sha1", "sha256", "sha512")),
    "clamav": Keeps(("md5", "sha1", "sha256")),
    "hex": Keeps(("md5", "sha1", "sha256", "sha512")),
}
