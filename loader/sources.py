"""One input file of a compile, or standard input: opened, decompressed, watched for change.

Every reader gets its bytes from a `ListFile`. It knows nothing of lines beyond the first ones, which tell the
formats apart. Its invariant: what it hands out is the whole content, or a named error. A shorter list is
never passed off as a whole one, since each digest of the missing rest would be a silent miss.

One cut cannot be seen: both compressed formats may hold several members (gzip) or frames (zstd) one after
the other, and a file cut exactly between two is a well-formed shorter file.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self, cast

from isal import igzip, igzip_lib

from loader.errors import BinaryList, ListChanged, ListDamaged, ListTruncated, ListUnreadable

if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

#: The name that stands for standard input.
STDIN: Final = "-"
#: What is read ahead to tell formats apart and to refuse binary files: bytes after decompression, and lines.
PEEK_BYTES: Final = 64 * 1024
PEEK_LINES: Final = 20
#: Bytes of one raw chunk.
CHUNK_BYTES: Final = 1 << 20

# RFC 1952, 2.3.1: ID1, ID2. RFC 8878, 3.1.1 and 3.1.2: a frame, and the sixteen skippable frames.
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGICS: Final = (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + low]) + b"\x2a\x4d\x18" for low in range(16)))
_MAGIC_BYTES: Final = 4

_UTF8_BOM: Final = b"\xef\xbb\xbf"
_UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")

# Compressed bytes taken at once. Each frame that ends within a block copies the block's rest, so a large
# block of tiny frames would cost its square.
_BLOCK_BYTES: Final = 64 * 1024


class _Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class _File(_Readable, Protocol):
    def fileno(self) -> int: ...

    def close(self) -> None: ...


class ListFile:
    """One input file, as a stream of decompressed bytes without a byte order mark.

    `path` is a path, or "-" for standard input, which is never closed. `on_bytes` is called with the number
    of bytes just taken from the file itself (compressed, where it is compressed), for a progress bar.
    Compression is told by the first bytes as well as by the names .gz and .zst. Memory: 64 KiB, and what the
    decompressor needs: at most 128 MiB, the largest zstd window that is taken.

    Use it in a `with` statement: leaving it without an exception compares the file's size and modification
    time with those at the beginning.

    Raises ListUnreadable, ListTruncated or ListDamaged, at once and while reading, and ListChanged on leaving. An
    empty plain file is no error, it has no lines.
    """

    def __init__(self, path: str | os.PathLike[str], on_bytes: Callable[[int], None] | None = None) -> None:
        self.path = os.fspath(path)
        self._file = _open(self.path)
        self._status = _status(self._file)
        self._raw = _Raw(self._file, self.path, on_bytes)
        self._closed = False
        try:
            self._stream = self._decompressed()
            text = self._read_head()
            self._peeked = text[:PEEK_BYTES]
            self._head = memoryview(text)
        except BaseException:
            self._release()
            raise

    @property
    def size_bytes(self) -> int | None:
        """The file's size, of which `bytes_read` is a part; None for pipes and devices."""
        return None if self._status is None else self._status[0]

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the file itself so far."""
        return self._raw.taken

    def first_lines(self) -> list[bytes]:
        r"""Give the first lines, at most 20 of the first 64 KiB, without consuming them.

        Line ends (LF or CRLF) are cut off. A line that does not end within the 64 KiB is left out, unless it
        is the only one: then its beginning is given.
        """
        pieces = self._peeked.split(b"\n", PEEK_LINES)
        if len(pieces) > 1 and (len(pieces) > PEEK_LINES or len(self._peeked) == PEEK_BYTES or not pieces[-1]):
            del pieces[-1]
        return [piece.removesuffix(b"\r") for piece in pieces] if self._peeked else []

    def require_text(self) -> None:
        """Raise BinaryList when the first 64 KiB are no text."""
        if self._peeked.startswith(_UTF16_BOMS):
            raise BinaryList(self.path, "is UTF-16 text; convert it first: iconv -f UTF-16 -t UTF-8")
        position = self._peeked.find(b"\0")
        if position >= 0:
            raise BinaryList(self.path, f"is no text: byte {position + 1:,} is NUL; unpack or export it as text first")

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer of bytes from its beginning, perhaps in part; 0 only at the end."""
        if self._head:
            count = min(len(self._head), len(buffer))
            buffer[:count] = self._head[:count]
            self._head = self._head[count:]
            return count
        return self._fill(buffer) if len(buffer) else 0

    def read(self, size: int = -1) -> bytes:
        """Give the next bytes, at most `size` and at least one before the end; all that is left if negative.

        So that parsers which ask for a binary file can take this object.
        """
        if size < 0:
            return b"".join(self.chunks())
        buffer = bytearray(size)
        with memoryview(buffer) as view:
            count = self.readinto(view)
        return bytes(buffer[:count])

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield the rest in pieces of at most `size` bytes, cut anywhere."""
        while chunk := self.read(size):
            yield chunk

    def close(self) -> None:
        """Close the file.

        Raises ListChanged if it was written to since it was opened.
        """
        if self._closed:
            return
        try:
            changed = self._status is not None and _status(self._file) != self._status
        finally:
            self._release()
        if changed:
            raise ListChanged(self.path, "changed while it was read; load it again when it is complete")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._release()

    def _release(self) -> None:
        self._closed = True
        if self.path != STDIN:
            self._file.close()

    def _decompressed(self) -> _Readable:
        magic = self._raw.peek(_MAGIC_BYTES)
        name = self.path.lower()
        if magic.startswith(_GZIP_MAGIC):
            return igzip.IGzipFile(fileobj=self._raw, mode="rb")  # type: ignore[no-untyped-call]  # isal's stubs
        if magic in _ZSTD_MAGICS:
            return _ZstdStream(self._raw)
        for suffix, magics in ((".gz", (_GZIP_MAGIC,)), (".zst", _ZSTD_MAGICS)):
            if not name.endswith(suffix):
                continue
            if any(known.startswith(magic) for known in magics):  # also when there is no byte at all
                raise ListTruncated(self.path, f"is cut off after {len(magic)} bytes; fetch it again")
            raise ListDamaged(self.path, f"is named {suffix} and is not compressed so; rename it or fetch it again")
        return self._raw

    def _read_head(self) -> bytes:
        """Read ahead, and drop the byte order mark."""
        head = bytearray(PEEK_BYTES + len(_UTF8_BOM))
        filled = 0
        with memoryview(head) as view:
            while filled < len(head) and (count := self._fill(view[filled:])):
                filled += count
        return bytes(head[:filled]).removeprefix(_UTF8_BOM)

    def _fill(self, buffer: memoryview) -> int:
        try:
            return self._stream.readinto(buffer) or 0
        except EOFError:
            raise ListTruncated(
                self.path, f"ends before its compressed content does, after {self.bytes_read:,} bytes; fetch it again"
            ) from None
        # BadGzipFile is an OSError; those of the file itself are ListUnreadable by now
        except (OSError, zlib.error, igzip_lib.IsalError, zstd.ZstdError) as error:  # type: ignore[misc]  # isal's stubs
            raise ListDamaged(self.path, f"does not decompress: {error}; {_remedy(error)}") from error


class _Raw(io.RawIOBase):
    """The file's own bytes, counted, with a few that can be looked at before they are read."""

    def __init__(self, file: _Readable, path: str, on_bytes: Callable[[int], None] | None) -> None:
        self.taken = 0
        self._file = file
        self._path = path
        self._on_bytes = on_bytes
        self._ahead = b""

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size:
            block = bytearray(size - len(self._ahead))
            count = self._take(memoryview(block))
            if not count:
                break
            self._ahead += block[:count]
        return self._ahead

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # Buffer is typing's from 3.12 on
        if self._ahead:
            count = min(len(self._ahead), len(buffer))
            buffer[:count] = self._ahead[:count]
            self._ahead = self._ahead[count:]
            return count
        return self._take(buffer)

    def _take(self, buffer: memoryview) -> int:
        try:
            count = self._file.readinto(buffer) or 0
        except OSError as error:
            raise ListUnreadable(self._path, f"cannot be read: {error.strerror or error}") from error
        self.taken += count
        if self._on_bytes is not None and count:
            self._on_bytes(count)
        return count


