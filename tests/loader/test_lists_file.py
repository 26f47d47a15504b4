"""The lists.toml: what it becomes, each fault with its line, and that nothing but a named fault comes of a bad one."""

from __future__ import annotations

import json
import random
import re
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import lists_file
from loader.build import ListInput
from loader.cli import compile_command
from loader.inputs import DEFAULT_LIMITS, Limits
from loader.lists_file import DeliveryTable, ListsFile, ListsFileInvalid, ListTable, read_lists_file
from loader.lists_tables import COLUMN_NAMES, EXPECTED
from loader.readers import READERS
from loader.readers.base import ReadOptions
from loader.toml_places import places_of
from snapshot.algorithms import ALGORITHMS, SHA256
from snapshot.labels import Tier

PAGE = (Path(__file__).parents[2] / "docs" / "lists-file.md").read_text(encoding="utf-8")
#: Files that the lists.toml of these tests may name.
FILES = [
    *(f"police/{name}" for name in ("a.csv", "b.csv", "c.csv", ".hidden.csv", "sub/d.csv")),
    *(f"2026-0{month}/{name}" for month in range(1, 6) for name in ("x.xml", "y.xml")),
    "known/good", "-", "[odd] name", "file.txt",
]  # fmt: skip
MINIMAL = '[[list]]\nid = "police"\npaths = ["police/a.csv"]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lists")
    for name in FILES:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (directory / "police" / "a link").symlink_to("a.csv")
    return directory


def read(folder: Path, text: str | bytes) -> ListsFile:
    path = folder / "lists.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_lists_file(path)


def refused(folder: Path, text: str | bytes) -> ListsFileInvalid:
    with pytest.raises(ListsFileInvalid) as caught:
        read(folder, text)
    assert caught.value.reason == "lists_file_invalid"
    return caught.value


def names(folder: Path, item: ListInput) -> list[str]:
    return [str(Path(file).relative_to(folder)) for file in item.files]


# ---- what it becomes ------------------------------------------------------------------------------------------------


def test_every_key_arrives(folder: Path) -> None:
    found = read(folder, """
        [[list]]
        id = "police"
        kind = "known-bad"
        format = "csv"
        paths = ["police/*.csv"]
        algorithm = "sha256"
        delimiter = "\\t"
        tier = "illegal"
        category = "none given"
        max_bad_share = 0.25
        max_shrink = 0
        max_growth = 3
        [list.columns]
        sha256 = "Hash"
        category = "Class"
        [list.categories]
        "A1" = "baseline"
        'B.2 "x"' = "other"
        [[list]]
        id = "system"
        kind = "known-good"
        paths = ["known/good"]
    """)  # fmt: skip
    assert found.path == folder / "lists.toml"
    assert found.lists == (
        ListInput(
            list_id="police",
            tier=Tier.ILLEGAL,
            files=tuple(str(folder / "police" / name) for name in ("a.csv", "b.csv", "c.csv")),
            category="none given",
            format="csv",
            options=ReadOptions(SHA256, {"sha256": "Hash", "category": "Class"}, "\t"),
            tiers={"A1": Tier.BASELINE, 'B.2 "x"': Tier.OTHER},
            max_bad_share=0.25,
        ),
        ListInput("system", Tier.UNKNOWN, (str(folder / "known" / "good"),), tiers={}, known_good=True),
    )
    assert found.limits == {"police": Limits(0, 3), "system": DEFAULT_LIMITS}


def test_defaults_leave_every_category_off(folder: Path) -> None:
    (item,) = read(folder, MINIMAL).lists
    assert item == ListInput("police", Tier.UNKNOWN, (str(folder / "police" / "a.csv"),), tiers={})
    assert item.tier_of("default") is item.tier_of("A1") is Tier.UNKNOWN
    (item,) = read(folder, MINIMAL + 'tier = "baseline"\n').lists
    assert item.tier_of("default") is Tier.BASELINE
    assert item.tier_of("A1") is Tier.UNKNOWN, "tier is for entries without a category"


def test_the_category_of_entries_that_name_none_may_stand_among_the_others(folder: Path) -> None:
    for tier in ("", 'tier = "baseline"\n'):
        (item,) = read(folder, MINIMAL + tier + '[list.categories]\ndefault = "baseline"\nx = "other"\n').lists
        assert item.tier_of("default") is Tier.BASELINE


