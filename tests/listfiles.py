"""Small synthetic hash lists in every form that the loader reads: seeded random digests, never real ones."""

from __future__ import annotations

import base64
import gzip
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from snapshot.algorithms import ALGORITHMS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BSD_TAGS = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512"}


def random_digests(algorithm: str, count: int, seed: int | str) -> list[bytes]:
    """Give distinct raw digests that follow from the seed."""
    source = random.Random(f"{algorithm} {seed}")
    return [source.randbytes(ALGORITHMS[algorithm].digest_bytes) for _ in range(count)]


def hex_lines(digests: Iterable[bytes], upper: bool = False) -> bytes:
    """Give a hex list."""
    text = "".join(f"{digest.hex()}\n" for digest in digests)
    return (text.upper() if upper else text).encode()


def base64_lines(digests: Iterable[bytes]) -> bytes:
    """Give a list in base64, as photodna comes."""
    return b"".join(base64.b64encode(digest) + b"\n" for digest in digests)


def gnu_lines(digests: Iterable[bytes]) -> bytes:
    """Give what md5sum and its siblings print: text, binary and escaped names in turn."""
    forms = ("{0}  usr/lib/file {1}\n", "{0} *usr/lib/file {1}\n", "\\{0}  usr/lib/fi\\nle {1}\n")
    return "".join(forms[i % 3].format(digest.hex(), i) for i, digest in enumerate(digests)).encode()


def bsd_lines(algorithm: str, digests: Iterable[bytes]) -> bytes:
    """Give what md5sum --tag and its siblings print."""
    tag = BSD_TAGS[algorithm]
    return "".join(f"{tag} (file ({i}) = x) = {digest.hex()}\n" for i, digest in enumerate(digests)).encode()


def hashdeep_lines(names: list[str], *columns: list[bytes]) -> bytes:
    """Give a hashdeep file with one column of digests for each name."""
    lines = ["%%%% HASHDEEP-1.0", f"%%%% size,{','.join(names)},filename", "## Invoked from: /", "## "]
    for i, row in enumerate(zip(*columns, strict=True)):
        lines.append(f"{i},{','.join(digest.hex() for digest in row)},/srv/file, {i}")
    return ("\n".join(lines) + "\n").encode()


def csv_lines(header: list[str], rows: Iterable[Iterable[str]], delimiter: str = ",") -> bytes:
    """Give a CSV file."""
    return "".join(delimiter.join(cells) + "\n" for cells in [header, *rows]).encode()


def write(path: Path, content: bytes) -> Path:
    """Write a list file, compressed if its name says so; give its path."""
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    elif path.suffix == ".zst":
        content = zstd.compress(content)
    path.write_bytes(content)
    return path
