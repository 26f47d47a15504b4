"""Ten million items, random, listed and hostile: what serving answers in bulk is what a plain loop over dicts answers.

The items of each test follow from the `rng` seed that a failure prints, the lists from LIST_SEED.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import cycle, zip_longest

import pytest

from snapshot.bloom import DigestFilter
from snapshot.manifest import filter_file
from tests.properties import hostile
from tests.properties.differential import FILES, LISTED_COUNTS, WHOLE, Form, Served, check, column, packed, serve
from tests.properties.hostile import BATCHES
from tests.properties.plain import LIMIT, SIZES, in_order

# Items of each test; with those of the tests that go through every byte they are more than ten million.
RANDOM_PACKED = {"md5": 2_500_000, "sha1": 2_000_000, "sha256": 3_000_000, "sha512": 100_000, "photodna": 100_000}
RANDOM_JSON = {"md5": 600_000, "sha1": 400_000, "sha256": 900_000, "sha512": 50_000, "photodna": 20_000}
HOSTILE_DIGESTS = {"md5": 150_000, "sha1": 150_000, "sha256": 150_000, "photodna": 50_000}
HOSTILE_TEXTS = {"md5": 60_000, "sha1": 60_000, "sha256": 60_000, "sha512": 20_000, "photodna": 20_000}
HOSTILE_FILES = 60_000

every_algorithm = pytest.mark.parametrize("name", SIZES)
every_list = pytest.mark.parametrize("name", LISTED_COUNTS)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A snapshot as operators compile it, with references and so with label-set ids of four bytes."""
    yield from serve(tmp_path_factory.mktemp("usual"), references=True, false_positive_rate=0.001, sealed=False)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One whose filters let nearly all pass, so that the store must say no; its label-set ids have two bytes."""
    yield from serve(tmp_path_factory.mktemp("leaky"), references=False, false_positive_rate=0.9, sealed=True)


@pytest.fixture(params=["usual", "leaky"])
def served(request: pytest.FixtureRequest) -> Served:
    chosen: Served = request.getfixturevalue(request.param)
    return chosen


def batches(rng: random.Random, items: Sequence[bytes], most: int = LIMIT) -> Iterator[Sequence[bytes]]:
    """Cut items into batches of all sizes."""
    at = 0
    for size in cycle([min(size, most) for size in rng.sample(BATCHES, len(BATCHES))]):
        if at >= len(items):
            return
        yield items[at : at + size]
        at += size


def hostile_digests(rng: random.Random, served: Served, name: str, count: int) -> list[bytes]:
    """Give members, near-members, what lies askew in the store, the filter's false positives, strangers and repeats."""
    size, members = SIZES[name], served.members(name)
    found = hostile.ends(size)
    for member in (min(members), max(members), *rng.sample(members, min(len(members), count // 40))):
        found += (member, *hostile.near_misses(rng, member))
    table = served.view.tables.get(name)
    if table is not None:
        id_bytes = served.view.snapshot.manifest.label_set_id_bytes
        records = [digest + number.to_bytes(id_bytes, "little") for digest, number in table.records()]
        found += hostile.askew(rng, records, size, count // 8 // len(records[0]) + 1)
        strangers = rng.randbytes(50_000 * size)
        passed = [strangers[i * size : (i + 1) * size] for i in table.filter.probe(strangers)]
        assert len(passed) > 50_000 * table.filter.false_positive_rate / 4
        found += passed[: count // 20]
        found += rng.choices(found[-100:], k=count // 50)
    found += rng.choices(members, k=max(count // 2 - len(found) // 2, 0))
    found = found[:count] + [rng.randbytes(size) for _ in range(count - len(found))]
    rng.shuffle(found)
    return found


@every_algorithm
def test_random_digests_packed(name: str, rng: random.Random, usual: Served) -> None:
    size, members, count = SIZES[name], usual.members(name), 0
    while count < RANDOM_PACKED[name]:
        body = rng.randbytes(LIMIT * size)
        items = [body[at : at + size] for at in range(0, len(body), size)]
        for _ in range(rng.choice([0, 1, 30])):
            items[rng.randrange(LIMIT)] = rng.choice(members)
        count += check(usual, packed(name), items, f"{name}, packed")


@every_algorithm
def test_random_digests_by_column(name: str, rng: random.Random, usual: Served) -> None:
    size, members, count = SIZES[name], usual.members(name), 0
    while count < RANDOM_JSON[name]:
        items = [b'"%s"' % text.encode() for text in rng.randbytes(LIMIT * size).hex(",", size).split(",")]
        for _ in range(rng.choice([0, 1, 30])):
            items[rng.randrange(LIMIT)] = b'"%s"' % rng.choice(members).hex().upper().encode()
        form = column(name, rng.choice(hostile.SEPARATORS), rng.choice(hostile.SPACES))
        count += check(usual, form, items, f"{name}, by column")


@every_list
def test_every_member_and_every_hostile_digest(name: str, rng: random.Random, served: Served) -> None:
    items = [*served.members(name), *hostile_digests(rng, served, name, HOSTILE_DIGESTS[name])]
    rng.shuffle(items)
    for batch in batches(rng, items):
        check(served, packed(name), batch, f"{name}, packed")


@every_list
def test_the_store_alone(name: str, rng: random.Random, served: Served) -> None:
    """Without the filter in front, which would hide most of what the store might take for another."""
    table, snapshot = served.view.tables[name], served.view.snapshot
    digests = list(hostile_digests(rng, served, name, 20_000))
    for digest, stored in zip(digests, served.stored(name, digests), strict=True):
        number = table.find(stored)
        found = None if number is None else [tuple(label) for label in snapshot.labels(number)]
        expected = served.listed[name].get(digest)
        assert found == (expected and in_order(expected)), digest.hex()


@every_list
def test_the_filter_alone(name: str, rng: random.Random, served: Served) -> None:
    """The mapped filter in batches of any size, the library's own class, and the set of what is listed."""
    size, members = SIZES[name], set(served.stored(name, served.members(name)))
    digests = [*members, *served.stored(name, hostile_digests(rng, served, name, len(members) // 2))]
    rng.shuffle(digests)
    with (served.view.snapshot.directory / filter_file(name)).open("rb") as file:
        library = DigestFilter.fromfile(file)
    keys = [hashlib.blake2b(d, digest_size=16).digest() if name == "photodna" else d[:16] for d in digests]
    expected = [i for i, key in enumerate(keys) if key in library]
    denied = members - {digests[i] for i in expected}
    assert not denied
    whole, bloom = b"".join(digests), served.view.tables[name].filter
    for batch in (*BATCHES, len(digests)):
        found = []
        for at in range(0, len(digests), batch):
            found += [at + i for i in bloom.probe(whole[at * size : (at + batch) * size])]
        wrong = set(found) ^ set(expected)
        assert not wrong, f"in batches of {batch}: {len(wrong)} wrong, such as {digests[min(wrong)].hex()}"
        same = found == expected  # outside of the assertion, which would print both
        assert same, f"in batches of {batch}: not ascending, or twice"


@every_algorithm
@pytest.mark.parametrize("count", [0, 1, 2, 17, 18, 19, 1000, LIMIT, LIMIT + 1])
def test_batches_of_any_size_in_every_form(name: str, count: int, rng: random.Random, served: Served) -> None:
    members, size = served.members(name), SIZES[name]
    for share in (0.3, 1.0):
        digests = [rng.choice(members) if rng.random() < share else rng.randbytes(size) for _ in range(count)]
        items = [b'"%s"' % hostile.digest_text(rng, digest, name).encode() for digest in digests]
        check(served, packed(name), digests, f"{name}, packed")
        check(served, column(name), items, f"{name}, by column")
        check(served, FILES, [b'{"ref":"r","%s":%s}' % (name.encode(), item) for item in items], f"{name}, by file")
        cut = b"".join(digests)[: -rng.randrange(1, size)]
        check(served, Form(b"".join, name), [cut], f"{name}, packed and cut")


def hostile_texts(rng: random.Random, digests: Sequence[bytes], name: str) -> list[bytes]:
    """Give JSON items for digests: all good, one bad, many bad, or shifted against one another."""
    texts = [hostile.digest_text(rng, digest, name) for digest in digests]
    if not texts:
        return []
    manner = rng.randrange(5)
    if manner == 1:
        texts = hostile.shifted(rng, texts)
    for _ in range({2: 1, 3: len(texts) // 5}.get(manner, 0)):
        at = rng.randrange(len(texts))
        texts[at] = hostile.misspelt(rng, texts[at] or "0")
    items = [hostile.quoted(rng, text) if manner == 4 else hostile.as_encoders_write(text) for text in texts]
    if rng.random() < 0.1:
        items[rng.randrange(len(items))] = rng.choice(hostile.no_texts(SIZES[name]))
    if rng.random() < 0.1:  # one separator is spelt unlike the others
        at = rng.randrange(len(items))
        items[at] = rng.choice([b" %s", b"%s\n", b"\t%s "]) % items[at]
    return items


@every_algorithm
def test_hostile_texts_by_column(name: str, rng: random.Random, served: Served) -> None:
    for batch in batches(rng, hostile_digests(rng, served, name, HOSTILE_TEXTS[name])):
        form = column(name, rng.choice(hostile.SEPARATORS), rng.choice(hostile.SPACES))
        check(served, form, hostile_texts(rng, batch, name), f"{name}, hostile texts")


@pytest.mark.parametrize(("one", "two"), [(5000, 5000), (5000, 5001), (LIMIT, 0), (LIMIT, 1), (1, LIMIT)])
def test_the_limit_is_of_all_digests_together(one: int, two: int, rng: random.Random, usual: Served) -> None:
    md5, sha1 = (
        [b'"%s":"%s"' % (name.encode(), digest.hex().encode()) for digest in rng.choices(usual.members(name), k=count)]
        for name, count in (("md5", one), ("sha1", two))
    )
    texts = [b",".join(item.partition(b":")[2] for item in items) for items in (md5, sha1)]
    check(usual, WHOLE, [b'{"md5":[%s],"sha1":[%s]}' % (*texts,)], "two columns")
    files = [b"{%s}" % b",".join(filter(None, pair)) for pair in zip_longest(md5, sha1)]
    check(usual, FILES, files, "files of two digests")


@every_algorithm
def test_a_foreign_character_at_every_place(name: str, rng: random.Random, usual: Served) -> None:
    """Or two of them, which a parser that skips what it does not know may take for a byte that is not there."""
    members = usual.members(name)
    for at in range(2 * SIZES[name]):
        for foreign in hostile.FOREIGN:
            texts = [digest.hex() for digest in rng.choices(members, k=rng.choice([1, 2, 18, 36]))]
            bad, times = rng.randrange(len(texts)), rng.choice([1, 2])
            texts[bad] = texts[bad][:at] + foreign * times + texts[bad][at + times :]
            items = [hostile.as_encoders_write(text) for text in texts]
            check(usual, column(name), items, f"{name}, {foreign!r} at {at} of item {bad}")


@every_algorithm
def test_columns_that_are_spelt_wrongly_throughout(name: str, rng: random.Random, usual: Served) -> None:
    items = [b'"%s"' % digest.hex().encode() for digest in rng.choices(usual.members(name), k=150)]
    names = [*SIZES, name.upper(), f" {name}", f"{name} ", name[:-1], f"{name}\0", f"{name}{name}", ""]
    wrong = [column(name, separator) for separator in hostile.WRONG_SEPARATORS]
    wrong += [column(name, space=space) for space in hostile.WRONG_SPACES]
    wrong += [column(wrong_name, separator) for wrong_name in names for separator in (",", ", ")]
    for form in wrong:
        for count in BATCHES[: BATCHES.index(129)]:
            check(usual, form, items[:count], f"{name}, a column spelt wrongly")


@every_algorithm
def test_bodies_with_a_small_edit_anywhere(name: str, rng: random.Random, usual: Served) -> None:
    count = 1100 // (2 * SIZES[name]) + 2
    for separator, space in ((",", ""), (", ", " ")):
        members = rng.choices(usual.members(name), k=count)
        body = column(name, separator, space).spell([b'"%s"' % digest.hex().encode() for digest in members])
        for what, changed in hostile.edited(rng, body, 0.5):
            check(usual, WHOLE, [changed], f"{name}, {what}")


def test_several_columns(rng: random.Random, served: Served) -> None:
    pools = {name: hostile_digests(rng, served, name, 2_000) for name in SIZES}
    pools |= {"md4": [], "ref": []}
    rare = [b'"m\\u00645":[]', b'"md5":{}', b'"files":[]', b"", b'"md5":[],']
    for _ in range(2_000):
        columns = []
        for name in rng.choices([*SIZES, "md4", "ref"], [30] * len(SIZES) + [1, 1], k=rng.randrange(6)):
            digests = rng.choices(pools[name], k=rng.choice([0, 1, 2, 40])) if pools[name] else []
            columns.append(b'"%s":[%s]' % (name.encode(), b",".join(hostile_texts(rng, digests, name))))
        columns = [rng.choice(rare) if rng.random() < 0.02 else text for text in columns]
        check(served, Form(lambda items: b"{%s}" % b",".join(items)), columns, "several columns")


def test_files_good_and_bad(rng: random.Random, served: Served) -> None:
    digests = {name: cycle(hostile_digests(rng, served, name, 10_000)) for name in SIZES}
    refs = [b'"u-1"', b'"\\u00e9\\"\\n"', b"null", b'"%s"' % (b"r" * 1024), b'"%s"' % (b"r" * 1025), b"7", b"{}"]
    files = []
    for _ in range(HOSTILE_FILES):
        fields = []
        for name in rng.sample(list(SIZES), rng.choice([0, 1, 1, 1, 2, 3])):
            text = hostile.digest_text(rng, next(digests[name]), name)
            if rng.random() < 0.05:
                text = hostile.misspelt(rng, text)
            item = rng.choice(hostile.no_texts(SIZES[name])) if rng.random() < 0.02 else hostile.quoted(rng, text)
            fields.append(b'"%s":%s' % (name.encode(), item))
        if rng.random() < 0.5:
            fields.insert(rng.randrange(len(fields) + 1), b'"ref":' + rng.choice(refs))
        if rng.random() < 0.03:
            fields.insert(rng.randrange(len(fields) + 1), b'"crc32":"00"')
        files.append(rng.choice(hostile.no_texts(1)) if rng.random() < 0.01 else b"{%s}" % b",".join(fields))
    for batch in batches(rng, files, most=6_000):  # of 10,000 files the digests are too many
        check(served, FILES, batch, "files")