def test_a_category_may_be_called_like_a_key_in_quotation_marks(folder: Path) -> None:
    (item,) = read(folder, MINIMAL + "[list.categories]\n\"tier\" = 'other'\n'kind' = 'illegal'\n").lists
    assert item.tiers == {"tier": Tier.OTHER, "kind": Tier.ILLEGAL}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["full"], [(0, 1)]),
        (["full", "delta", "delta"], [(0, 1), (1, 2), (2, 3)]),
        (["full", "delta", "full", "delta"], [(0, 3), (1, 4)]),
        (["delta", "full"], [(0, 2)]),
        (["full", "full"], [(0, 2)]),
    ],
)
def test_the_last_full_delivery_and_the_deltas_after_it_count(
    folder: Path, kinds: list[str], expected: list[tuple[int, int]]
) -> None:
    text = '[[list]]\nid = "x"\n'
    for month, kind in enumerate(kinds, 1):
        text += f'[[list.deliveries]]\nkind = "{kind}"\npaths = ["2026-0{month}/*.xml"]\n'
    (item,) = read(folder, text).lists
    assert item.deliveries == tuple(number for number, _ in expected for _ in "xy")
    assert names(folder, item) == [f"2026-0{month}/{name}.xml" for _, month in expected for name in "xy"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["police/c.csv", "police/[ab].csv"], ["police/c.csv", "police/a.csv", "police/b.csv"]),
        (["police/**/*.csv"], ["police/a.csv", "police/b.csv", "police/c.csv", "police/sub/d.csv"]),
        (["./police/../police/.h*"], ["police/../police/.hidden.csv"]),
        (["[[]odd] name", "-"], ["[odd] name", "-"]),
    ],
)
def test_globs(folder: Path, patterns: list[str], expected: list[str]) -> None:
    (item,) = read(folder, f'[[list]]\nid = "x"\npaths = {json.dumps(patterns)}\n').lists
    assert names(folder, item) == expected


def test_paths_start_from_the_file_wherever_one_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f'[[list]]\nid = "x"\npaths = ["-", "{folder}/police/a.csv"]\n'
    monkeypatch.chdir(folder)
    read(folder, text)
    (item,) = read_lists_file(Path("lists.toml")).lists
    assert item.files == ("./-", str(folder / "police" / "a.csv")), "a file called - is not standard input"
    monkeypatch.chdir(folder / "police")
    (item,) = read_lists_file(Path("../lists.toml")).lists
    assert item.files == ("../-", str(folder / "police" / "a.csv"))


@pytest.mark.parametrize("change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n")])
def test_byte_order_mark_and_crlf(folder: Path, change: Any) -> None:
    assert read(folder, change(MINIMAL.encode())).lists == read(folder, MINIMAL).lists
    error = refused(folder, change((MINIMAL + 'category = """\\\n x"""\ncolour = 1').encode()))
    assert [fault.line for fault in error.faults] == [6]


@pytest.mark.parametrize(
    ("list_id", "good"),
    [("a", True), ("A-b_c.9", True), ("x" * 64, True), ("x" * 65, False), ("", False), (".x", False), ("a b", False),
     ("é", False), ("a\n", False)],
)  # fmt: skip
def test_an_id_is_what_list_id_takes(folder: Path, list_id: str, good: bool) -> None:
    words = ["--store", "s", "--list-id", list_id, "--tier", "other", "file"]
    text = f'[[list]]\nid = {json.dumps(list_id)}\npaths = ["file.txt"]\n'
    if good:
        assert compile_command.make_context("compile", words).params["list_id"] == list_id
        assert read(folder, text).lists[0].list_id == list_id
        return
    with pytest.raises(click.BadParameter):
        compile_command.make_context("compile", words)
    (fault,) = refused(folder, text).faults
    assert (fault.line, fault.field) == (2, "id")


# ---- each fault, with its line --------------------------------------------------------------------------------------

