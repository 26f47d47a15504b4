"""The list formats, one module each, and how the format of a file is told from its first lines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from loader.errors import UnknownFormat
from loader.readers.base import Reader, ReadOptions
from loader.readers.clamav import ClamavReader
from loader.readers.csv_columns import CsvReader
from loader.readers.hashdeep import HashdeepReader
from loader.readers.hashsum import HashsumReader
from loader.readers.hexlist import HexListReader
from loader.readers.ncmec import NcmecReader
from loader.readers.nsrl import NsrlSqliteReader
from loader.readers.presets import PRESETS
from loader.readers.vics import VicsReader
from loader.sources import ListFile

_IN_ORDER: Final[tuple[Reader, ...]] = (
    NsrlSqliteReader(), NcmecReader(), VicsReader(), HashdeepReader(), *PRESETS, CsvReader(),
    HashsumReader(), ClamavReader(), HexListReader(),
)  # fmt: skip

#: Every reader by the name that --format takes, in the order in which they are asked to recognise a file.
READERS: Final[Mapping[str, Reader]] = MappingProxyType({reader.name: reader for reader in _IN_ORDER})


def choose_reader(source: ListFile, format_name: str | None, options: ReadOptions) -> Reader:
    """Give the reader of a declared format, or the first that recognises the file's first lines.

    A format is recognised if any of the lines fits it, so that one malformed line does not hide a list. A
    file without anything but blank lines and comments is a hex list.

    Raises UnknownFormat, and BinaryList for what a reader of text is to read and is none.
    """
    known = ", ".join(READERS)
    if format_name is not None:
        reader = READERS.get(format_name)
        if reader is None:
            raise UnknownFormat(source.path, f"there is no format {format_name!r}; --format takes one of {known}")
        return _checked(reader, source)
    lines = source.first_lines()
    for reader in READERS.values():
        if reader.recognises(lines, options):
            return _checked(reader, source)
    source.require_text()
    raise UnknownFormat(
        source.path, f"none of its first {len(lines)} lines is of a known format; say which it is: --format {known}"
    )


def _checked(reader: Reader, source: ListFile) -> Reader:
    if reader.is_text:
        source.require_text()
    return reader
