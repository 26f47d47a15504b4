"""The three forms of a request, read into columns of digests: the first stage of matching.

    by column   {"sha256": ["…", …], "md5": […]}
    by file     {"files": [{"ref": "u-1", "md5": "…", "sha256": "…"}, …]}
    packed      raw digests of one algorithm, one after the other

The request as a whole is refused (service/problems.py) for what makes its meaning doubtful: broken JSON, a column
nobody knows, too much. A single bad digest or file never is; it becomes an entry in `invalid`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson

from service.inplace import uniform_column
from service.problems import Problem
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.errors import InvalidReason
from snapshot.hexdigest import ParsedDigests, parse_digests

#: Longest `ref` of a file, in characters; it is handed back as it came.
MAX_REF_CHARACTERS: Final = 1024

FileFault = Literal["not_object", "bad_ref", "unknown_algorithm"]

Column = tuple[Algorithm, ParsedDigests]

_COLUMNS: Final = ", ".join(ALGORITHMS)
_HARMLESS_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")


@dataclass(frozen=True, slots=True)
class FileColumn:
    """The digests of one algorithm in a request by file; `owners[i]` is the file of the i-th digest sent."""

    algorithm: Algorithm
    digests: ParsedDigests
    owners: list[int]

    def owner(self, place: int) -> int:
        """Give the file that the good digest at `place` among the packed ones belongs to."""
        return self.owners[self.digests.index_of(place)]


@dataclass(slots=True)
class Files:
    """A request by file: the `ref` of each, columns of all their digests, and the faults of files as such."""

    refs: list[str | None]
    columns: list[FileColumn] = field(default_factory=list)
    faults: dict[int, FileFault] = field(default_factory=dict)

    def malformed(self) -> dict[int, tuple[str, InvalidReason]]:
        """Give (algorithm, reason) of the first malformed digest of each file that has one."""
        found: dict[int, tuple[str, InvalidReason]] = {}
        for column in self.columns:
            for position, why in column.digests.invalid:
                found.setdefault(column.owners[position], (column.algorithm.name, why))
        return found


def read_json(body: bytes, max_digests: int) -> list[Column] | Files:
    """Read a JSON body of either form. Raises Problem."""
    column = uniform_column(body)
    if column is not None:
        _limit(column[1].count, max_digests, "digests")
        return [column]
    try:
        loaded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Only the parser's own words: error.doc is the body.
        raise Problem("malformed_json", f"the body is not JSON: {error.msg} (byte {error.pos})") from None
    if not isinstance(loaded, dict):
        raise Problem(
            "not_an_object", f"the body is not a JSON object of columns; send one with lists of {_COLUMNS}, or of files"
        )
    if not loaded:
        raise Problem("empty_object", f"the object has no column; send at least one of {_COLUMNS}, or files")
    if "files" in loaded:
        return _read_files(loaded, max_digests)
    return _read_columns(loaded, max_digests)


def read_packed(body: bytes, algorithm: Algorithm, max_digests: int) -> list[Column]:
    """Read packed digests. Raises Problem."""
    count, rest = divmod(len(body), algorithm.digest_bytes)
    if rest:
        raise Problem(
            "packed_length",
            f"the body has {len(body):,} bytes, which is not a multiple of the {algorithm.digest_bytes} bytes "
            f"of a {algorithm.name} digest",
        )
    _limit(count, max_digests, "digests")
    return [(algorithm, ParsedDigests(body, count, None, []))]


def _read_columns(loaded: dict[str, list[object]], max_digests: int) -> list[Column]:
    total = 0
    for name, texts in loaded.items():
        if name not in ALGORITHMS:
            raise Problem("unknown_column", f"{_shown(name)} is no column; known are {_COLUMNS}, and files")
        if type(texts) is not list:
            raise Problem("not_a_list", f"the column {name} is no list; send a list of texts, even for one digest")
        total += len(texts)
    _limit(total, max_digests, "digests")
    return [(algorithm := ALGORITHMS[name], parse_digests(texts, algorithm)) for name, texts in loaded.items()]


def _read_files(loaded: dict[str, object], max_digests: int) -> Files:
    if len(loaded) > 1:
        raise Problem("mixed_forms", "files stands beside other columns; send files alone, or columns without files")
    sent = loaded["files"]
    if not isinstance(sent, list):
        raise Problem("not_a_list", "files is no list; send a list of objects, even for one file")
    _limit(len(sent), max_digests, "files")
    files = Files(refs=[None] * len(sent))
    gathered = _gather(sent, files)
    _limit(sum(len(texts) for texts, _ in gathered.values()), max_digests, "digests")
    for name, (texts, owners) in gathered.items():
        if texts:
            algorithm = ALGORITHMS[name]
            files.columns.append(FileColumn(algorithm, parse_digests(texts, algorithm), owners))
    return files


def _gather(sent: list[object], files: Files) -> dict[str, tuple[list[object], list[int]]]:
    """Give the texts of each algorithm with the files they belong to; note refs and faults in `files`."""
    gathered: dict[str, tuple[list[object], list[int]]] = {name: ([], []) for name in ALGORITHMS}
    for index, file in enumerate(sent):
        if type(file) is not dict:
            files.faults[index] = "not_object"
            continue
        for name, value in file.items():
            column = gathered.get(name)
            if column is not None:
                column[0].append(value)
                column[1].append(index)
            elif name != "ref":
                # Its other digests are looked up all the same: a match weighs more than a fault.
                files.faults.setdefault(index, "unknown_algorithm")
            elif value is None or (type(value) is str and len(value) <= MAX_REF_CHARACTERS):
                files.refs[index] = value
            else:
                files.faults[index] = "bad_ref"
    return gathered


def _shown(name: str) -> str:
    """Name a column in a message, unless it might be a digest that strayed there."""
    return f"the key {name}" if _HARMLESS_NAME.fullmatch(name) else "a key of the object"


def _limit(count: int, most: int, what: str) -> None:
    if count > most:
        raise Problem(
            "too_many_digests", f"the request has {count:,} {what}, the limit is {most:,}; send several requests"
        )