POLICE, X = 'list "police": ', 'list "x": '
BEGUN = '[[list]]\nid = "x"\n'
LAST = '[[list.deliveries]]\nkind = "full"\npaths = ["file.txt"]'
GOOD = '[[list]]\nid = "g"\nkind = "known-good"\npaths = ["known/good"]\n'
#: TOML with `<-` in a comment on the line that the fault is to name, and what it is to say after `file:line: `.
FAULTS = {
    "no list": ("# nothing <-", "there is no list; describe each in a table of its own: [[list]]"),
    "no list in brackets": ('list = "police" # <-', "list: write every list as a table with double brackets"),
    "an empty array of lists": ("list = [] # <-", "list: write every list as a table with double brackets"),
    "single brackets": ('[list] # <-\nid = "police"', "list: write every list as a table with double brackets"),
    "other table": (MINIMAL + "[[lists]] # <-", "lists: is no key here; did you mean [[list]]?"),
    "other key": ("[store] # <-\n" + MINIMAL, "store: is no key here; the file consists of [[list]] tables"),
    "above the list": ('id = "police" # <-\n' + MINIMAL, "id: is a key of a list; move it below its [[list]]"),
    "syntax": ('[[list]]\nid = "police # <-\npaths = []', "is no valid TOML: "),
    "a key twice": (MINIMAL + 'id = "police" # <-', "is no valid TOML: "),
    "syntax at the end": ('[[list]]\nid = """police # <-', "is no valid TOML: "),
    "key": (MINIMAL + "max_badshare = 0.1 # <-", POLICE + "max_badshare: is no key here; did you mean max_bad_share?"),
    "far-off key": (MINIMAL + "q = 0.1 # <-", POLICE + "q: is no key here; known are id, kind, format, paths,"),
    "no id": ('[[list]] # <-\npaths = ["police/a.csv"]', "list 1: id: is missing; write a name of 1 to 64 letters"),
    "bad id": (
        '[[list]]\npaths = ["police/a.csv"]\nid = "po lice" # <-',
        'list "po lice": id: is "po lice"; write a name',
    ),
    "id of another type": ('[[list]]\npaths = ["police/a.csv"]\nid = 5 # <-', "list 1: id: is 5; write a name of 1 to"),
    "two of one id": (
        MINIMAL + '[[list]]\npaths = ["file.txt"]\nid = "police" # <-',
        POLICE + "id: is the id of the list at line 2 too; choose another",
    ),
    "tier": (MINIMAL + 'tier = "baselin" # <-', POLICE + 'tier: is "baselin"; did you mean baseline? Known are'),
    "tier of another type": (MINIMAL + "tier = 1 # <-", POLICE + "tier: is 1; write one of baseline, illegal,"),
    "kind": (MINIMAL + 'kind = "known_bad" # <-', POLICE + 'kind: is "known_bad"; did you mean known-bad? Known are'),
    "format": (MINIMAL + 'format = "cvs" # <-', POLICE + 'format: is "cvs"; did you mean csv? Known are'),
    "algorithm": (MINIMAL + 'algorithm = "SHA-256" # <-', POLICE + 'algorithm: is "SHA-256"; known are md5,'),
    "column": (
        MINIMAL + '[list.columns]\nmd5 = "Hash"\n"sha2" = 5 # <-',
        POLICE + "columns.sha2: is no name of ours for a column; did you mean sha",
    ),
    "header": (MINIMAL + '[list.columns]\nmd5 = "" # <-', POLICE + 'columns.md5: is ""; write the name of a column'),
    "a key below columns": (
        MINIMAL + '[list.columns]\nmd5 = "Hash"\ntier = "illegal" # <-',
        POLICE + "columns.tier: is a key of the list and stands below [list.columns]; move it",
    ),
    "a key below categories": (
        MINIMAL + '[list.categories]\nA1 = "illegal"\ntier = "illegal" # <-',
        POLICE
        + "categories.tier: is a key of the list and stands below [list.categories]; move it above that line; or in",
    ),
    "a key below deliveries": (
        '[[list]]\nid = "police"\n[[list.deliveries]]\nkind = "full"\npaths = ["file.txt"]\ntier = "illegal" # <-',
        POLICE + "deliveries.tier: is a key of the list and stands below [[list.deliveries]]; move",
    ),
    "a category's tier": (
        MINIMAL + '[list.categories]\n"A1" = "illegal"\n"A2" = "ilegal" # <-',
        POLICE + 'categories.A2: is "ilegal"; did you mean illegal? Known are',
    ),
    "a category with a dot": (
        MINIMAL + '[list.categories]\nA.1 = "illegal" # <-',
        POLICE + "categories.A: is a table; write one of baseline,",
    ),
    "a blank category": (
        MINIMAL + '[list.categories]\n" " = "illegal" # <-',
        POLICE + 'categories." ": is no category',
    ),
    "two tiers of one category": (
        MINIMAL + 'tier = "illegal" # <-\n[list.categories]\ndefault = "baseline"',
        POLICE + 'tier: is the tier of "default" too, which line 6 gives another; make them the same',
    ),
    "category": (MINIMAL + 'category = "a\\nb" # <-', POLICE + 'category: is "a\\nb"; write 1 to 1,024 printable'),
    "delimiter": (MINIMAL + 'delimiter = ";;" # <-', POLICE + 'delimiter: is ";;"; write the one character'),
    "quotation mark": (MINIMAL + "delimiter = '\"' # <-", POLICE + 'delimiter: is """; write the one character'),
    "share": (MINIMAL + "max_bad_share = 1.5 # <-", POLICE + "max_bad_share: is 1.5; write a number from 0"),
    "share of no number": (MINIMAL + "max_bad_share = nan # <-", POLICE + "max_bad_share: is nan; write a number"),
    "shrink": (MINIMAL + "max_shrink = -0.1 # <-", POLICE + "max_shrink: is -0.1; write a number from 0"),
    "shrink in quotes": (MINIMAL + 'max_shrink = "10%" # <-', POLICE + 'max_shrink: is "10%"; write a number from 0'),
    "shrink true": (MINIMAL + "max_shrink = true # <-", POLICE + "max_shrink: is true; write a number from 0"),
    "growth": (MINIMAL + "max_growth = inf # <-", POLICE + "max_growth: is inf; write a number from 0"),
    "a date": (MINIMAL + "max_growth = 2026-01-01 07:00:00 # <-", POLICE + "max_growth: is a date or time; write"),
    "categories of a known-good list": (
        MINIMAL + GOOD + '[list.categories] # <-\nA1 = "illegal"',
        'list "g": categories: means nothing for a known-good list, which never matches; remove it',
    ),
    **{
        f"{key} of a known-good list": (
            MINIMAL + GOOD + f"{key} = {value} # <-",
            f'list "g": {key}: means nothing for a known-good list, which never matches; remove it',
        )
        for key, value in {"tier": '"other"', "category": '"x"', "max_shrink": "0.1", "max_growth": "1"}.items()
    },
    "known-good lists only": (
        '[[list]] # <-\nid = "g"\nkind = "known-good"\npaths = ["known/good"]',
        'list "g": there are only known-good lists, so nothing could ever match; add a list',
    ),
    "neither paths nor deliveries": (
        '# list\n[[list]] # <-\nid = "police"',
        POLICE + "paths: is missing; write paths or deliveries",
    ),
    "both paths and deliveries": (
        MINIMAL + '[[list.deliveries]] # <-\nkind = "full"\npaths = ["file.txt"]',
        POLICE + "deliveries: is there beside paths; write one of the two",
    ),
    "no paths": (BEGUN + "paths = [] # <-", X + "paths: is an empty array; write an array of file names"),
    "one path": (BEGUN + 'paths = "a.csv" # <-', X + 'paths: is "a.csv"; write an array of file names'),
    "an empty path": (
        BEGUN + 'paths = ["file.txt",\n  ""] # <-',
        X + 'paths: is ""; write an array of file names',
    ),
    "a NUL in a path": (BEGUN + 'paths = ["a\\u0000*"] # <-', X + 'paths: is "a\\x00*"; write an array'),
    "a glob that matches nothing": (
        BEGUN + 'paths = [\n  "police/*.csv",\n  # comment\n  "police/*.cvs", # <-\n]',
        X + 'paths: "police/*.cvs" matches nothing in ',
    ),
    "a glob that matches a directory": (
        BEGUN + 'paths = [\n  "police/s*", # <-\n]',
        X + 'paths: "police/s*" matches the directory ',
    ),
    "a file twice": (
        BEGUN + 'paths = [\n  "police/*.csv",\n  "police/b.csv", # <-\n]',
        X + 'paths: "police/b.csv" matches ',
    ),
    "a file by another name": (
        BEGUN + 'paths = [\n  "police/*.csv",\n  "police/* link", # <-\n]',
        X + 'paths: "police/* link" matches ',
    ),
    "a file of two deliveries": (
        BEGUN + '[[list.deliveries]]\nkind = "full"\npaths = ["file.txt"]\n' + LAST + " # <-",
        X + 'deliveries.paths: "file.txt" matches ',
    ),
    "an old delivery that is gone": (
        BEGUN + '[[list.deliveries]]\nkind = "full"\npaths = ["gone"] # <-\n' + LAST,
        X + 'deliveries.paths: "gone" matches nothing in ',
    ),
    "deltas only": (
        BEGUN + '[[list.deliveries]] # <-\nkind = "delta"\npaths = ["file.txt"]',
        X + "deliveries: are deltas only; a full delivery comes before them",
    ),
    "kind of a delivery": (
        BEGUN + '[[list.deliveries]]\npaths = ["file.txt"]\nkind = "fully" # <-',
        X + 'deliveries.kind: is "fully"; did you mean full? Known are full, delta',
    ),
    "no kind of a delivery": (
        BEGUN
        + '[[list.deliveries]]\nkind = "full"\npaths = ["known/good"]\n[[list.deliveries]] # <-\npaths = ["file.txt"]',
        X + "deliveries.kind: is missing; write one of full, delta",
    ),
    "a delivery in single brackets": (
        BEGUN + '[list.deliveries] # <-\nkind = "full"\npaths = ["file.txt"]',
        X + "deliveries: is a table; write tables with double brackets: [[list.deliveries]]",
    ),
    "no delivery": (BEGUN + "deliveries = [] # <-", X + "deliveries: is an empty array; write tables"),
    "in an inline table": (
        'list = [ # ]\n  {id = "x", paths = ["-"]},\n  {id = "y", paths = ["file.txt"], tier = "no"}, # <-\n]',
        'list "y": tier: is "no"; known are baseline,',
    ),
    "behind text of many lines": (
        MINIMAL
        + '[list.columns]\nmd5 = \'\'\'\n[[list]]\ntier = "no" # not this\n\'\'\'\nsha1 = """a\\"""""\n'
        + BEGUN
        + 'paths = ["file.txt"]\n"tier" = \'no\' # <-',
        X + 'tier: is "no"; known are baseline,',
    ),
    "a digest": (
        MINIMAL + f'tier = "{random.Random(1).randbytes(16).hex()}" # <-',
        POLICE + "tier: is a text of 32 characters; known are baseline,",
    ),
    "a digest for a key": (
        MINIMAL + f'{random.Random(1).randbytes(16).hex()} = "illegal" # <-',
        POLICE + "a text of 32 characters: is no key here; known are id,",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_line_and_a_remedy(folder: Path, name: str) -> None:
    text, expected = FAULTS[name]
    error = refused(folder, text)
    line = next(number for number, content in enumerate(text.splitlines(), 1) if "<-" in content)
    said = f"{folder / 'lists.toml'}:{line}: {expected}"
    assert str(error).startswith(said), str(error)
    assert len(error.faults) == 1


def test_every_key_has_what_is_expected_of_it() -> None:
    keys = {
        *ListTable.model_fields,
        "columns.*",
        "categories.*",
        *(f"deliveries.{key}" for key in DeliveryTable.model_fields),
    }
    assert set(EXPECTED) == keys
    for name in [*READERS, *ALGORITHMS]:
        assert name in EXPECTED["format"] or name in EXPECTED["algorithm"]


def test_all_faults_are_named_together_and_in_order(folder: Path) -> None:
    text = 'id = 5\n[[list]]\nid = "a"\ntier = 1\npaths = ["no", 5]\n[[list]]\nkind = "x"\n'
    text += '[[list]]\nid = "a"\nq = 1\npaths = ["-"]'
    error = refused(folder, text)
    assert [fault.line for fault in error.faults] == [1, 4, 5, 5, 6, 6, 7, 9, 10]
    first, *others = str(error).split("\n  ")
    assert first == "9 faults; no list was read"
    assert others == [f"{folder / 'lists.toml'}:{fault.line}: {fault}" for fault in error.faults]


def test_beyond_twenty_faults_the_rest_is_counted(folder: Path) -> None:
    text = MINIMAL + "".join(f"key{number} = 1\n" for number in range(25))
    error = refused(folder, text)
    assert len(error.faults) == 25
    lines = str(error).splitlines()
    assert lines[0] == "25 faults; no list was read"
    assert lines[-1] == "  … and 5 more faults"
    assert len(lines) == 22


# ---- what is no lists.toml at all -----------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    for path in (folder / "none.toml", folder, Path("a\0b")):
        with pytest.raises(ListsFileInvalid, match=r"cannot be read: .*; check the path"):
            read_lists_file(path)


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        (b"# \n" * (1 << 19), 1, "larger than 1,048,576 bytes"),
        (MINIMAL.encode() + b"# \xff", 4, "is not UTF-8"),
        (b"\xff\xfe[\0", 1, "is not UTF-8"),
        (b"x = " + b"[" * 100_000, 1, "nested too deep"),
        (b"x = " + b"{a=" * 100_000, 1, "nested too deep"),
        (b"x = " + b"[" * 50_000 + b"]" * 50_000, 1, "nested too deep"),
        (b"\nx = " + b"9" * 5000, 2, "is no valid TOML"),
        (b"\n\n" + b"a . " * 100_000 + b"a = 1", 3, "key of many parts"),
        (b"\n[" + b'"a".' * 100_000 + b"a]", 2, "key of many parts"),
        (b"\n" + b"a" * 1_000_000, 2, "is no valid TOML"),
        (b"\n" + b'"' * 1_000_000, 2, "is no valid TOML"),
        (b"x = " + b'"""\\' * 250_000, 1, "is no valid TOML"),
        (MINIMAL.encode() + b"max_growth = 0x" + b"f" * 10_000, 4, "is a very large number"),
        (b"\0", 1, "is no valid TOML"),
    ],
)
def test_a_hostile_file_is_refused_in_no_time(folder: Path, content: bytes, line: int, why: str) -> None:
    began = time.process_time()
    error = refused(folder, content)
    assert time.process_time() - began < 5
    assert [fault.line for fault in error.faults] == [line]
    assert why in str(error)
    assert len(str(error)) < 1000


