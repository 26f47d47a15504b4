"""ListFile: whole content or a named error."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import BinaryList, ListChanged, ListDamaged, ListFileError, ListTruncated, ListUnreadable
from loader.sources import PEEK_BYTES, ListFile


def digest_lines(seed: int, count: int) -> bytes:
    chance = random.Random(seed)
    return b"".join(chance.randbytes(32).hex().encode() + b"\n" for _ in range(count))


def read_all(path: Path) -> bytes:
    with ListFile(path) as source:
        return source.read()


COMPRESS = {".gz": gzip.compress, ".zst": zstd.compress}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("named", [True, False])
def test_compressed_content_comes_back_whole(tmp_path: Path, suffix: str, named: bool) -> None:
    content = digest_lines(1, 5000)
    path = tmp_path / ("list" + suffix * named)
    path.write_bytes(COMPRESS[suffix](content))
    assert read_all(path) == content


@pytest.mark.parametrize("suffix", COMPRESS)
def test_several_members_or_frames_are_one_stream(tmp_path: Path, suffix: str) -> None:
    parts = [digest_lines(seed, count) for seed, count in enumerate((700, 0, 1, 3000, 2))]
    path = tmp_path / ("list" + suffix)
    path.write_bytes(b"".join(COMPRESS[suffix](part) for part in parts))
    assert read_all(path) == b"".join(parts)


def test_zstd_skippable_frames_are_passed_over(tmp_path: Path) -> None:
    skippable = bytes.fromhex("502a4d1804000000") + b"\xff\x00\xff\x00"
    content = digest_lines(2, 20)
    path = tmp_path / "list"
    path.write_bytes(skippable + zstd.compress(content) + skippable)
    assert read_all(path) == content


@pytest.mark.parametrize("suffix", COMPRESS)
@given(data=st.data())
def test_a_cut_anywhere_is_truncated(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    content = digest_lines(3, 400)
    whole = COMPRESS[suffix](content)
    cut = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.mktemp("cut") / ("list" + suffix)
    path.write_bytes(whole[:cut])
    with pytest.raises(ListTruncated, match="list"):
        read_all(path)


@pytest.mark.parametrize("suffix", COMPRESS)
@given(data=st.data())
def test_a_cut_in_a_later_member_is_truncated(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    first, second = COMPRESS[suffix](digest_lines(4, 100)), COMPRESS[suffix](digest_lines(5, 100))
    cut = data.draw(st.integers(1, len(second) - 1))
    path = tmp_path_factory.mktemp("cut") / ("list" + suffix)
    path.write_bytes(first + second[:cut])
    with pytest.raises(ListTruncated):
        read_all(path)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_file_of_no_bytes_is_truncated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("LIST" + suffix.upper())
    path.touch()
    with pytest.raises(ListTruncated, match="0 bytes"):
        ListFile(path)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_damaged_byte_is_damage_and_never_content(tmp_path: Path, suffix: str) -> None:
    content = digest_lines(6, 3000)
    options = {zstd.CompressionParameter.checksum_flag: 1}
    whole = gzip.compress(content) if suffix == ".gz" else zstd.compress(content, options=options)
    path = tmp_path / ("list" + suffix)
    chance = random.Random(7)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[chance.randrange(10, len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises((ListDamaged, ListTruncated, BinaryList)):
            read_all(path)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_rubbish_after_the_end_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("list" + suffix)
    path.write_bytes(COMPRESS[suffix](digest_lines(8, 10)) + b"rubbish that is longer than any header")
    with pytest.raises((ListDamaged, ListTruncated)):
        read_all(path)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_plain_file_with_a_compressed_name_is_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("list" + suffix)
    path.write_bytes(digest_lines(9, 3))
    with pytest.raises(ListDamaged, match="rename"):
        ListFile(path)


def test_a_zstd_window_above_128_mib_is_refused(tmp_path: Path) -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    path = tmp_path / "list.zst"
    path.write_bytes(compressor.compress(digest_lines(10, 100)) + compressor.flush())
    with pytest.raises(ListDamaged, match="--long=27"):
        read_all(path)


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ListUnreadable, match="is not there"):
        ListFile(tmp_path / "absent")
    with pytest.raises(ListUnreadable, match="directory"):
        ListFile(tmp_path)
    with pytest.raises(ListUnreadable):
        ListFile("nul\0in the name")


def test_an_input_output_error_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        def readinto(self, buffer: object) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Broken()}))
    with pytest.raises(ListUnreadable, match="Input/output error"):
        ListFile("-")


def test_binary_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(digest_lines(11, 10) + b"\0")
    with ListFile(path) as source, pytest.raises(BinaryList, match="byte 651 is NUL"):
        source.require_text()
    path.write_bytes(gzip.compress(b"SQLite format 3\0"))
    with ListFile(path) as source, pytest.raises(BinaryList):
        source.require_text()
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes(digest_lines(12, 10).decode().encode(encoding))
        with ListFile(path) as source, pytest.raises(BinaryList, match="UTF-16" if encoding == "utf-16" else "NUL"):
            source.require_text()


def test_a_nul_beyond_64_kib_is_the_readers_business(tmp_path: Path) -> None:
    content = digest_lines(13, PEEK_BYTES // 65 + 1) + b"\0\n"
    path = tmp_path / "list"
    path.write_bytes(content)
    assert read_all(path) == content


def test_a_byte_order_mark_is_dropped_once(tmp_path: Path) -> None:
    content = digest_lines(14, 2000)
    path = tmp_path / "list"
    path.write_bytes(b"\xef\xbb\xbf" + content)
    with ListFile(path) as source:
        assert source.first_lines()[0] == content[:64]
        assert source.read() == content
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf\xef\xbb\xbf" + content))
    assert read_all(path) == b"\xef\xbb\xbf" + content


def test_an_empty_plain_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "list"
    for content in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(content)
        with ListFile(path) as source:
            assert source.first_lines() == []
            assert source.read() == b""


def test_first_lines_are_not_consumed(tmp_path: Path) -> None:
    content = b"first\r\nsecond\n\nfourth"
    path = tmp_path / "list"
    path.write_bytes(content)
    with ListFile(path) as source:
        for _ in range(2):
            assert source.first_lines() == [b"first", b"second", b"", b"fourth"]
        assert source.read(3) == b"fir"
        assert source.first_lines()[0] == b"first"
        assert source.read() == content[3:]


def test_first_lines_are_at_most_twenty_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(digest_lines(15, 30))
    with ListFile(path) as source:
        assert len(source.first_lines()) == 20
    path.write_bytes(b"short\n" + b"x" * PEEK_BYTES)
    with ListFile(path) as source:
        assert source.first_lines() == [b"short"]
    path.write_bytes(b"x" * (PEEK_BYTES + 5) + b"\nshort\n")
    with ListFile(path) as source:
        assert source.first_lines() == [b"x" * PEEK_BYTES]


@given(sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=5), suffix=st.sampled_from(["", ".gz", ".zst"]))
def test_reads_of_any_size_give_the_content(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], suffix: str
) -> None:
    content = digest_lines(16, 3000)
    path = tmp_path_factory.mktemp("sizes") / ("list" + suffix)
    path.write_bytes(COMPRESS[suffix](content) if suffix else content)
    with ListFile(path) as source:
        pieces = [source.read(size) for size in sizes]
        assert b"".join([*pieces, *source.chunks(70_001)]) == content
        assert source.read(1) == b""


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_progress_counts_the_bytes_of_the_file_itself(tmp_path: Path, suffix: str) -> None:
    content = digest_lines(17, 20_000)
    path = tmp_path / ("list" + suffix)
    path.write_bytes(COMPRESS[suffix](content) if suffix else content)
    taken: list[int] = []
    with ListFile(path, taken.append) as source:
        assert source.size_bytes == path.stat().st_size
        source.read()
        assert sum(taken) == source.bytes_read == path.stat().st_size
    assert all(taken)


@pytest.mark.parametrize("change", ["append", "cut", "touch"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(digest_lines(18, 10))
    source = ListFile(path)
    source.read()
    if change == "append":
        with path.open("ab") as more:
            more.write(digest_lines(19, 1))
    elif change == "cut":
        os.truncate(path, 65)
    else:
        before = path.stat().st_mtime_ns
        os.utime(path, ns=(before, before + 1))
    with pytest.raises(ListChanged, match="while it was read"):
        source.close()
    source.close()  # a second time is nothing


def test_a_file_that_is_replaced_or_untouched_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(digest_lines(20, 10))
    with ListFile(path) as source:
        other = tmp_path / "other"
        other.write_bytes(b"")
        other.replace(path)
        assert source.read() == digest_lines(20, 10)


def test_an_error_inside_the_block_is_not_hidden_by_a_change(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"x\n")
    with pytest.raises(KeyError), ListFile(path) as source:
        read_a_key_after(source, lambda: path.write_bytes(b"xy\n"))


def read_a_key_after(source: ListFile, change: Callable[[], object]) -> None:
    change()
    raise KeyError(source.path)


def test_standard_input_is_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    content = digest_lines(21, 2000)
    reading, writing = os.pipe()
    feeder = threading.Thread(target=lambda: (os.write(writing, gzip.compress(content)), os.close(writing)))
    feeder.start()
    with os.fdopen(reading, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
        with ListFile("-") as source:
            assert source.size_bytes is None
            assert source.read() == content
        assert not sys.stdin.buffer.closed
        feeder.join()


def test_absent_standard_input_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ListUnreadable):
        ListFile("-")


def test_a_pipe_by_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    feeder = threading.Thread(target=path.write_bytes, args=(digest_lines(22, 10),))
    feeder.start()
    with ListFile(path) as source:
        assert stat.S_ISFIFO(path.stat().st_mode)
        assert source.read() == digest_lines(22, 10)
    feeder.join()


def test_every_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "list.gz"
    path.touch()
    with pytest.raises(ListFileError) as caught:
        ListFile(path)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
