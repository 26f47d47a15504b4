"""What holds of every reader, whatever bytes it is given: the check that fuzzing and the property tests make.

    check("vics", path)     → the name of the error that the file ends in, or "read"

A file ends in an error of the loader's, or in books that balance: each record or line is kept or refused, its number is
told once, and what is counted is what came. For vics, ncmec and csv there is a second reading, by parsers that have
nothing to do with ours (json and expat, the whole file at once; csv, without the lines that were refused): what was not
refused must be there with all its digests and its labels, and nothing else. So a digest cannot be missed in silence.

Those three are read once more in other pieces, which must change nothing.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import string
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from loader.errors import LoaderError
from loader.readers import READERS
from loader.readers.base import Reader, ReadOptions, Withdrawn
from loader.readers.csv_columns import CsvReader
from loader.readers.csv_header import delimiter_of
from loader.readers.ncmec import NAMESPACE, NcmecReader
from loader.readers.vics import VicsReader
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import ALGORITHMS

#: Of which algorithm, the digest, with which category and reference.
Entry = tuple[str, bytes, str | None, str | None]

#: What reading a file of less than 64 KiB may take, in seconds of the processor.
MAX_SECONDS: Final = 5.0
#: How .gz and .zst begin, skippable frames of the latter too; tests/loader/test_sources.py is about them.
COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", *(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60)))
#: Sizes of the pieces in which a file is read once more, of a small one and of a large one; which of them follows from
#: its length.
PIECES: Final = (1, 2, 7, 64, 300, 5000)
LARGE_BYTES, LARGE_PIECES = 8192, PIECES[3:]

IN_PIECES: Final[dict[str, Callable[[int], Reader]]] = {"vics": VicsReader, "ncmec": NcmecReader, "csv": CsvReader}


@dataclass(slots=True)
class Ledger(FileReport):
    """A report that keeps the number of each line or record that was refused by it."""

    refused: Counter[int] = field(default_factory=Counter)
    unnamed: int = 0

    def refuse(self, line: int, field: str, why: str, line_count: int = 1) -> None:
        FileReport.refuse(self, line, field, why, line_count)
        self.refused.update(range(line, line + line_count))

    def refuse_unnamed(self, line_count: int, last_line: int) -> None:
        FileReport.refuse_unnamed(self, line_count, last_line)
        self.unnamed += line_count


@dataclass(frozen=True)
class Reading:
    """What a file holds. `refused` are numbers of its `count` records, or lines."""

    count: int
    entries: Counter[Entry]
    withdrawn: Counter[str]
    refused: frozenset[int] = frozenset()


def check(name: str, path: Path) -> str:
    """Read a file and check what holds; give the class of the error it ends in, or "read".

    A compressed file is passed over: of 64 KiB, it may stand for one of 60 MiB.

    Raises AssertionError for what does not hold, and whatever else the reader lets through.
    """
    with path.open("rb") as file:
        if file.read(4).startswith(COMPRESSED):
            return "compressed"
    outcome = _read(READERS[name], path)
    if name in IN_PIECES:
        file_bytes = path.stat().st_size
        sizes = PIECES if file_bytes < LARGE_BYTES else LARGE_PIECES
        size = sizes[file_bytes % len(sizes)]
        in_pieces = _read(IN_PIECES[name](size), path)
        # Where a file has two faults, which is seen first may depend on what has been read so far.
        alike = in_pieces == outcome or (isinstance(in_pieces, str) and isinstance(outcome, str))
        assert alike, f"in pieces of {size} bytes: {in_pieces}, else: {outcome}"
    if isinstance(outcome, str):
        return outcome
    if name in SECOND:
        expected = SECOND[name](path, outcome.refused)
        if expected is not None:
            assert outcome.entries == expected.entries, differences(outcome.entries, expected.entries)
            assert outcome.withdrawn == expected.withdrawn, differences(outcome.withdrawn, expected.withdrawn)
            assert outcome.count == expected.count, f"{outcome.count} were counted, there are {expected.count}"
    return "read"


def differences(found: Counter[Any], expected: Counter[Any]) -> str:
    return f"too many: {found - expected}; missing: {expected - found}"


def _read(reader: Reader, path: Path) -> Reading | str:
    report = Ledger(str(path), reader.name, reader.unit)
    entries, withdrawn, counts, taken = Counter[Entry](), Counter[str](), Counter[str](), set[int]()
    begin = time.process_time()
    try:
        with ListFile(path) as source:
            for batch in reader.read(source, ReadOptions(), report):
                if isinstance(batch, Withdrawn):
                    withdrawn.update(batch.references)
                    continue
                name, count = batch.algorithm.name, len(batch.digests)
                assert count, "an empty batch"
                assert batch.digests.shape == (count, batch.algorithm.digest_bytes)
                counts[name] += count
                places = batch.rows or []
                assert len(places) in {0, count}
                assert all(one <= two for one, two in pairwise(places)), "rows do not ascend"
                taken.update(places)
                categories, references = batch.categories or [None] * count, batch.references or [None] * count
                rows = zip(batch.digests, categories, references, strict=True)
                entries.update((name, row.tobytes(), *labels) for row, *labels in rows)
    except LoaderError as error:
        return type(error).__name__
    finally:
        seconds = time.process_time() - begin
        assert seconds < MAX_SECONDS, f"takes {seconds:.1f} s"
    assert report.digests == counts, f"{report.digests} were counted, {counts} came"
    assert report.bad_line_count == report.refused.total() + report.unnamed
    assert all(count == 1 for count in report.refused.values()), f"refused twice: {report.refused}"
    assert all(1 <= number <= report.lines_read for number in report.refused), f"{report.refused}, {report.lines_read}"
    assert bool(report.bad_lines) == bool(report.bad_line_count)
    assert not taken & report.refused.keys(), "a digest stands in a row that was refused"
    assert all(1 <= number <= report.lines_read for number in taken), f"{taken}, {report.lines_read}"
    return Reading(report.lines_read, entries, withdrawn, frozenset(report.refused))


def _content(path: Path) -> bytes:
    return path.read_bytes().removeprefix(b"\xef\xbb\xbf")


def _raw(name: str, text: object) -> bytes:
    """Give the digest that a text stands for, by the plainest means."""
    size = ALGORITHMS[name].digest_bytes
    assert isinstance(text, str), f"{name}: {type(text).__name__} passes for a digest"
    if name == "photodna" and len(text) == 192 and set(text) <= {*string.ascii_letters, *string.digits, *"+/"}:
        return base64.b64decode(text)
    assert len(text) == 2 * size, f"{name}: {len(text)} characters pass for a digest"
    assert set(text) <= {*string.hexdigits}, f"{name}: what is not hex passes for a digest"
    return bytes.fromhex(text)


# --- vics


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, repeated ones too."""

    def all(self, name: str) -> list[Any]:
        return [value for key, value in self if key == name]

    def last(self, name: str) -> Any:
        return self.all(name)[-1] if self.all(name) else None