# ---- whatever is written --------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(str.strip)
COMMENTS = st.sampled_from(["", "", " # ]", ' # """', " # '''", ' # [[list]] id = "x"', " # {"])
#: Files that a generated list may name, each matched by one glob.
CHOICES = ["police/a.csv", "police/[b]*", "2026-01/*", "2026-02/x.xml", "2026-02/y.xml", "2026-03/?.xml", "known/*"]


@dataclass
class Written:
    """A lists.toml in the making, with the line of every key."""

    text: str = ""
    lines: dict[tuple[str | int, ...], int] = field(default_factory=dict)

    def key(self, *location: str | int) -> None:
        self.lines[location] = self.text.count("\n") + 1


def basic(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@st.composite
def strings(draw: st.DrawFn, text: str) -> str:
    """Write a text as one of TOML's kinds of strings."""
    kinds = [basic(text), '"""\n' + basic(text)[1:-1] + '"""']
    if basic(text)[1:-1] == text:  # no character that has to be escaped
        kinds.append('"""' + text + '"""')
    if "'" not in text and text.isprintable():
        kinds += [f"'{text}'", f"'''{text}'''", f"'''\n{text}'''"]
    return draw(st.sampled_from(kinds))


@st.composite
def keys(draw: st.DrawFn, text: str) -> str:
    kinds = [basic(text)]
    if re.fullmatch("[A-Za-z0-9_-]+", text) and text not in ListTable.model_fields:
        kinds.append(text)
    if "'" not in text and text.isprintable():
        kinds.append(f"'{text}'")
    return draw(st.sampled_from(kinds))


@st.composite
def list_tables(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """Draw a table that is good, as tomllib would give it."""
    table: dict[str, Any] = {"id": f"l{number}"}
    optional = {
        "format": st.sampled_from(list(READERS)),
        "algorithm": st.sampled_from(list(ALGORITHMS)),
        "delimiter": st.sampled_from(";,|\t'é"),
        "max_bad_share": st.floats(0, 1),
    }
    if number and draw(st.booleans()):
        table["kind"] = "known-good"
    else:
        optional |= {
            "tier": st.sampled_from([tier.value for tier in Tier]),
            "max_shrink": st.floats(0, 1) | st.integers(0, 1),
            "max_growth": st.floats(0, 1e6),
            "category": TEXTS.filter(str.isprintable),
            "categories": st.dictionaries(TEXTS, st.sampled_from([tier.value for tier in Tier]), max_size=4),
        }
    optional["columns"] = st.dictionaries(st.sampled_from(COLUMN_NAMES), TEXTS | st.just("[[list]]\nid='no'"))
    for key, values in optional.items():
        if draw(st.booleans()):
            table[key] = draw(values)
    categories = table.get("categories", {})
    if table.get("category", "default") in categories:
        table.pop("tier", None)
    chosen = draw(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=4, unique=True))
    if draw(st.booleans()):
        table["paths"] = chosen
    else:
        kinds = draw(st.lists(st.sampled_from(["full", "delta"]), min_size=len(chosen), max_size=len(chosen)))
        if "full" not in kinds:
            kinds[0] = "full"
        table["deliveries"] = [{"kind": kind, "paths": [path]} for kind, path in zip(kinds, chosen, strict=True)]
    return table


@st.composite
def lists_files(draw: st.DrawFn) -> tuple[Written, list[dict[str, Any]]]:
    """Draw a good lists.toml in any way of writing it, and what it says."""
    out = Written()
    tables = [draw(list_tables(number)) for number in range(draw(st.integers(1, 3)))]

    def value(location: tuple[str | int, ...], content: Any) -> None:
        if isinstance(content, str):
            out.text += draw(strings(content))
        elif isinstance(content, list):
            breaks = st.sampled_from(["", " ", "\n", " # ],\n  "])
            out.text += "[" + draw(breaks)
            for index, item in enumerate(content):
                out.key(*location, index)
                value((*location, index), item)
                out.text += draw(breaks) + "," + draw(breaks)
            out.text += "]"
        else:
            out.text += repr(content)

    def pairs(location: tuple[str | int, ...], table: dict[str, Any]) -> None:
        for key, content in table.items():
            out.text += draw(st.sampled_from(["", "\n", "  ", "# comment = [\n"]))
            out.key(*location, key)
            out.text += draw(keys(key)) + draw(st.sampled_from([" = ", "=", "\t= "]))
            value((*location, key), content)
            out.text += draw(COMMENTS) + "\n"

    for number, table in enumerate(tables):
        where = ("list", number)
        out.key(*where)
        out.text += draw(st.sampled_from(["[[list]]", "[[ list ]]", '[["list"]] # [[list]]'])) + "\n"
        pairs(where, {key: item for key, item in table.items() if key not in {"columns", "categories", "deliveries"}})
        for key in ("columns", "categories"):
            if key in table:
                out.key(*where, key)
                out.text += f"[list.{key}]{draw(COMMENTS)}\n"
                pairs((*where, key), table[key])
        for index, delivery in enumerate(table.get("deliveries", [])):
            out.key(*where, "deliveries", index)
            out.text += draw(st.sampled_from(["[[list.deliveries]]", "[[list . 'deliveries']]"])) + "\n"
            pairs((*where, "deliveries", index), delivery)
    return out, tables


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotation_marks_right_before_the_closing_ones(quote: str) -> None:
    three = 3 * quote
    for more in range(3):
        text = f"x = [{three}a{more * quote}{three}, {quote}b{quote},\n  {three}\n{quote}c{three}, # ]\n]\ny = 1\n"
        assert tomllib.loads(text) == {"x": [f"a{more * quote}", "b", f"{quote}c"], "y": 1}
        lines = {location: place.line for location, place in places_of(text).items()}
        assert lines == {("x",): 1, ("x", 0): 1, ("x", 1): 1, ("x", 2): 2, ("y",): 5}


@given(drawn=lists_files())
def test_a_good_file_says_what_was_written_and_every_line_is_known(
    folder: Path, drawn: tuple[Written, list[dict[str, Any]]]
) -> None:
    written, tables = drawn
    assert tomllib.loads(written.text) == {"list": tables}
    places = places_of(written.text)
    assert {location: place.line for location, place in places.items() if location in written.lines} == written.lines
    found = read(folder, written.text)
    for table, item in zip(tables, found.lists, strict=True):
        tiers = {category: Tier(tier) for category, tier in table.get("categories", {}).items()}
        category = table.get("category", "default")
        algorithm = table.get("algorithm")
        deliveries = table.get("deliveries")
        assert item.list_id == table["id"]
        assert item.known_good == ("kind" in table)
        assert item.format == table.get("format")
        assert item.options == ReadOptions(
            ALGORITHMS[algorithm] if algorithm else None, table.get("columns", {}), table.get("delimiter")
        )
        assert item.category == category
        assert item.tiers == tiers
        assert item.tier == tiers.get(category, Tier(table.get("tier", "unknown")))
        assert item.max_bad_share == table.get("max_bad_share")
        assert found.limits[item.list_id] == Limits(table.get("max_shrink", 0.1), table.get("max_growth", 0.5))
        if deliveries is None:
            assert item.deliveries is None
            assert names(folder, item) == [name for glob in table["paths"] for name in matching(folder, glob)]
        else:
            begin = max(number for number, delivery in enumerate(deliveries) if delivery["kind"] == "full")
            assert item.deliveries is not None
            assert list(zip(item.deliveries, names(folder, item), strict=True)) == [
                (number, name)
                for number, delivery in enumerate(deliveries[begin:])
                for name in matching(folder, delivery["paths"][0])
            ]


def matching(folder: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))


