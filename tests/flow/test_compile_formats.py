"""List files of every form, compression and mixture, by the command, down to each digest that is then live."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path

import pytest

from tests import listfiles
from tests.command import compile_lists, hashwacht
from tests.contents import contents, labelled

COUNT = 300
LABEL = ("list", "default", "illegal", None)


def digests(algorithm: str, seed: str = "0") -> list[bytes]:
    return listfiles.random_digests(algorithm, COUNT, seed)


def as_hex(algorithm: str, seed: str = "0") -> bytes:
    return listfiles.hex_lines(digests(algorithm, seed))


def as_csv(algorithm: str, seed: str) -> bytes:
    return listfiles.csv_lines(["name", algorithm], (["x", d.hex()] for d in digests(algorithm, seed)))


FORMS = {
    "hex": as_hex,
    "gnu": lambda algorithm, seed: listfiles.gnu_lines(digests(algorithm, seed)),
    "bsd": lambda algorithm, seed: listfiles.bsd_lines(algorithm, digests(algorithm, seed)),
    "hashdeep": lambda algorithm, seed: listfiles.hashdeep_lines([algorithm], digests(algorithm, seed)),
    "csv": as_csv,
}


@pytest.mark.parametrize(
    ("form", "algorithm"),
    [("hex", "sha512"), ("gnu", "md5"), ("bsd", "sha1"), ("hashdeep", "sha256"), ("csv", "sha256")],
)
def test_each_form_in_each_compression(tmp_path: Path, form: str, algorithm: str) -> None:
    """The three files share no digest, so each of them has been read to its end."""
    files, expected = [], []
    for compression in ("", ".gz", ".zst"):
        expected += digests(algorithm, compression)
        content = FORMS[form](algorithm, compression)
        files.append(listfiles.write(tmp_path / f"list.txt{compression}", content))
    said = compile_lists(tmp_path / "store", *files)
    assert said["algorithms"] == {algorithm: 3 * COUNT}
    assert contents(tmp_path / "store") == labelled({algorithm: expected}, LABEL)


def test_one_compile_mixes_everything(tmp_path: Path) -> None:
    """All forms, all algorithms that have a length of their own, plain and compressed, without extensions."""
    expected: dict[str, list[bytes]] = {}
    files = []
    for number, form in enumerate(FORMS):
        for algorithm in ("md5", "sha1", "sha256", "sha512"):
            plain = listfiles.write(tmp_path / f"{form}-{algorithm}", FORMS[form](algorithm, "0"))
            files.append(plain)
            if number % 2:  # a compressed file without its extension is told by its first bytes
                plain.write_bytes(gzip.compress(plain.read_bytes()))
            expected[algorithm] = digests(algorithm)
    files.insert(3, listfiles.write(tmp_path / "nothing", b""))
    said = compile_lists(tmp_path / "store", *files)
    assert said["files"] == 21
    assert said["empty_files"] == [str(files[3])]
    assert said["digests"] == 5 * 4 * COUNT
    assert said["merged"] == 4 * 4 * COUNT
    assert said["entries"] == 4 * COUNT
    assert contents(tmp_path / "store") == labelled(expected, LABEL)


def test_a_hex_list_mixes_algorithms_by_length(tmp_path: Path) -> None:
    both = {"md5": digests("md5"), "sha512": digests("sha512")}
    lines = [line for pair in zip(*both.values(), strict=True) for line in pair]
    path = listfiles.write(tmp_path / "mixed", listfiles.hex_lines(lines))
    compile_lists(tmp_path / "store", path)
    assert contents(tmp_path / "store") == labelled(both, LABEL)


def test_declared_photodna_comes_in_hex_and_in_base64(tmp_path: Path) -> None:
    in_hex, in_base64 = digests("photodna", "hex"), digests("photodna", "base64")
    path = listfiles.write(tmp_path / "a", listfiles.hex_lines(in_hex) + listfiles.base64_lines(in_base64))
    compile_lists(tmp_path / "store", path, extra=("--algorithm", "photodna"))
    assert contents(tmp_path / "store") == labelled({"photodna": in_hex + in_base64}, LABEL)


def test_photodna_is_never_guessed(tmp_path: Path) -> None:
    path = listfiles.write(tmp_path / "a", listfiles.hex_lines(digests("photodna")))
    said = hashwacht("compile", "--store", tmp_path / "s", "--list-id", "l", "--tier", "other", path, code=3)
    assert "error [unknown_format]" in said.err
    assert not (tmp_path / "s" / "CURRENT").exists()


def test_a_byte_order_mark_crlf_capitals_and_no_last_line_end(tmp_path: Path) -> None:
    lines = listfiles.hex_lines(digests("sha1"), upper=True).replace(b"\n", b"\r\n")
    path = listfiles.write(tmp_path / "a", codecs.BOM_UTF8 + b"# comment\r\n\r\n" + lines.removesuffix(b"\r\n"))
    said = compile_lists(tmp_path / "store", path)
    assert (said["lines"], said["refused"]) == (COUNT + 2, 0)
    assert contents(tmp_path / "store") == labelled({"sha1": digests("sha1")}, LABEL)


@pytest.mark.parametrize("compressed", [False, True])
def test_standard_input(tmp_path: Path, compressed: bool) -> None:
    content = FORMS["gnu"]("sha256", "0")
    said = compile_lists(tmp_path / "store", "-", stdin=gzip.compress(content) if compressed else content)
    assert said["lines"] == COUNT
    assert contents(tmp_path / "store") == labelled({"sha256": digests("sha256")}, LABEL)


def test_standard_input_among_files(tmp_path: Path) -> None:
    path = listfiles.write(tmp_path / "a", as_hex("md5"))
    compile_lists(tmp_path / "store", path, "-", stdin=as_hex("sha1"))
    expected = labelled({"md5": digests("md5"), "sha1": digests("sha1")}, LABEL)
    assert contents(tmp_path / "store") == expected


def test_csv_columns_by_name(tmp_path: Path) -> None:
    """Named columns, another delimiter, categories, references and absent digests."""
    md5, sha1 = digests("md5"), digests("sha1")
    rows = [[d.hex(), "", "Cat A" if i % 2 else "", f"ref {i}"] for i, d in enumerate(md5)]
    rows += [["", d.hex(), "Cat B", ""] for d in sha1]
    path = listfiles.write(tmp_path / "export", listfiles.csv_lines(["MD5 Hash", "SHA", "Cat", "Id"], rows, ";"))
    columns = ("md5=MD5 Hash", "sha1=SHA", "category=Cat", "reference=Id")
    extra = [word for column in columns for word in ("--column", column)]
    extra += ["--delimiter", ";", "--category", "none given"]
    compile_lists(tmp_path / "store", path, extra=extra)
    expected = {
        ("md5", d): (("list", "Cat A" if i % 2 else "none given", "illegal", f"ref {i}"),) for i, d in enumerate(md5)
    }
    expected |= labelled({"sha1": sha1}, ("list", "Cat B", "illegal", None))
    assert contents(tmp_path / "store") == expected


def test_a_declared_format_beats_recognition(tmp_path: Path) -> None:
    path = listfiles.write(tmp_path / "a", as_hex("md5"))
    words = ("compile", "--store", tmp_path / "s", "--list-id", "l", "--tier", "other", "--format", "hashdeep", path)
    said = hashwacht(*words, code=3)
    assert "error [unknown_format]" in said.err
    assert str(path) in said.err


def test_the_same_entries_give_the_same_snapshot_whatever_their_order_and_repeats(tmp_path: Path) -> None:
    one = listfiles.write(tmp_path / "one", as_hex("sha256"))
    two = listfiles.write(tmp_path / "two.zst", FORMS["gnu"]("sha1", "0"))
    first = compile_lists(tmp_path / "store", one, two)
    again = compile_lists(tmp_path / "store", two, one, one)
    elsewhere = compile_lists(tmp_path / "other", two, two, one, extra=("--memory-mib", "64"))
    assert {said["snapshot_id"] for said in (first, again, elsewhere)} == {first["snapshot_id"]}
    assert (first["already_there"], again["already_there"], again["generation"]) == (False, True, 2)
    assert (first["merged"], again["merged"]) == (0, COUNT)
