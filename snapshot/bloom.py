"""The Bloom filter of one algorithm: pybloom-live's, with hashing that suits digests.

A filter answers "certainly not listed" for 99.9 % of the digests that are not, without touching the store.
pybloom-live gives the sizing, the bit layout and the file; its hashing is replaced, since a digest is
uniform already: the k positions come from its own first 16 bytes.

    h1, h2      = the first and second 8 bytes, little-endian unsigned
    g(i)        = h1 + i · h2                        modulo 2^64, for slice i = 0 … k-1
    position(i) = (upper 32 bits of g(i)) · m >> 32  m = bits per slice; multiply-shift instead of modulo

A PhotoDNA vector is not uniform, so its 16 bytes are a BLAKE2b-128 of the vector.

The file (pybloom-live's own format, little-endian; the subclass's inherited `fromfile` reads it):

    offset  size  type    what
    0       8     double  false-positive rate promised
    8       8     u64     k, number of slices
    16      8     u64     m, bits per slice
    24      8     u64     capacity: the number of entries it was sized for
    32      8     u64     count: the number of entries it holds
    40      …     bits    k · m bits, slice after slice, least significant bit first, zero-padded to a byte

Three classes of code, held equal by a property test: `DigestFilter` (the library's, one by one, the
reference), `build_filter` (bulk, for the loader) and `MappedFilter` (batches, for serving).
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import repeat
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from bitarray import bitarray
from pybloom_live import BloomFilter

from snapshot.algorithms import Algorithm
from snapshot.errors import FilterDamaged

HEADER: Final = struct.Struct("<dQQQQ")
HEADER_BYTES: Final = HEADER.size  # 40

#: Bytes of a digest, or of its hash, that the positions come from.
KEY_BYTES: Final = 16

#: Below this many digests a plain loop beats setting up arrays (measured: break-even at 13).
ARRAY_FROM: Final = 13

#: How many slices are looked at in one go, by the number of digests still in doubt: half of the others drop out with
#: each slice, so fewer slices mean fewer gathers, and more mean fewer calls of numpy (8 µs a go whatever the size).
#: Measured for 1 and 10 million entries: all at once wins up to some 130 digests; two at a time from some 1,500 in a
#: loop, and from some 700 in a server, where requests keep driving the filter out of the processor's caches. From
#: there on the first slice is looked at alone, since there g is h1 and half of the arithmetic falls away (3 to 4 µs of
#: 31 at 1,000 digests, a tenth at 10,000).
_ALL_SLICES_UP_TO: Final = 128
_FOUR_SLICES_UP_TO: Final = 700

#: Multiply-shift takes 32-bit factors. At a rate of 0.001 this is 2.98 billion entries of one algorithm.
MAX_BITS_PER_SLICE: Final = 2**32 - 1

#: Slices that are built side by side, each in a thread.
_SLICES_AT_ONCE: Final = 2
#: Keys whose positions are computed at once: half a mebibyte of them.
_KEYS_IN_CACHE: Final = 1 << 16

_MASK: Final = 2**64 - 1

_KEY: Final = struct.Struct("<QQ")
# Operands as arrays of no dimension: numpy takes a third of a microsecond to turn a Python or numpy number into one.
_32: Final = np.array(32, dtype=np.uint64)
_3: Final = np.array(3, dtype=np.uint64)
_7: Final = np.array(7, dtype=np.uint8)
_1: Final = np.array(1, dtype=np.uint8)

Indices = npt.NDArray[np.intp]
KeyArray = npt.NDArray[np.uint64]


def _positions(key: bytes, num_slices: int, bits_per_slice: int) -> Iterator[int]:
    """Yield the position within each slice for a 16-byte key."""
    step = int.from_bytes(key[8:16], "little")
    g = int.from_bytes(key[:8], "little")
    for _ in range(num_slices):
        yield (g >> 32) * bits_per_slice >> 32
        g = (g + step) & _MASK


def filter_key(digest: bytes, algorithm: Algorithm) -> bytes:
    """Give the 16 bytes that a digest's positions come from."""
    return digest[:KEY_BYTES] if algorithm.uniform else blake2b(digest, digest_size=KEY_BYTES).digest()