@given(drawn=lists_files(), data=st.data())
def test_a_damaged_file_is_named_or_read_and_nothing_else(
    folder: Path, drawn: tuple[Written, list[dict[str, Any]]], data: st.DataObject
) -> None:
    lines = drawn[0].text.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        lines[place] = data.draw(damaged(lines[place]))
    content = "".join(lines).encode("utf-8", "surrogatepass")
    found = read_or_fault(folder, content)
    if isinstance(found, ListsFileInvalid):
        assert found.faults
        count = content.replace(b"\r\n", b"\n").count(b"\n") + 1
        assert all(1 <= fault.line <= count for fault in found.faults)
    else:
        assert found.lists
        assert all(Path(file).is_file() for item in found.lists for file in item.files)


@st.composite
def damaged(draw: st.DrawFn, line: str) -> str:
    """Draw what may become of a line: gone, twice, cut, another, or with characters in it or changed."""
    at = draw(st.integers(0, len(line)))
    whole = ["", line + line, line[:at], line[at:], "x", "[[list]]\n", "[list.x]\n", line.replace('"', "")]
    inserted, changed = draw(st.text(max_size=3)), draw(st.sampled_from("[]{}\"'=.,#\n\r\\*?0"))
    return draw(st.sampled_from([*whole, line[:at] + inserted + line[at:], line[:at] + changed + line[at + 1 :]]))


