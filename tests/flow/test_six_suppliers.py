"""Six suppliers, six formats, one lists.toml; and a sample of every format that there is, inspected and compiled."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from loader.build import BuildRequest, build
from loader.lists_file import read_lists_file
from loader.readers import READERS
from snapshot.labels import ACTING_TIERS
from tests import listfiles
from tests.command import hashwacht
from tests.contents import contents
from tests.samples import forms
from tests.samples.forms import Entry, entries

Key = tuple[str, bytes]
Label = tuple[str, str, str, str | None]

LISTS = """\
[[list]]
id = "investigators"
format = "vics"
paths = ["vics.json.gz"]
[list.categories]
"1" = "baseline"
"2" = "illegal"                 # 3 is left out

[[list]]
id = "clearing-house"
format = "ncmec"
[list.categories]
"A1" = "baseline"
"A2" = "illegal"
"B1" = "investigative"
[[list.deliveries]]
kind = "full"
paths = ["ncmec-full.xml"]
[[list.deliveries]]
kind = "delta"
paths = ["ncmec-delta.xml.zst"]

[[list]]
id = "interpol"
format = "icse"
paths = ["icse.csv"]
[list.categories]
"Baseline" = "baseline"
"Non baseline" = "investigative"

[[list]]
id = "hotline"
format = "hex"
paths = ["hotline-*.txt"]
algorithm = "sha256"
tier = "illegal"

[[list]]
id = "malware"
format = "clamav"
paths = ["malware.hsb"]
category = "malware"
tier = "other"

[[list]]
id = "system-files"
kind = "known-good"
format = "hashsum"
paths = ["system.sums"]
"""
TIERS = {
    ("investigators", "1"): "baseline", ("investigators", "2"): "illegal",
    ("clearing-house", "A1"): "baseline", ("clearing-house", "A2"): "illegal",
    ("clearing-house", "B1"): "investigative",
    ("interpol", "Baseline"): "baseline", ("interpol", "Non baseline"): "investigative",
    ("hotline", "default"): "illegal", ("malware", "malware"): "other",
}  # fmt: skip

VICS = entries("vics", 90, ["md5", "sha1", "photodna"], ["1", "2", "3"])
FULL = entries("ncmec", 80, ["md5", "sha1", "photodna"], ["A1", "A2", "B1", None], "42/i{}")
WITHDRAWN = FULL[10:17]
DELTA = [*entries("ncmec delta", 20, ["md5", "sha512"], ["A1", "C9"], "42/d{}"),
         Entry(FULL[20].digests, "A1", "43/again")]  # fmt: skip
ICSE = [Entry(VICS[5].digests, "Baseline", "shared"),
        *entries("icse", 60, ["md5", "sha1", "photodna"], ["Baseline", "Non baseline", None])]  # fmt: skip
HOTLINE = entries("hotline", 70, ["sha256"])
MALWARE = entries("malware", 50, ["sha256"])
KNOWN = [Entry({"md5": VICS[number].digests["md5"]}, None, None) for number in (0, 1, 2)]
SYSTEM = [*entries("system", 40, ["md5", "sha256"]), *KNOWN]


def labelled(list_id: str, some: Iterable[Entry], own: str = "default", keeps_reference: bool = True) -> Iterator[
    tuple[Key, Label]
]:  # fmt: skip
    for entry in some:
        category = entry.category or own
        tier = TIERS.get((list_id, category), "unknown")
        for key in entry.digests.items():
            yield key, (list_id, category, tier, entry.reference if keeps_reference else None)


def rows() -> list[tuple[Key, Label]]:
    """Give every digest of the listed files with its label, withdrawn and known-good ones aside."""
    withdrawn = {entry.reference for entry in WITHDRAWN}
    known_good = {key for entry in KNOWN for key in entry.digests.items()}
    found = [
        *labelled("investigators", [entry for entry in VICS if known_good.isdisjoint(entry.digests.items())]),
        *labelled("clearing-house", [*(entry for entry in FULL if entry.reference not in withdrawn), *DELTA]),
        *labelled("interpol", ICSE),
        *labelled("hotline", HOTLINE, keeps_reference=False),
        *labelled("malware", MALWARE, "malware", keeps_reference=False),
    ]
    return [(key, label) for key, label in found if key not in known_good]


@pytest.fixture(scope="module")
def expected() -> dict[Key, set[Label]]:
    found: defaultdict[Key, set[Label]] = defaultdict(set)
    for key, label in rows():
        found[key].add(label)
    return dict(found)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of six suppliers and their lists.toml."""
    directory = tmp_path_factory.mktemp("suppliers")
    files = {
        "vics.json.gz": forms.vics(VICS),
        "ncmec-full.xml": forms.ncmec(FULL),
        "ncmec-delta.xml.zst": forms.ncmec(DELTA, [*WITHDRAWN, Entry({}, None, "42/never-was-there")]),
        "icse.csv": forms.icse(ICSE),
        "hotline-1.txt": forms.hexlist(HOTLINE[:30]),
        "hotline-2.txt": forms.hexlist(HOTLINE[30:]),
        "malware.hsb": forms.clamav(MALWARE),
        "system.sums": forms.hashsum(SYSTEM),
        "lists.toml": LISTS.encode(),
    }
    for name, content in files.items():
        listfiles.write(directory / name, content)
    return directory