VICS_KEYS: Final = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "PhotoDNA": "photodna"}
VICS_OURS: Final = {*VICS_KEYS, "MediaID", "Category", "AlternativeHashes"}


def _folded(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def _vics_means(name: str) -> bool:
    """Tell whether a key is one of ours, or nearly."""
    return len(name) <= 64 and _folded(name) in {*map(_folded, VICS_OURS), "media"}


def vics(path: Path, refused: frozenset[int]) -> Reading | None:
    """Read VICS by json at once; None if it is nested more deeply than that takes."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} passes for JSON")

    try:
        whole = json.loads(
            _content(path).decode(), object_pairs_hook=_Pairs, parse_constant=refuse, parse_int=_whole_number
        )
    except RecursionError:
        return None
    (value,) = whole.all("value")
    kind = None
    for name, context in whole:
        if name == "value":
            break
        if name in {"odata.metadata", "@odata.context"}:
            kind = context.rpartition("#")[2]
    entries, count = Counter[Entry](), 0
    for medium in _vics_media(value, kind):
        count += 1
        if count not in refused:
            entries.update(_vics_entries(medium))
    return Reading(count, entries, Counter())


def _whole_number(text: str) -> object:
    return int(text) if len(text) < 4000 else {"a number of": len(text)}


def _vics_media(value: list[Any], kind: str | None) -> Iterator[Any]:
    for element in value:
        if kind == "Media" or not isinstance(element, _Pairs):
            yield element
            continue
        for media in element.all("Media"):
            if isinstance(media, list) and not isinstance(media, _Pairs):
                yield from media
            elif media is not None:
                yield media
        is_case = kind == "Cases" or bool(element.all("Media"))
        if not is_case or any(name != "Media" and _vics_means(name) for name, _ in element):
            yield element


def _vics_entries(medium: Any) -> Counter[Entry]:
    assert isinstance(medium, _Pairs), "what is no object passes for a medium"
    strange = {name for name, _ in medium if _vics_means(name)} - VICS_OURS - {"Media"}
    assert not strange, f"{strange} are passed over"
    for name in VICS_OURS:
        assert len({repr(value) for value in medium.all(name)}) <= 1, f"{name} is there twice, and not the same"
    texts = {(key, medium.last(key)) for key in VICS_KEYS if medium.last(key) not in (None, "")}
    for entry in medium.last("AlternativeHashes") or []:
        keys = [key for key in VICS_KEYS if _folded(key) == _folded(entry.last("HashName")[:65])]
        texts |= {(key, entry.last("HashValue")) for key in keys if entry.last("HashValue") not in (None, "")}
    assert texts, "a medium without a digest is passed over"
    labels = (_vics_label(medium.last("Category")), _vics_label(medium.last("MediaID")))
    found = [(VICS_KEYS[key], _raw(VICS_KEYS[key], text), *labels) for key, text in texts]
    return Counter(found)


def _vics_label(value: object) -> str | None:
    if value is None:
        return None
    assert isinstance(value, str | int), "a label is neither a text nor a number"
    assert not isinstance(value, bool), "true passes for a label"
    return str(value) if str(value).strip() else None


# --- ncmec

NCMEC_KINDS: Final = {"md5": "md5", "sha1": "sha1", "sha256": "sha256", "sha512": "sha512", "pdna": "photodna"}
NCMEC_RECORDS: Final = {"images": ("image", "deletedImage"), "videos": ("video", "deletedVideo")}
NCMEC_MEANT: Final = {*NCMEC_KINDS, "fingerprints", *NCMEC_RECORDS["images"], *NCMEC_RECORDS["videos"]}


def ncmec(path: Path, refused: frozenset[int]) -> Reading | None:
    """Read NCMEC's XML by expat at once; None if that does not take it."""
    try:
        root = ET.fromstring(_content(path))
    except (ET.ParseError, LookupError, ValueError):  # of an encoding that it does not know, too
        return None
    entries, withdrawn, count = Counter[Entry](), Counter[str](), 0
    for record, kind in _ncmec_records(root):
        count += 1
        if count in refused:
            continue
        assert kind, "what does not stand at its place is passed over"
        meant = [element for element in record.iter() if _local(element) in NCMEC_MEANT]
        places = [record, *(child for child in record if _local(child) == "fingerprints")]
        places += [element for place in places[1:] for element in place if _local(element) in NCMEC_KINDS]
        assert {*map(id, meant)} == {*map(id, places)}, "what stands in another element is passed over"
        (member,) = (child.get("id", "").strip(" \t\r\n") for child in record if _local(child) == "member")
        reference = f"{member}/{_only_text(record, 'id')}"
        if kind.startswith("deleted"):
            withdrawn[reference] += 1
            continue
        category = _only_text(record, "classification") or None
        for element in places:
            name = NCMEC_KINDS.get(_local(element), "")
            text = _text(element)
            if name and text:
                entries[name, _raw(name, text), category, reference] += 1
    return Reading(count, entries, withdrawn)


def _ncmec_records(root: ET.Element) -> Iterator[tuple[ET.Element, str]]:
    """Yield each record with its name, and what looks like one elsewhere without, as they come in the file."""
    for section in root:
        of_section = NCMEC_RECORDS.get(_local(section), ())
        if _local(section) in NCMEC_MEANT:
            yield section, ""
            continue
        for child in section:
            if _local(child) in of_section:
                yield child, _local(child)
            else:
                yield from ((element, "") for element in _outermost(child))


def _outermost(element: ET.Element) -> Iterator[ET.Element]:
    if _local(element) in NCMEC_MEANT:
        yield element
    else:
        for child in element:
            yield from _outermost(child)


def _local(element: ET.Element) -> str:
    """Give the name of an element of the format's, "" for others."""
    namespace, _, name = element.tag.removeprefix("{").rpartition("}")
    return name if namespace == NAMESPACE else ""


def _only_text(record: ET.Element, name: str) -> str:
    texts = [_text(child) for child in record if _local(child) == name]
    assert len(texts) <= 1, f"{name} is there twice"
    return texts[0] if texts else ""


def _text(element: ET.Element) -> str:
    return (element.text or "").strip(" \t\r\n")


# --- csv


def table(path: Path, refused: frozenset[int]) -> Reading:
    """Read a table by csv, without the lines that were refused: what is left must be without a fault."""
    with ListFile(path) as source:
        delimiter = delimiter_of(source.first_lines(), ReadOptions())
    lines = _content(path).split(b"\n")
    if not lines[-1]:
        del lines[-1]
    left = b"\n".join(line for number, line in enumerate(lines, start=1) if number not in refused)
    text = left.removesuffix(b"\r").decode("utf-8", "surrogateescape")
    rows = [
        row
        for row in csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
        if any(cell.strip() for cell in row) or len(row) > 1
    ]
    entries = Counter[Entry]()
    if rows:
        header = [_csv_name(cell) for cell in rows[0]]
        for row in rows[1:]:
            assert len(row) == len(header), "a row of another width passes"
            cells = dict(zip(header, row, strict=True))
            labels = [cells[name] if cells.get(name, "").strip() else None for name in ("category", "reference")]
            found = [(name, cells[name]) for name in ALGORITHMS if cells.get(name, "").strip()]
            assert found, "a row without a digest passes"
            entries.update((name, _raw(name, text), labels[0], labels[1]) for name, text in found)
    return Reading(len(lines), entries, Counter())


def _csv_name(cell: str) -> str:
    return "".join(character for character in cell.strip() if character not in "-_ ").lower()


SECOND: Final[dict[str, Callable[[Path, frozenset[int]], Reading | None]]] = {
    "vics": vics,
    "ncmec": ncmec,
    "csv": table,
}
