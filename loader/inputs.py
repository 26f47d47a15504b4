"""What a compile is told of each list: by the command line, or by a lists file (loader/lists_file.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loader.readers.base import ReadOptions
from snapshot.labels import Tier


@dataclass(frozen=True, slots=True)
class ListInput:
    """One hash list: who it is from, how grave it is, and its files, in the order in which they are read.

    `category` is for rows that name none. Without `tiers` every category has the `tier`; with it those that are in it
    have theirs, `category` the `tier`, and any other is unknown. `deliveries` are the numbers of the deliveries that
    the files belong to, 0 the oldest that counts (loader/lists_file.py); without it all are of one. A `known_good`
    list is never listed: whatever is on it can be on no other (loader/guard.py).
    """

    list_id: str
    tier: Tier
    files: Sequence[str]
    category: str = "default"
    format: str | None = None
    options: ReadOptions = field(default_factory=ReadOptions)
    tiers: Mapping[str, Tier] | None = None
    deliveries: Sequence[int] | None = None
    known_good: bool = False
    max_bad_share: float | None = None

    def tier_of(self, category: str) -> Tier:
        """Give the tier of a category."""
        if self.tiers is None or category == self.category:
            return self.tier
        return self.tiers.get(category, Tier.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a list may change in one compile, as shares of the entries that it has in the live snapshot."""

    max_shrink: float = 0.1
    max_growth: float = 0.5


DEFAULT_LIMITS: Final = Limits()
