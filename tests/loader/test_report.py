"""Counts, named bad lines, and the limit."""

from __future__ import annotations

import pytest

from loader.errors import ListTruncated, TooManyBadLines
from loader.report import CompileReport, FileReport, Unit, check_bad_lines, refuse_cut_files
from snapshot.algorithms import MD5, SHA256


def file_report(
    path: str, lines: int, bad: int = 0, kept: int | None = None, *, share: float | None = None, unit: Unit = "line"
) -> FileReport:
    report = FileReport(path, "hex", unit, share, lines_read=lines)
    report.keep(SHA256, lines - bad if kept is None else kept)
    for line in range(1, bad + 1):
        report.refuse(line, "digest", "has 63 characters")
    return report


def test_counts_are_summed_over_files() -> None:
    first, second, empty = file_report("a", 10, 3), file_report("b", 20), file_report("c", 2, kept=0)
    second.keep(MD5, 5)
    second.keep(MD5, 0)
    report = CompileReport([first, second, empty])
    assert report.lines_read == 32
    assert report.digests == {"sha256": 27, "md5": 5}
    assert report.digest_count == 32
    assert report.refused == 3
    assert report.empty_files == ["c"]
    assert "md5" not in first.digests
    assert CompileReport().digests == {}


def test_a_file_of_bad_lines_is_not_called_empty() -> None:
    assert CompileReport([file_report("a", 3, 3)]).empty_files == []


def test_twenty_bad_lines_are_named_and_all_are_counted() -> None:
    report = file_report("a", 100, 25)
    assert not report.names_more
    report.refuse_unnamed(7, 60)
    report.refuse(50, "row", "is malformed", line_count=4)
    assert report.bad_line_count == 36
    assert [bad.line for bad in report.bad_lines] == list(range(1, 21))
    both = CompileReport([file_report("b", 9, 5), report])
    assert [(bad.path, bad.line) for bad in both.bad_lines] == [
        *(("b", line) for line in range(1, 6)),
        *(("a", line) for line in range(1, 16)),
    ]


def test_the_first_lines_stay_named_whatever_order_they_come_in() -> None:
    report = FileReport("a", "csv", lines_read=100)
    for line in [*range(40, 70), 7, 3]:
        report.refuse(line, "row", "is malformed")
    assert [bad.line for bad in report.bad_lines] == [3, 7, *range(40, 58)]
    assert report.bad_line_count == 32


def test_a_bad_line_reads_file_line_field_why() -> None:
    assert str(file_report("lists/a.txt", 1, 1).bad_lines[0]) == "lists/a.txt:1: digest: has 63 characters"


@pytest.mark.parametrize(("lines", "bad", "share"), [(10, 0, 0.0), (10_000, 1, 0.0001), (10, 10, 1.0), (0, 0, 0.0)])
def test_the_limit_itself_is_allowed(lines: int, bad: int, share: float) -> None:
    check_bad_lines(CompileReport([file_report("a", lines, bad, share=share)]))


def test_one_line_too_many_stops_the_compile() -> None:
    with pytest.raises(TooManyBadLines) as caught:
        check_bad_lines(CompileReport([file_report("lists/a.txt", 9_999, 1)]))
    message = str(caught.value)
    assert "1 of 9,999 lines refused" in message
    assert "the limit is 0.01 %" in message
    assert "lists/a.txt:1: digest: has 63 characters" in message
    assert "--max-bad-share" in message
    assert "nothing is published" in message


def test_the_message_names_twenty_lines_and_counts_the_others() -> None:
    with pytest.raises(TooManyBadLines) as caught:
        check_bad_lines(CompileReport([file_report("a", 1_500, 1_200, share=0.0)]))
    message = str(caught.value)
    assert message.count("has 63 characters") == 20
    assert "1,200 of 1,500 lines" in message
    assert "1,180 more" in message


def test_a_small_list_that_was_misread_does_not_hide_behind_a_large_one() -> None:
    files = [file_report("large", 10_000_000), file_report("small", 500, 500)]
    with pytest.raises(TooManyBadLines, match="of small refused"):
        check_bad_lines(CompileReport(files))
    check_bad_lines(CompileReport([file_report("large", 10_000_000), file_report("small", 500, 5)]))
    check_bad_lines(CompileReport([files[0], file_report("small", 500, 500, share=1.0)]))


def test_of_records_none_may_be_bad_unless_said_otherwise() -> None:
    files = [file_report("large", 10_000_000), file_report("small", 10_000_000, 1, unit="record")]
    with pytest.raises(TooManyBadLines, match="small: record 1: digest: has 63 characters"):
        check_bad_lines(CompileReport(files))
    check_bad_lines(CompileReport([file_report("small", 10_000_000, 1, unit="record", share=1e-6)]))


def test_a_list_with_a_limit_of_its_own_does_not_use_that_of_others() -> None:
    files = [file_report("strict", 10_000, 1, share=0.0), file_report("lax", 10_000_000, share=0.5)]
    with pytest.raises(TooManyBadLines, match="1 of 10,000 lines refused"):
        check_bad_lines(CompileReport(files))


def test_a_malformed_last_line_without_an_end_is_a_cut_file() -> None:
    report = file_report("a", 1_000_000, 0)
    report.refuse(1_000_000, "digest", "has 5 characters")
    refuse_cut_files(CompileReport([report]))  # it has a line end: one bad line of a million
    report.unended_line = 1_000_000
    with pytest.raises(ListTruncated, match="line 1,000,000, the last, is malformed and has no line end"):
        refuse_cut_files(CompileReport([file_report("b", 9, 0), report]))


def test_a_good_last_line_without_an_end_is_no_cut() -> None:
    report = file_report("a", 1_000_000, 0)
    report.refuse(999_999, "digest", "has 5 characters")
    report.unended_line = 1_000_000
    refuse_cut_files(CompileReport([report]))