def read_or_fault(folder: Path, text: str | bytes) -> ListsFile | ListsFileInvalid:
    try:
        return read(folder, text)
    except ListsFileInvalid as error:
        return error


@given(pattern=st.text(st.sampled_from("*?[]!-az/\\ é")))
def test_no_glob_breaks_it(folder: Path, pattern: str) -> None:
    found = read_or_fault(folder, f'[[list]]\nid = "x"\npaths = [{basic(f"police/{pattern}")}]\n')
    if isinstance(found, ListsFileInvalid):
        assert {fault.line for fault in found.faults} == {3}
    else:
        assert found.lists[0].files


# ---- the page -------------------------------------------------------------------------------------------------------


def rows_of(heading: str) -> dict[str, str]:
    """Give key and default of the table below a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n" if f"\n## {heading}\n" in PAGE else f"\n### {heading}\n")[2]
    section = re.split(r"\n##+ ", section)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))


@pytest.mark.parametrize(("heading", "model"), [("Keys of a list", ListTable), ("Deliveries", DeliveryTable)])
def test_every_key_is_in_the_page_with_its_default_and_no_other(heading: str, model: type[ListTable]) -> None:
    rows = rows_of(heading)
    assert set(rows) == set(model.model_fields)
    for key, facts in model.model_fields.items():
        if facts.is_required():
            assert rows[key] == "must be there", key
        elif facts.default_factory is None and facts.default is not None:
            assert tomllib.loads(f"x = {rows[key].strip('`')}")["x"] == facts.default, key


def test_every_column_and_tier_is_in_the_page() -> None:
    for name in (*COLUMN_NAMES, *Tier):
        assert f"`{name}`" in PAGE


def examples() -> Iterator[str]:
    yield from re.findall(r"^```toml\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_example_of_the_page_is_good(tmp_path: Path) -> None:
    (text,) = examples()
    for pattern in re.findall(r'"([^"\n]*/[^"\n]*)"', text):
        path = tmp_path / pattern.replace("**", "sub").replace("*", "x")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = read(tmp_path, text)
    assert len(found.lists) == 6
    assert [item.known_good for item in found.lists] == [False] * 5 + [True]
    assert found.lists[2].deliveries == (0, 1, 1)
    used = {key for table in tomllib.loads(text)["list"] for key in table}
    assert used == set(ListTable.model_fields), "every key is in the example"


def test_the_message_of_the_page_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = '# lists\n[[list]]\nid = "police"\ntier = "baselin"\n\npaths = ["police/*.cvs"]\n'
    Path("lists.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ListsFileInvalid) as caught:
        read_lists_file(Path("lists.toml"))
    assert f"error [lists_file_invalid]: {caught.value}\n" in PAGE


def test_more_deliveries_than_can_be_numbered_are_refused_at_the_first_too_many(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists_file, "MAX_DELIVERIES", 3)
    delivery = '[[list.deliveries]]\nkind = "{}"\npaths = ["{}"]\n'
    files = ["file.txt", "police/a.csv", "police/b.csv"]
    text = '[[list]]\nid = "x"\n' + "".join(
        delivery.format("full" if number == 0 else "delta", file) for number, file in enumerate(files)
    )
    assert read(folder, text).lists[0].deliveries == (0, 1, 2)
    more = refused(folder, text + delivery.format("delta", "police/c.csv.gz"))
    (fault,) = [fault for fault in more.faults if "one of" in fault.text]
    assert (fault.line, fault.field) == (12, "deliveries")
    assert fault.text == "is one of 4, more than 3; merge the oldest into a full one"