class DigestFilter(BloomFilter):
    """pybloom-live's BloomFilter over filter keys: the reference the tests compare with.

    `fromfile` is inherited and gives this hashing back, since it goes through `_setup`; `copy`, `|`, `&`
    and pickling do not and are not used.
    """

    def _setup(self, error_rate: float, num_slices: int, bits_per_slice: int, capacity: int, count: int) -> None:
        super()._setup(error_rate, num_slices, bits_per_slice, capacity, count)
        self.make_hashes: Callable[[bytes], Iterator[int]] = lambda key: _positions(key, num_slices, bits_per_slice)


def filter_shape(capacity: int, false_positive_rate: float) -> tuple[int, int]:
    """Give (slices, bits per slice) that pybloom-live would choose, without allocating them.

    Raises ValueError when a slice would pass MAX_BITS_PER_SLICE.
    """
    import math

    # The library's formula: asking it directly would allocate all the bits.
    num_slices = math.ceil(math.log2(1.0 / false_positive_rate))
    bits = math.ceil(capacity * abs(math.log(false_positive_rate)) / (num_slices * math.log(2) ** 2))
    if bits > MAX_BITS_PER_SLICE:
        raise ValueError(
            f"{capacity} entries at a false-positive rate of {false_positive_rate} pass the filter's limit"
        )
    return num_slices, bits


def keys_of(digests: npt.NDArray[np.uint8], algorithm: Algorithm) -> KeyArray:
    """Give the filter keys of digests (n, L) as an array (n, 2) of h1, h2."""
    if algorithm.uniform:
        head = np.ascontiguousarray(digests[:, :KEY_BYTES])
    else:
        packed = b"".join(filter_key(row.tobytes(), algorithm) for row in digests)
        head = np.frombuffer(packed, dtype=np.uint8).reshape(-1, KEY_BYTES)
    return head.view("<u8")


def build_filter(out: BinaryIO, keys: BinaryIO, count: int, false_positive_rate: float) -> tuple[int, int]:
    """Write the filter of `count` ≥ 1 distinct entries; give (slices, bits per slice).

    `keys` is a seekable file of their keys, 16 bytes each, read once for each pair of slices. Two slices at a time, a
    thread for each: scatter ones into a byte array, pack it, write it. Needs 2 m bytes of memory (2.88 an entry at
    0.001) plus 10 MiB. Cost: about 25 ns an entry on two cores; or-ing bits in place (`np.bitwise_or.at`) costs ten
    times as much, the library's `add` two hundred times. Raises OSError when `keys` has another length.
    """
    num_slices, bits_per_slice = filter_shape(count, false_positive_rate)
    out.write(HEADER.pack(false_positive_rate, num_slices, bits_per_slice, count, count))
    # Filled with zeros, not got as zeros: so its pages are huge, and those of one pair of slices serve the next.
    room = np.empty(7 + _SLICES_AT_ONCE * bits_per_slice, dtype=np.uint8)
    carry = np.empty(0, dtype=np.uint8)  # a slice rarely ends at a byte, so its last bits wait for the next
    with ThreadPoolExecutor(_SLICES_AT_ONCE) as threads:
        for first in range(0, num_slices, _SLICES_AT_ONCE):
            numbers = range(first, min(first + _SLICES_AT_ONCE, num_slices))
            ones = room[: len(carry) + len(numbers) * bits_per_slice]
            ones.fill(0)
            ones[: len(carry)] = carry
            slices = ones[len(carry) :].reshape(len(numbers), bits_per_slice)
            for part in _read_keys(keys, count):
                list(threads.map(_scatter, slices, numbers, repeat(part)))
            whole = len(ones) if numbers.stop == num_slices else len(ones) - len(ones) % 8
            out.write(np.packbits(ones[:whole], bitorder="little").data)
            carry = ones[whole:].copy()
    return num_slices, bits_per_slice