@pytest.fixture(scope="module")
def store(directory: Path) -> Path:
    """What they compile to, every list approved."""
    store = directory / "store"
    hashwacht("compile", "--store", store, "--lists", directory / "lists.toml")
    for list_id in ("investigators", "clearing-house", "interpol", "hotline", "malware"):
        hashwacht("approve", list_id, "--store", store, "--by", "a test")
    return store


def test_the_report_of_the_compile(directory: Path, tmp_path: Path, expected: dict[Key, set[Label]]) -> None:
    words = ("compile", "--store", tmp_path / "store", "--lists", directory / "lists.toml", "--check")
    said = hashwacht(*words)
    lines = said.out.splitlines()
    counts = Counter(name for name, _ in expected)
    listed = [*VICS, *FULL, *DELTA, *ICSE, *HOTLINE, *MALWARE]
    all_digests = sum(len(entry.digests) for entry in [*listed, *SYSTEM])
    withdrawn = sum(len(entry.digests) for entry in WITHDRAWN)
    left_out = sum(len(VICS[number].digests) for number in range(len(KNOWN)))
    merged = sum(len(entry.digests) for entry in listed) - withdrawn - left_out - len(expected)
    # A record of VICS and NCMEC counts as a line, a withdrawal too, and so does the header of a table.
    read = len(listed) + len(WITHDRAWN) + 1 + 1 + sum(len(entry.digests) for entry in SYSTEM)
    assert lines[0] == f"read      8 files, {read:,} lines: {all_digests:,} digests, 0 lines refused"
    assert lines[1] == f"withdrawn {withdrawn} entries that their suppliers took back"
    assert lines[2] == "known     3 listed digests are known good and left out: 3 of investigators; tell the suppliers"
    assert sorted(line.split(None, 2) for line in lines[3:6]) == sorted(
        [VICS[number].digests["md5"].hex(), "md5", f"investigators / {number + 1} / {tier} / {number + 1}"]
        for number, tier in enumerate(("baseline", "illegal", "unknown"))
    )
    others = left_out - len(KNOWN)
    beside = "other digests of the same entries are left out with them"
    assert lines[6] == f"with it   {others} {beside}: {others} of investigators"
    assert {line.split()[1] for line in lines[7:12]} <= {"sha1", "photodna"}
    kinds = ", ".join(f"{counts[name]:,} {name}" for name in ("md5", "sha1", "sha256", "sha512", "photodna"))
    assert lines[12].startswith(f"compiled  {kinds}; {merged} repeats merged; "), lines[12]
    assert lines[-1].startswith("checked   nothing was published")
    notes = said.err.splitlines()
    in_class = Counter(label[:3] for labels in expected.values() for label in labels)
    unknown = {label_class: count for label_class, count in in_class.items() if label_class[2] == "unknown"}
    assert len(unknown) == 4
    for label_class, count in unknown.items():
        told = f"note: {'/'.join(label_class)}: nobody has given the category a tier; its {count:,} digests are off"
        assert notes.count(told) == 1, notes
    told = hashwacht(*words, "--json").json()
    assert (told["withdrawn"], told["merged"], told["entries"]) == (withdrawn, merged, len(expected))
    assert (told["known_good"]["digests"], told["known_good"]["lists"]) == (3, {"investigators": 3})


def test_the_store_holds_exactly_these(store: Path, expected: dict[Key, set[Label]]) -> None:
    assert {key: set(labels) for key, labels in contents(store).items()} == expected


