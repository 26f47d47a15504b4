"""Everything that can be wrong with what the loader is given.

    LoaderError
    ├── ListFileError             one input file, named by `path`
    │   ├── ListUnreadable        list_unreadable: not there, a directory, no permission, input/output error
    │   ├── ListTruncated         list_truncated: a .gz or .zst that ends early, cut to nothing included
    │   ├── ListDamaged           list_damaged: a .gz or .zst whose bytes do not decompress
    │   ├── ListChanged           list_changed: the file was written to while it was read
    │   ├── BinaryList            binary_list: the file is no text
    │   ├── UnknownFormat         unknown_format: no reader recognises the first lines
    │   ├── UnknownColumn         unknown_column: a CSV column that the header does not have, or no digest column
    │   └── TooManyCategories     too_many_categories: the category column is most likely another column
    ├── TooManyBadLines           too_many_bad_lines
    ├── EmptyResult               empty_result: not a single digest
    ├── LiveListMissing           live_list_missing: a list that is live would vanish
    ├── SealChanged               seal_changed: the store would be sealed with another key, for good
    ├── ClassUnknown              class_unknown: a list, category or reference that is not live, or not approved
    ├── KnownGood                 known_good: a digest that may not be listed
    └── NothingToChange           nothing_to_change: it is so already

A message names file, line and field where there is one, and what to do. Nothing of these publishes anything.
"""

from __future__ import annotations

from typing import ClassVar


class LoaderError(Exception):
    """Root of the family; `reason` is the stable word for scripts."""

    reason: ClassVar[str] = "loader_error"


class ListFileError(LoaderError):
    """One input file is not usable as a whole. `path` is its name as it was given."""

    reason = "list_file"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class ListUnreadable(ListFileError):
    """The file cannot be opened or read."""

    reason = "list_unreadable"


class ListTruncated(ListFileError):
    """A compressed file ends before its end: the missing rest would be silent misses."""

    reason = "list_truncated"


class ListDamaged(ListFileError):
    """A compressed file does not decompress."""

    reason = "list_damaged"


class ListChanged(ListFileError):
    """The file changed while it was read."""

    reason = "list_changed"


class BinaryList(ListFileError):
    """The file is no text."""

    reason = "binary_list"


class UnknownFormat(ListFileError):
    """No reader recognises the file."""

    reason = "unknown_format"


class UnknownColumn(ListFileError):
    """A CSV column that was asked for is not in the header."""

    reason = "unknown_column"


class TooManyCategories(ListFileError):
    """More categories than any supplier has."""

    reason = "too_many_categories"


class TooManyBadLines(LoaderError):
    """More lines were refused than the limit allows."""

    reason = "too_many_bad_lines"


class EmptyResult(LoaderError):
    """The lists hold no digest at all."""

    reason = "empty_result"


class LiveListMissing(LoaderError):
    """A compile would drop a list that is live."""

    reason = "live_list_missing"


class SealChanged(LoaderError):
    """A compile would seal a store with another key, or seal one that is not."""

    reason = "seal_changed"


class ClassUnknown(LoaderError):
    """A list, category or reference that is not live, has no tier, or is not approved."""

    reason = "class_unknown"


class KnownGood(LoaderError):
    """A digest of a file that is known to be harmless."""

    reason = "known_good"


class NothingToChange(LoaderError):
    """What was asked for is so already."""

    reason = "nothing_to_change"