def _scatter(slice_ones: npt.NDArray[np.uint8], number: int, keys: KeyArray) -> None:
    """Set a byte of one slice to 1 for each key. Cost: 4 ns a key while the slice fits the processor's cache."""
    g = np.empty(min(len(keys), _KEYS_IN_CACHE), dtype=np.uint64)
    for start in range(0, len(keys), _KEYS_IN_CACHE):
        some = keys[start : start + _KEYS_IN_CACHE]
        g = g[: len(some)]
        np.multiply(some[:, 1], np.uint64(number), out=g)
        g += some[:, 0]
        g >>= np.uint64(32)
        g *= np.uint64(len(slice_ones))
        g >>= np.uint64(32)
        slice_ones[g.view(np.int64)] = 1


def _read_keys(keys: BinaryIO, count: int) -> Iterator[KeyArray]:
    """Yield all keys in arrays (n, 2), each valid until the next is asked for."""
    buffer = bytearray(KEY_BYTES << 19)
    keys.seek(0)
    read = 0
    while size := keys.readinto(buffer):  # type: ignore[attr-defined]  # typing's BinaryIO lacks what every file has
        read += size
        yield np.frombuffer(buffer, dtype="<u8", count=size // 8).reshape(-1, 2)
    if read != count * KEY_BYTES:
        raise OSError(5, f"{read} bytes of filter keys, not {count * KEY_BYTES}")


class MappedFilter:
    """A filter's file, memory-mapped: all workers of a host share its pages and nothing is copied.

    Not thread-safe by need: it is read-only.
    """

    __slots__ = (
        "_algorithm", "_bits", "_bits_per_slice", "_bytes", "_digest_bytes", "_first_bits", "_map", "_numbers",
        "_offsets", "_record", "bits_per_slice", "count", "false_positive_rate", "num_slices",
    )  # fmt: skip

    def __init__(self, path: Path, algorithm: Algorithm) -> None:
        """Map the file at `path`.

        Raises FilterDamaged for a header that does not fit the file. The caller has compared the file's
        size with the manifest before, since a mapped file that is cut later kills the process (SIGBUS).
        """
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= HEADER_BYTES:
                raise FilterDamaged(path, f"has {size} bytes, a filter has more than {HEADER_BYTES}")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        rate, slices, bits_per_slice, capacity, count = HEADER.unpack_from(self._map)
        if not (0 < rate < 1 and 0 < slices < 64 and 0 < bits_per_slice <= MAX_BITS_PER_SLICE and capacity == count):
            raise FilterDamaged(path, "the header is no filter's")
        if size != HEADER_BYTES + (slices * bits_per_slice + 7) // 8:
            raise FilterDamaged(path, "the header does not fit the file's size")
        self.false_positive_rate = float(rate)
        self.num_slices = int(slices)
        self.bits_per_slice = int(bits_per_slice)
        self.count = int(count)
        self._algorithm = algorithm
        view = memoryview(self._map)[HEADER_BYTES:]
        self._bits = bitarray(buffer=view, endian="little")
        self._bytes = np.frombuffer(view, dtype=np.uint8)
        # Two keys in front of each record, seen through strides: no copy, whatever the digest's length.
        length = algorithm.digest_bytes if algorithm.uniform else KEY_BYTES
        self._record = np.dtype(
            {
                "names": ["h1", "upper half of h1", "h2"],
                "formats": ["<u8", "<u4", "<u8"],
                "offsets": [0, 4, 8],
                "itemsize": length,
            }
        )
        self._digest_bytes = algorithm.digest_bytes
        self._first_bits = tuple(i * self.bits_per_slice for i in range(self.num_slices))
        self._bits_per_slice = np.array(bits_per_slice, dtype=np.uint64)
        self._numbers = np.arange(self.num_slices, dtype=np.uint64)[:, None]
        self._offsets = self._numbers * self._bits_per_slice

    def probe(self, packed: bytes) -> list[int]:
        """Give the indices, ascending, of the digests in `packed` that may be listed; the others are certainly not.

        `packed` is raw digests one after the other. Cost per digest that is not listed: about 0.6 µs for one, 30 ns
        at 1,000, 13 ns at 10,000 (10 million entries, 18 MB of filter).
        """
        length = self._digest_bytes
        if len(packed) == length:
            return [0] if packed in self else []
        if len(packed) < ARRAY_FROM * length:
            return [i for i in range(len(packed) // length) if packed[i * length : (i + 1) * length] in self]
        if not self._algorithm.uniform:
            packed = b"".join(
                filter_key(packed[i : i + length], self._algorithm) for i in range(0, len(packed), length)
            )
        keys = np.frombuffer(packed, dtype=self._record)
        h1, h2 = keys["h1"], keys["h2"]
        if len(keys) > _FOUR_SLICES_UP_TO:
            stop, doubtful = 1, self._first_set(keys["upper half of h1"])
        else:
            stop = self._slices_at_once(len(keys))
            doubtful = self._all_set(h1, h2, 0, stop)
        while stop < self.num_slices and doubtful.size:
            start, stop = stop, stop + self._slices_at_once(doubtful.size)
            doubtful = doubtful[self._all_set(h1[doubtful], h2[doubtful], start, stop)]
        indices: list[int] = doubtful.tolist()
        return indices

    def _slices_at_once(self, digests: int) -> int:
        return self.num_slices if digests <= _ALL_SLICES_UP_TO else 4 if digests <= _FOUR_SLICES_UP_TO else 2

    def _first_set(self, upper: npt.NDArray[np.uint32]) -> Indices:
        """Give the indices of the keys whose bit is set in the first slice, where g is h1: half of the arithmetic."""
        position = np.multiply(upper, self._bits_per_slice, dtype=np.uint64)
        position >>= _32
        return _where_set(self._look_at(position))

    def _all_set(self, h1: KeyArray, h2: KeyArray, start: int, stop: int) -> Indices:
        """Give the indices of the keys whose bits are set in the slices from `start` to before `stop`: one gather."""
        g = self._numbers[start:stop] * h2
        g += h1
        g >>= _32
        g *= self._bits_per_slice
        g >>= _32
        g += self._offsets[start:stop]
        return _where_set(np.bitwise_and.reduce(self._look_at(g), axis=0))

    def _look_at(self, position: KeyArray) -> npt.NDArray[np.uint8]:
        """Give bytes whose lowest bit is the one at each position, counted from the first slice; spoils `position`."""
        bit = position.astype(np.uint8)
        bit &= _7
        position >>= _3
        found = self._bytes.take(position.view(np.int64))
        found >>= bit
        return found

    def __contains__(self, digest: bytes) -> bool:
        bits, m = self._bits, self.bits_per_slice
        g, step = _KEY.unpack_from(digest if self._algorithm.uniform else filter_key(digest, self._algorithm))
        for first in self._first_bits:  # half of the digests that are not listed end in the first turn
            if not bits[first + ((g >> 32) * m >> 32)]:
                return False
            g = (g + step) & _MASK
        return True

    def read_in(self) -> None:
        """Touch every page, so that no request waits for the disk. Cost: disk speed, or 0.1 s per GiB cached."""
        self._bytes[:: mmap.PAGESIZE].sum()


def _where_set(found: npt.NDArray[np.uint8]) -> Indices:
    """Give the indices where the lowest bit is set; spoils `found`."""
    found &= _1
    return found.view(np.bool_).nonzero()[0]