class _ZstdStream:
    """Frames one after the other, as one stream; EOFError when the last is not finished."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw
        self._frame = zstd.ZstdDecompressor()
        self._begun = False

    def readinto(self, buffer: memoryview, /) -> int:
        while True:
            block = b""
            if self._frame.eof:
                block = self._frame.unused_data
                self._frame, self._begun = zstd.ZstdDecompressor(), False
            if not block and self._frame.needs_input:
                block = self._raw.read(_BLOCK_BYTES) or b""
                if not block and self._begun:
                    raise EOFError
                if not block:
                    return 0
            self._begun = True
            content = self._frame.decompress(block, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)


def _open(path: str) -> _File:
    if path == STDIN:
        if sys.stdin is None:
            raise ListUnreadable(path, "there is no standard input")
        return cast("_File", sys.stdin.buffer)
    try:
        return io.FileIO(path)
    except FileNotFoundError:
        raise ListUnreadable(path, "is not there") from None
    except IsADirectoryError:
        raise ListUnreadable(path, "is a directory; name the files in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ListUnreadable(path, f"cannot be opened: {reason}") from error


def _status(file: _File) -> tuple[int, int] | None:
    """Give size in bytes and modification time in ns; None for what is no regular file."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # io.UnsupportedOperation, of a stream in memory, is one
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _remedy(error: Exception) -> str:
    too_large = "too much memory" in str(error)  # libzstd's ZSTD_error_frameParameter_windowTooLarge
    return "compress it with a window of at most 128 MiB (zstd --long=27)" if too_large else "fetch it again"
