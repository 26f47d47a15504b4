"""What the overlay changes for the digests of one algorithm: which are never a match, and which are listed on top.

A suppression costs a request nothing until a digest is found listed. An addition costs each digest a gather in a small
bitmap (3 ns at 1,000 digests), and nothing where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.labels import Label
from snapshot.overlay import Overlay

#: Slots of the bitmap, a byte each: with 1,000 additions one digest in 500 falls into one that is taken, and then a
#: dict tells; the whole stays in the processor's second cache.
_SLOTS: Final = 1 << 19
_LAST_SLOT: Final = np.array(_SLOTS - 1, dtype=np.uint32)
#: Below this many digests a dict look-up each is faster than arrays.
_ARRAY_FROM: Final = 13


class Overlaid:
    """The suppressed and added digests of one algorithm. Read-only."""

    __slots__ = ("_digest_bytes", "_record", "_slots", "added", "suppressed")

    def __init__(
        self, algorithm: Algorithm, suppressed: Iterable[bytes], added: Mapping[bytes, tuple[Label, ...]]
    ) -> None:
        self.suppressed = frozenset(suppressed)
        self.added = dict(added)
        self._digest_bytes = algorithm.digest_bytes
        self._record = np.dtype({"names": ["lead"], "formats": ["<u4"], "offsets": [0], "itemsize": self._digest_bytes})
        self._slots = np.zeros(_SLOTS if added else 0, dtype=np.bool_)
        if added:
            self._slots[self._slots_of(b"".join(added))] = True

    def _slots_of(self, packed: bytes) -> npt.NDArray[np.uint32]:
        lead: npt.NDArray[np.uint32] = np.frombuffer(packed, dtype=self._record)["lead"]
        return lead & _LAST_SLOT

    def places(self, packed: bytes, listed: list[int]) -> list[int]:
        """Add to the places that may be listed those of additions; ascending, each once."""
        if not self.added:
            return listed
        length = self._digest_bytes
        perhaps: Iterable[int]
        if len(packed) < _ARRAY_FROM * length:
            perhaps = range(len(packed) // length)
        else:
            perhaps = self._slots.take(self._slots_of(packed)).nonzero()[0].tolist()
        found = [place for place in perhaps if packed[place * length : (place + 1) * length] in self.added]
        return sorted({*listed, *found}) if found else listed


def overlaid_by_algorithm(overlay: Overlay) -> dict[str, Overlaid]:
    """Give what an overlay changes, for each algorithm for which it changes anything.

    Digests are those of a sealed store as they stand in it.
    """
    suppressed: dict[str, list[bytes]] = {}
    added: dict[str, dict[bytes, list[Label]]] = {}
    for suppression in overlay.suppressions:
        suppressed.setdefault(suppression.algorithm, []).append(suppression.raw())
    for addition in overlay.additions:
        added.setdefault(addition.algorithm, {}).setdefault(addition.raw(), []).append(addition.label)
    return {
        name: Overlaid(
            ALGORITHMS[name],
            suppressed.get(name, ()),
            {digest: tuple(labels) for digest, labels in added.get(name, {}).items()},
        )
        for name in sorted(suppressed.keys() | added.keys())
    }
