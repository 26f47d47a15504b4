# pybloom-live ships no types; this covers what the snapshot's filter inherits.
from collections.abc import Callable, Iterator
from typing import BinaryIO, ClassVar, Self

from bitarray import bitarray

class BloomFilter:
    FILE_FMT: ClassVar[bytes]
    error_rate: float
    num_slices: int
    bits_per_slice: int
    capacity: int
    num_bits: int
    count: int
    bitarray: bitarray
    make_hashes: Callable[[bytes], Iterator[int]]
    def __init__(self, capacity: int, error_rate: float = ...) -> None: ...
    def _setup(self, error_rate: float, num_slices: int, bits_per_slice: int, capacity: int, count: int) -> None: ...
    def __contains__(self, key: bytes) -> bool: ...
    def __len__(self) -> int: ...
    def add(self, key: bytes, skip_check: bool = ...) -> bool: ...
    def tofile(self, f: BinaryIO) -> None: ...
    @classmethod
    def fromfile(cls, f: BinaryIO, n: int = ...) -> Self: ...
