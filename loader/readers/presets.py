"""Tables whose header is known: what `--column` and `--delimiter` would say, said once.

    nsrl        NSRL RDS text, version 2      "SHA-1","MD5","CRC32","FileName",…
    misp        MISP's hashes.csv             md5,event-uuid
    hashkeeper  HashKeeper                    "file_id","hashset_id","file_name","directory","hash","file_size",…
    icse        an export of Interpol's ICSE  MD5;SHA1;PhotoDNA;Image ID;…;Baseline

They are read by the CSV reader, and all that is said of it holds. A preset is recognised by its whole header, in
capital or small letters. Columns that the operator names are taken instead of a preset's, not beside them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from loader.readers.base import Batch, ReadOptions
from loader.readers.csv_columns import CsvReader
from loader.report import FileReport, Unit
from loader.sources import ListFile


@dataclass(slots=True, kw_only=True)
class CsvPreset:
    """One known table.

    `header` are all names of its header in their order, or the first ones where `more_columns` says that others may
    follow. `columns` maps our names to names of the header, as ReadOptions.columns does. `references_name_entries` is
    Batch's.
    """

    name: str
    header: Sequence[str]
    columns: Mapping[str, str]
    delimiter: str = ","
    more_columns: bool = False
    references_name_entries: bool = True
    unit: Unit = "line"
    is_text: bool = True
    table: CsvReader = field(default_factory=CsvReader)

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether the header is this one, and the operator named no columns."""
        if options.columns:
            return False
        found = [cell.casefold() for cell in _header(first_lines, options.delimiter or self.delimiter)]
        if self.more_columns:
            del found[len(self.header) :]
        return found == [cell.casefold() for cell in self.header]

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield what the CSV reader does with this table's columns and delimiter, or the operator's.

        Raises what it raises, UnknownColumn for one.
        """
        delimiter = options.delimiter or self.delimiter
        columns = options.columns
        if not columns:
            written = {cell.casefold(): cell for cell in _header(source.first_lines(), delimiter)}
            columns = {ours: written.get(theirs.casefold(), theirs) for ours, theirs in self.columns.items()}
        for batch in self.table.read(source, replace(options, columns=columns, delimiter=delimiter), report):
            yield batch if self.references_name_entries else replace(batch, references_name_entries=False)


def _header(first_lines: Sequence[bytes], delimiter: str) -> list[str]:
    """Give the names of the first line that is not blank; none if it is no row."""
    line = next((line for line in first_lines if line.strip(b" \t")), b"")
    try:
        cells = next(csv.reader([line.decode("utf-8", "surrogateescape")], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


#: The presets, in the order of the table above.
PRESETS: Final = (
    CsvPreset(
        name="nsrl",
        header=("SHA-1", "MD5", "CRC32", "FileName", "FileSize", "ProductCode", "OpSystemCode", "SpecialCode"),
        columns={"sha1": "SHA-1", "md5": "MD5"},
    ),
    CsvPreset(
        name="misp",
        header=("md5", "event-uuid"),
        columns={"md5": "md5", "reference": "event-uuid"},
        references_name_entries=False,
    ),
    CsvPreset(
        name="hashkeeper",
        header=("file_id", "hashset_id", "file_name", "directory", "hash", "file_size"),
        columns={"md5": "hash", "reference": "file_id"},
        more_columns=True,
    ),
    CsvPreset(
        name="icse",
        header=(
            "MD5",
            "SHA1",
            "PhotoDNA",
            "Image ID",
            "Is distributed",
            "Victim identified",
            "Offender identified",
            "Series name",
            "Number of submissions",
            "File Available",
            "Media Type",
            "Baseline",
        ),
        columns={
            "md5": "MD5",
            "sha1": "SHA1",
            "photodna": "PhotoDNA",
            "reference": "Image ID",
            "category": "Baseline",
        },
        delimiter=";",
    ),
)
