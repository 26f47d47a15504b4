"""What a list reader is: the contract between a format and the rest of the loader.

A reader is a module with one class that satisfies `Reader`, and an entry in `loader/readers/__init__.py`; a large one
has modules beside it that bear its name.
It turns a source into batches of digests. It knows its format and nothing else: no list_id, no tier, no store.
What it cannot read it reports as a bad line, or record, and goes on; only what spoils the whole file raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from snapshot.algorithms import Algorithm
from snapshot.hexdigest import ByteMatrix

if TYPE_CHECKING:
    from loader.report import FileReport, Unit
    from loader.sources import ListFile


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the operator said about a list's files.

    `algorithm` None: by the length of each hexdigest. `columns` maps our name (md5, sha1, sha256, sha512,
    photodna, category, reference) to the header's; empty: headers that bear our names.
    """

    algorithm: Algorithm | None = None
    columns: dict[str, str] = field(default_factory=dict)
    delimiter: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Digests of one algorithm, in file order.

    `digests` has shape (n, algorithm.digest_bytes). `categories` and `references` are None when no row has
    one, else n long with None where a row has none. `rows` says in which line or record each digest stands, ascending;
    None where a line has one digest at most. `references_name_entries` says that a reference is that of one file; an
    event has many.
    """

    algorithm: Algorithm
    digests: ByteMatrix
    categories: Sequence[str | None] | None = None
    references: Sequence[str | None] | None = None
    rows: Sequence[int] | None = None
    references_name_entries: bool = True


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """References whose entries the supplier takes back, wherever they stand in this delivery or in an earlier one."""

    references: Sequence[str]


class Reader(Protocol):
    """One list format."""

    #: What --format calls it.
    name: str
    #: What it counts and names when it is bad. A format of records is made by a program that makes no mistakes in a
    #: few of them: not one may be bad unless the operator says so.
    unit: Unit
    #: Whether its files are text; else it opens `source.path` by itself.
    is_text: bool

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether a file that begins with these lines (no line ends, no BOM, at most 20) is of this format."""

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch | Withdrawn]:
        """Yield the file's digests; count lines or records and name bad ones in `report`.

        Raises a ListFileError for what spoils the file as a whole.
        """
