"""The files that the tour of docs/operations.md begins with: two suppliers' deliveries, a customer's file; made up.

python -m tests.samples.first_day DIRECTORY      write them, to follow the page by hand
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path
from typing import Final

from tests import listfiles
from tests.samples.forms import Entry, entries, hexlist

#: A customer's picture, made of random bytes, which the police list by mistake.
HOLIDAY: Final = random.Random("holiday").randbytes(4_321)


def police_csv(some: list[Entry]) -> bytes:
    """Give the table that this supplier sends: headers of its own."""
    rows = [[entry.hex("md5"), entry.hex("sha256"), entry.category or "", entry.reference or ""] for entry in some]
    return listfiles.csv_lines(["MD5", "SHA-256", "Class", "Number"], rows, ";")


def write_files(directory: Path) -> None:
    """Write the files of the page into a directory."""
    for name in ("police", "hotline", "inbox", "uploads"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    november = entries("police", 2_000, ["md5", "sha256"], ["A1", "A1", "A2", "Z"], "P-{:04}")
    picture = {name: hashlib.new(name, HOLIDAY).digest() for name in ("md5", "sha256")}
    november[1_336] = Entry(picture, "A1", "P-1337")
    more = entries("police in december", 150, ["md5", "sha256"], ["A1", "A2"], "P-9{:03}")
    (directory / "police" / "list.csv").write_bytes(police_csv(november))
    (directory / "hotline" / "current.txt").write_bytes(hexlist(entries("hotline", 500, ["sha256"])))
    (directory / "inbox" / "december-cut.csv").write_bytes(police_csv(november[:900]))
    (directory / "inbox" / "december.csv").write_bytes(police_csv(november + more))
    (directory / "uploads" / "holiday.jpg").write_bytes(HOLIDAY)


if __name__ == "__main__":
    write_files(Path(sys.argv[1]))
