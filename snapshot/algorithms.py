"""The digest algorithms an entry can have, and how a length tells which one it is."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One digest algorithm.

    `digest_bytes` is the raw length; `hex_length` the length of its hexdigest. `declared` algorithms are
    never guessed from a length. `strength` orders them by how surely a digest tells one file from all others; PhotoDNA
    is the same for pictures that look alike. `uniform` says that the bytes of a digest are as good as random, so that a
    filter may take its positions from them without hashing.
    """

    name: str
    digest_bytes: int
    strength: int
    declared: bool = False
    uniform: bool = True

    @property
    def hex_length(self) -> int:
        """Characters in a hexdigest."""
        return 2 * self.digest_bytes

    @property
    def base64_length(self) -> int | None:
        """Characters in its base64 text, for the algorithms that are handed around so (PhotoDNA: 192)."""
        return self.digest_bytes // 3 * 4 if self.name == "photodna" else None


MD5: Final = Algorithm("md5", 16, 1)
SHA1: Final = Algorithm("sha1", 20, 2)
SHA256: Final = Algorithm("sha256", 32, 3)
SHA512: Final = Algorithm("sha512", 64, 4)
# A PhotoDNA vector has 144 components of one byte; they are sums of gradients and far from uniform.
PHOTODNA: Final = Algorithm("photodna", 144, 0, declared=True, uniform=False)

#: Every algorithm by name, in the order in which a snapshot stores them.
ALGORITHMS: Final = MappingProxyType({a.name: a for a in (MD5, SHA1, SHA256, SHA512, PHOTODNA)})

#: The algorithm that an undeclared hexdigest of so many characters is taken for.
BY_HEX_LENGTH: Final = MappingProxyType({a.hex_length: a for a in ALGORITHMS.values() if not a.declared})