def test_every_digest_is_looked_up_with_its_labels(
    store: Path, tmp_path: Path, expected: dict[Key, set[Label]]
) -> None:
    acting = {tier.value for tier in ACTING_TIERS}
    shared = [key for key, labels in expected.items() if len({label[0] for label in labels}) > 1]
    assert len(shared) == 3, "one entry is on two lists"
    seen = 0
    for name in {name for name, _ in expected}:
        wanted = {raw.hex(): labels for (of, raw), labels in expected.items() if of == name}
        (tmp_path / name).write_text("".join(f"{text}\n" for text in wanted))
        words = ("lookup", "--json", "--store", store, "--algorithm", name, "--file", tmp_path / name)
        for answer in hashwacht(*words).json()["answers"]:
            labels = wanted[answer["digest"]]
            found = {
                (each["list_id"], each["category"], each["tier"], each.get("reference")) for each in answer["labels"]
            }
            assert found == labels
            states = {(each["tier"], each["state"]) for each in answer["labels"]}
            assert states == {(tier, "on" if tier in acting else f"off: tier {tier}") for _, _, tier, _ in labels}
            assert answer["match"] == any(tier in acting for _, _, tier, _ in labels)
            seen += 1
    assert seen == len(expected)


def test_what_was_withdrawn_and_what_is_known_good_is_not_listed(store: Path) -> None:
    gone = [entry.digests["sha1"].hex() for entry in WITHDRAWN]
    good = [entry.digests["md5"].hex() for entry in SYSTEM]
    answers = hashwacht("lookup", "--json", "--store", store, *gone, *good).json()["answers"]
    assert [answer["verdict"] for answer in answers] == ["not_listed"] * (len(gone) + len(good))
    assert [answer.get("known_good", False) for answer in answers] == [False] * len(gone) + [True] * len(good)


def test_lists_shows_all_six(store: Path, directory: Path) -> None:
    said = hashwacht("lists", "--store", store, "--lists", directory / "lists.toml")
    lines = said.out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("described")] == [
        "investigators", "clearing-house", "interpol", "hotline", "malware", "system-files",
    ]  # fmt: skip
    assert "described   clearing-house (known-bad, ncmec): 2 files in 2 deliveries that count" in lines
    states = {
        tuple(line.split(None, 1)[1].split(":")[0].split(" / ")): line.split()[0] for line in lines if " / " in line
    }
    assert states == {
        ("investigators", "1", "baseline"): "on", ("investigators", "2", "illegal"): "on",
        ("investigators", "3", "unknown"): "off", ("clearing-house", "A1", "baseline"): "on",
        ("clearing-house", "A2", "illegal"): "on", ("clearing-house", "B1", "investigative"): "on",
        ("clearing-house", "C9", "unknown"): "off", ("clearing-house", "default", "unknown"): "off",
        ("interpol", "Baseline", "baseline"): "on", ("interpol", "Non baseline", "investigative"): "on",
        ("interpol", "default", "unknown"): "off", ("hotline", "default", "illegal"): "on",
        ("malware", "malware", "other"): "off",
    }  # fmt: skip


# A sample of every format


def test_there_is_a_sample_of_every_format() -> None:
    assert set(forms.MAKERS) == set(forms.KEEPS) == set(READERS)


@pytest.mark.parametrize(
    ("name", "packing"),
    [(name, packing) for name in forms.MAKERS for packing in ("", ".gz", ".zst")
     if name != "nsrl-sqlite" or not packing],  # a database is read where it lies
)  # fmt: skip
def test_inspect_knows_a_sample_and_its_list_compiles(
    tmp_path: Path, rng: random.Random, name: str, packing: str
) -> None:
    keeps = forms.KEEPS[name]
    some = entries(str(rng.random()), 30, keeps.algorithms, ["1", "2", None] if keeps.category else [None])
    if name == "ncmec":
        some = [Entry(entry.digests, entry.category, f"42/{entry.reference}") for entry in some]
    path = listfiles.write(tmp_path / f"sample{packing}", forms.MAKERS[name](some))
    said = hashwacht("inspect", path)
    assert f"#   format      {name}: " in said.out
    assert "would refuse" not in said.out
    (tmp_path / "lists.toml").write_text(said.out)
    (item,) = read_lists_file(tmp_path / "lists.toml").lists
    assert (item.format, item.files, item.known_good) == (name, (str(path),), False)
    build(BuildRequest(tmp_path / "store", [item], "a test", memory_mib=64))
    wanted = {
        (algorithm, raw): (
            ("sample", entry.category or "default", "unknown", entry.reference if keeps.reference else None),
        )
        for entry in some
        for algorithm, raw in entry.digests.items()
    }
    assert contents(tmp_path / "store") == wanted
