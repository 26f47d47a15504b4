"""The files of docs/the-wordpress-incident.md: a supplier's two deliveries, and the images of a made-up system.

The images are random bytes, so that the page reads the same on every machine; tests/flow/test_incident.py does the same
with real ones.

    python -m tests.samples.incident DIRECTORY      write them, to follow the page by hand
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path
from typing import Final

from tests import listfiles
from tests.samples.forms import Entry, entries

NAMES: Final = ("admin-logo", "arrow", "blank-avatar", "browser", "default-header", "icon", "media", "rating", "smiley",
                "spinner", "toggle", "welcome")  # fmt: skip
#: What asks the service about files, by their MD5.
ASK: Final = """#!/bin/sh
# Ask the service about files: only their digests are sent.
digests=$(md5sum "$@" | cut -c -32 | paste -sd , | sed 's/,/", "/g')
url="http://127.0.0.1:${HASHWACHT_PORT:-8000}/v1/match"
curl -s "$url" -H 'content-type: application/json' -d "{\\"md5\\": [\\"$digests\\"]}"
"""
LISTS: Final = """\
[[list]]
id = "agency"
format = "csv"
paths = ["agency.csv"]
[list.categories]
"baseline" = "baseline"
"illegal" = "illegal"
"investigative" = "investigative"
"""


def delivery(some: list[Entry]) -> bytes:
    """Give the table that the supplier sends."""
    rows = [[entry.hex("md5"), entry.category or "", entry.reference or ""] for entry in some]
    return listfiles.csv_lines(["md5", "category", "reference"], rows)


def write_files(directory: Path) -> None:
    """Write the files of the page into a directory."""
    for name in ("cms", "inbox"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    chance = random.Random("images")
    images = {name: chance.randbytes(1_000 + chance.randrange(9_000)) for name in NAMES}
    for name, content in images.items():
        (directory / "cms" / f"{name}.png").write_bytes(content)
    before = entries("agency", 3_000, ["md5"], ["baseline", "illegal", "investigative"], "CA-{:05}")
    other = [
        Entry({"md5": hashlib.md5(content).digest()}, "other", f"CA-{90_001 + number}")
        for number, content in enumerate(images.values())
    ]
    other += entries("other", 8, ["md5"], ["other"], "CA-9101{}")
    (directory / "agency.csv").write_bytes(delivery(before))
    (directory / "inbox" / "june.csv").write_bytes(delivery(before + other))
    (directory / "lists.toml").write_text(LISTS)
    (directory / "ask").write_text(ASK)
    (directory / "ask").chmod(0o755)


if __name__ == "__main__":
    write_files(Path(sys.argv[1]))
