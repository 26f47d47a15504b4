"""A sealed store: it answers like any other, tells nothing to who has no key, and changes its key without a pause."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import loader.build
from loader import test_list
from loader.build import BuildRequest, build
from loader.guard import trivial_digests
from loader.lists_file import read_lists_file
from loader.spool import Spools
from snapshot.algorithms import ALGORITHMS, SHA256
from snapshot.overlay import Overlay
from snapshot.seal import Seal, SealKeys
from snapshot.store import Store
from snapshot.verify import verify_store
from tests import listfiles
from tests.command import hashwacht
from tests.service_process import ServiceProcess, running_service, until

ROWS = 60
NAMES = ("md5", "sha1", "sha256", "sha512", "photodna")
DIGESTS = {name: listfiles.random_digests(name, ROWS, "sealed") for name in NAMES}
HEX = {name: [digest.hex() for digest in digests] for name, digests in DIGESTS.items()}
#: Of no list, but added by hand.
ADDED = listfiles.random_digests("sha256", 2, "added by hand")
WHY = ("--reason", "a test", "--by", "tests")
LISTS = """\
[[list]]
id = "police"
format = "csv"
paths = ["police.csv"]
[list.categories]
"A" = "baseline"
"B" = "investigative"

[[list]]
id = "harmless"
kind = "known-good"
format = "hashsum"
paths = ["harmless.md5"]
"""
#: Rows of the list whose md5 is known good, so that nothing of them is listed.
KNOWN_GOOD = (7, 8)
REFUSED = "CURRENT refused"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists, two seal keys, and the same lists compiled into stores that are plain and sealed with the first key."""
    directory = tmp_path_factory.mktemp("sealed")
    rows = [
        [*(HEX[name][row] for name in NAMES), "AB"[row % 2], f"case {row // 2}" if row % 3 == 0 else ""]
        for row in range(ROWS)
    ]
    listfiles.write(directory / "police.csv", listfiles.csv_lines([*NAMES, "category", "reference"], rows))
    sums = [f"{HEX['md5'][row]}  harmless\n" for row in KNOWN_GOOD]
    listfiles.write(directory / "harmless.md5", "".join(sums).encode())
    listfiles.write(directory / "lists.toml", LISTS.encode())
    for name in ("one", "two"):
        said = hashwacht("keys", "new-seal", directory / name)
        assert said.out.startswith("seal key    ")
        assert f"file        {directory / name}: " in said.out
    for name, words in (("plain", ()), ("store", ("--seal-key", directory / "one"))):
        compiled(directory, name, *words)
        hashwacht("approve", "police", *WHY, "--store", directory / name)
    return directory


def compiled(directory: Path, store: str, *words: str | Path, code: int = 0, **variables: str) -> Any:
    fixed = ("compile", "--lists", directory / "lists.toml", "--with-test-list", "--by", "tests", "--json")
    said = hashwacht(*fixed, "--store", directory / store, *words, code=code, **variables)
    return said.json() if code == 0 else said


@pytest.fixture
def place(tmp_path: Path, template: Path) -> Iterator[Path]:
    shutil.copytree(template, tmp_path / "place")
    yield tmp_path / "place"
    for name in ("plain", "store"):
        assert verify_store(Store(tmp_path / "place" / name)).damage == []


def key_of(path: Path) -> Seal:
    seal = SealKeys.load(path).in_use
    assert seal is not None
    return seal


# What is stolen with a store


def every_digest() -> Iterator[bytes]:
    """All digests that a compile gets to see, and those added by hand."""
    for digests in DIGESTS.values():
        yield from digests
    yield from ADDED
    yield from (digest for _, digest in trivial_digests())
    for batch in test_list.batches():
        yield from (row.tobytes() for row in batch.digests)


def found_in(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Give (file, piece) for every half of a digest, raw or as text, that is in a file, whatever file it is."""
    pieces: dict[bytes, str] = {}
    for digest in every_digest():
        for half in (digest[: len(digest) // 2], digest[len(digest) // 2 :]):
            text = half.hex()
            pieces |= {half: text, text.encode(): text, text.upper().encode(): text}
    by_lead: dict[bytes, list[bytes]] = {}
    for piece in pieces:
        by_lead.setdefault(piece[:8], []).append(piece)
    found = []
    for path in paths:
        if not path.is_file():
            continue
        content = path.read_bytes()
        windows = {content[at : at + 8] for at in range(len(content) - 7)}
        for lead in windows & by_lead.keys():
            found += [(path.name, pieces[piece]) for piece in by_lead[lead] if piece in content]
    return found


def change_everything(store: Path, *words: str | Path) -> None:
    """Every change that takes digests, by digest, by reference and with siblings."""
    common = (*WHY, "--store", store, *words)
    hashwacht("suppress", HEX["sha256"][1], HEX["md5"][2], HEX["sha1"][3], *common)
    hashwacht("suppress", HEX["sha512"][0], "--with-siblings", *common)
    hashwacht("suppress", "--reference", "police:case 3", *common)
    hashwacht("unsuppress", HEX["md5"][2], *common)
    hashwacht("add", "--list-id", "police", "--category", "A", *(digest.hex() for digest in ADDED), *common)
    hashwacht("remove", ADDED[1].hex(), *common)


def test_no_digest_nor_half_of_one_is_in_any_file(place: Path) -> None:
    store = place / "store"
    change_everything(store, "--seal-key", place / "one")
    listfiles.write(place / "police.csv", (place / "police.csv").read_bytes().rsplit(b"\n", 2)[0] + b"\n")
    compiled(place, "store", "--seal-key", place / "one")
    assert len(list(store.glob("snapshots/*"))) == 2
    assert len(list(store.glob("overlays/*"))) == 9
    assert found_in(store.rglob("*")) == []


def test_the_control_in_a_plain_store_they_are_found(place: Path) -> None:
    change_everything(place / "plain")
    found = found_in((place / "plain").rglob("*"))
    assert {name for name, _ in found} >= {"entries.lmdb", "8.json"}
    assert {piece for name, piece in found if name == "entries.lmdb"} > {HEX["sha256"][5][:32], HEX["sha256"][5][32:]}


def test_nor_in_what_a_compile_writes_on_its_way(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spool that has to write everything to disk, looked at when all of it was read."""
    seen: list[Path] = []

    class Small(Spools):
        def __init__(self, directory: Path, memory_bytes: int) -> None:
            super().__init__(directory, 1)

    def write_snapshot(directory: Path, *rest: Any) -> Any:
        files = [path for path in directory.parent.rglob("*") if path.is_file() and path.stat().st_size]
        seen.extend(files)
        assert found_in(files) == []
        return whole(directory, *rest)

    whole = loader.build.write_snapshot
    monkeypatch.setattr(loader.build, "Spools", Small)
    monkeypatch.setattr(loader.build, "write_snapshot", write_snapshot)
    lists = read_lists_file(template / "lists.toml").lists
    build(BuildRequest(tmp_path / "store", lists, by="tests", seal_keys=SealKeys.load(template / "one")))
    assert len(seen) >= len(NAMES)


# The same answers


def test_a_sealed_store_answers_the_same(place: Path) -> None:
    change_everything(place / "plain")
    change_everything(place / "store", "--seal-key", place / "one")
    requests: list[Any] = [
        {name: [*HEX[name], *strangers(name)] for name in NAMES},
        {"md5": [HEX["md5"][1], "x"], "sha256": [digest.hex() for digest in ADDED]},
        *({name: [text]} for name in NAMES for text in HEX[name][:4]),
        {"files": [
            {"ref": str(row), **{name: HEX[name][row] for name in NAMES if (row + len(name)) % 3}}
            for row in range(ROWS)
        ]},
        {"files": [{name: HEX[name][row] for name in NAMES} for row in range(ROWS)]},
    ]  # fmt: skip
    replies: dict[str, list[Any]] = {}
    for name, options in (("plain", ()), ("store", ("--seal-key", str(place / "one")))):
        with running_service(place / name, *options, state_dir=place / name / "tmp-state") as service:
            replies[name] = [service.match(request) for request in requests]
            packed = service.request(
                "POST", "/v1/match/sha256", b"".join(DIGESTS["sha256"]), {"Content-Type": "application/octet-stream"}
            )
            replies[name].append({"status": packed.status, "body": packed.body.decode().partition("checked")[2]})
        shutil.rmtree(place / name / "tmp-state")
    for plain, sealed in zip(replies["plain"], replies["store"], strict=True):
        assert plain.pop("snapshot_id", None) != sealed.pop("snapshot_id", "")
        assert plain == sealed
    assert len(replies["store"][0]["matches"]) > 4 * (ROWS - 20)
    assert [match["digest"] for match in replies["store"][1]["matches"]] == [HEX["md5"][1], ADDED[0].hex()]


def strangers(name: str) -> list[str]:
    return [digest.hex() for digest in listfiles.random_digests(name, 200, "nobody lists these")]


def test_the_commands_say_the_same(place: Path) -> None:
    key = ("--seal-key", place / "one")
    change_everything(place / "plain")
    change_everything(place / "store", *key)
    asked = [*HEX["md5"], *HEX["sha256"], *strangers("sha1"), *(digest.hex() for digest in ADDED)]
    said = [hashwacht("lookup", *asked, "--json", *words, "--store", place / store).json()["answers"]
            for store, words in (("plain", ()), ("store", key))]  # fmt: skip
    for answer in (*said[0], *said[1]):
        answer.get("suppressed", {}).pop("at", None)
    assert said[0] == said[1]
    assert sum(answer["match"] for answer in said[1]) > ROWS
    assert sum(answer.get("known_good", False) for answer in said[1]) == len(KNOWN_GOOD)
    shown = [hashwacht("overlay", "--json", *words, "--store", place / store).json()
             for store, words in (("plain", ()), ("store", key))]  # fmt: skip
    for part in ("suppressions", "additions"):
        assert [each["digest"] for each in shown[0][part]] == [each["digest"] for each in shown[1][part]]
    said = hashwacht("suppress", HEX["sha256"][12], *WHY, "--json", "--store", place / "store", *key).json()
    assert said["suppressed"] == [{"algorithm": "sha256", "digest": HEX["sha256"][12]}]
    assert {each["digest"] for each in said["siblings"]} >= {HEX["md5"][12], HEX["photodna"][12]}


def test_known_good_digests_are_named_as_the_supplier_knows_them(place: Path) -> None:
    said = compiled(place, "other", "--seal-key", place / "one")
    assert {each["digest"] for each in said["known_good"]["named"]} >= {HEX["md5"][row] for row in KNOWN_GOOD}
    assert said["seal_key_id"] == key_of(place / "one").key_id
    for_people = hashwacht("compile", "--lists", place / "lists.toml", "--store", place / "another",
                           HASHWACHT_SEAL_KEY=str(place / "one")).out  # fmt: skip
    assert f"sealed with {said['seal_key_id']}" in for_people
    assert HEX["md5"][KNOWN_GOOD[0]] in for_people


def test_an_addition_that_is_known_good_is_refused(place: Path) -> None:
    words = ("--list-id", "police", "--category", "A", *WHY, "--store", place / "store", "--seal-key", place / "one")
    assert "error [known_good]" in hashwacht("add", HEX["md5"][KNOWN_GOOD[0]], *words, code=3).err


# Without the key


WITH_DIGESTS: dict[str, tuple[str, ...]] = {
    "suppress": ("suppress", HEX["md5"][0], *WHY),
    "suppress --reference": ("suppress", "--reference", "police:case 0", *WHY),
    "unsuppress": ("unsuppress", HEX["md5"][0], *WHY),
    "add": ("add", "--list-id", "police", "--category", "A", "ab" * 32, *WHY),
    "remove": ("remove", "ab" * 32, *WHY),
    "lookup": ("lookup", HEX["md5"][0]),
    "compile": ("compile", "--list-id", "police", "--tier", "illegal", "--drop-list", "harmless",
                "--drop-list", test_list.LIST_ID, "-"),
}  # fmt: skip


def everything(store: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.parametrize("name", WITH_DIGESTS)
def test_without_the_key_no_command_takes_or_gives_digests(place: Path, name: str) -> None:
    store = place / "store"
    before = everything(store)
    said = hashwacht(*WITH_DIGESTS[name], "--store", store, code=4)
    assert said.err.startswith("error [seal_key_missing]: "), said.err
    assert "--seal-key" in said.err
    if name != "compile":  # which makes the key it is given the one in use
        said = hashwacht(*WITH_DIGESTS[name], "--store", store, "--seal-key", place / "two", code=4)
        assert said.err.startswith("error [seal_key_wrong]: "), said.err
        assert key_of(place / "one").key_id in said.err
    assert not said.out
    (place / "one").chmod(0o640)
    said = hashwacht(*WITH_DIGESTS[name], "--store", store, "--seal-key", place / "one", code=4)
    assert said.err.startswith("error [key_unusable]: "), said.err
    assert everything(store) == before


def test_what_needs_no_digest_needs_no_key(place: Path) -> None:
    store = ("--store", place / "store")
    hashwacht("suppress", HEX["md5"][0], *WHY, *store, "--seal-key", place / "one")
    hashwacht("revoke", "police", "--category", "A", *WHY, *store)
    hashwacht("approve", "police", *WHY, *store)
    hashwacht("verify", *store)
    hashwacht("history", *store)
    hashwacht("lists", *store)
    key_id = key_of(place / "one").key_id
    assert f"sealed      with {key_id}" in hashwacht("show", *store).out
    assert "sealed      no" in hashwacht("show", "--store", place / "plain").out
    shown = hashwacht("overlay", *store).out
    assert shown.startswith(f"overlay     5, sealed with {key_id}; digests are shown as sealed\n")
    opened = hashwacht("overlay", *store, "--seal-key", place / "one").out
    assert opened.startswith(f"overlay     5, sealed with {key_id}\n")
    assert HEX["md5"][0] in opened
    said = [hashwacht("overlay", "--json", *store, *more).json() for more in ((), ("--seal-key", place / "one"))]
    assert [(each["seal_key_id"], each["digests_sealed"]) for each in said] == [(key_id, True), (key_id, False)]
    assert HEX["md5"][0] not in shown
    assert key_of(place / "one").seal(DIGESTS["md5"][0], ALGORITHMS["md5"]).hex() in shown


def refusal(service: ServiceProcess) -> tuple[int, Any]:
    status, reply = service.ready()
    return status, reply["refused"]["reason"]


def test_a_service_without_the_right_key_is_not_ready_and_says_why(place: Path) -> None:
    asked = {"sha256": HEX["sha256"]}
    for key, reason in ((None, "seal_key_missing"), ("two", "seal_key_wrong")):
        options = () if key is None else ("--seal-key", str(place / key))
        with running_service(place / "store", *options, ready=False, may_log=REFUSED) as service:
            assert until(lambda: service.log.count("CURRENT refused") == 2, 30), service.log
            answer = service.get("/readyz")
            assert answer.status == 503
            assert key_of(place / "one").key_id in answer.body.decode()
            assert service.post("/v1/match", asked).problem() == (503, reason)
    with running_service(place / "store", HASHWACHT_SEAL_KEY=str(place / "one")) as service:
        assert len(service.match(asked)["matches"]) == ROWS - len(KNOWN_GOOD)


def test_a_service_does_not_start_with_a_key_that_is_none(place: Path) -> None:
    for name, says in (("lists.toml", "line 1: is no seal key"), ("nothing", "No such file")):
        if name != "nothing":
            (place / name).chmod(0o600)
        said = hashwacht("serve", "--store", place / "store", "--port", "0", "--seal-key", place / name, code=2)
        assert f"--seal-key or HASHWACHT_SEAL_KEY: {place / name}" in said.err
        assert says in said.err


def test_an_overlay_that_is_sealed_otherwise_is_not_put_on_a_snapshot(tmp_path: Path, template: Path) -> None:
    """Its suppressions would not hold, and nothing else would tell."""
    shutil.copytree(template, tmp_path / "place")
    store = Store(tmp_path / "place" / "store")
    current = store.current()
    overlay = store.overlay(current.overlay_version, current.overlay_sha256)
    for other in (None, key_of(template / "two").key_id):
        forged: Overlay = overlay.model_copy(update={"seal_key_id": other})
        store.overlay_file(forged.version).write_bytes(forged.encode())
        store.current_file.write_bytes(current.model_copy(update={"overlay_sha256": forged.sha256}).encode())
        both = write_both(tmp_path / "place", "one", "two")
        with running_service(store.path, "--seal-key", str(both), ready=False, may_log=REFUSED) as service:
            assert until(lambda: service.log.count("CURRENT refused") == 2, 30), service.log
            assert service.post("/v1/match", {"md5": HEX["md5"]}).problem() == (503, "seal_key_wrong")
        assert "seal_key_wrong" in {error.reason for error in verify_store(store).damage}
        # Nor is a digest put into it, in one form or the other, nor looked up in it.
        before = everything(store.path)
        for words in (WITH_DIGESTS["suppress"], WITH_DIGESTS["lookup"]):
            assert "error [seal_key_wrong]" in hashwacht(*words, "--store", store.path, "--seal-key", both, code=4).err
            assert "error [seal_key_wrong]" in hashwacht(*words, "--store", store.path, code=4).err
        hashwacht("keys", "new", tmp_path / f"signing {other}")
        words = ("keys", "sign", *WHY, "--signing-key", tmp_path / f"signing {other}")
        assert "error [seal_key_wrong]" in hashwacht(*words, "--store", store.path, code=4).err
        assert everything(store.path) == before


# From one key to another


def write_both(place: Path, *names: str) -> Path:
    path = place / f"{' and '.join(names)}"
    path.write_bytes(b"".join((place / name).read_bytes() for name in names))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(("store", "key"), [("plain", "one"), ("store", "two and one")])
def test_a_store_is_sealed_anew_while_it_is_served(place: Path, store: str, key: str) -> None:
    both = write_both(place, "two", "one")
    old = () if store == "plain" else ("--seal-key", place / "one")
    change_everything(place / store, *old)
    asked = {name: HEX[name] for name in NAMES} | {"sha256": [*HEX["sha256"], ADDED[0].hex()]}
    with running_service(place / store, "--seal-key", str(both)) as service:
        before = service.match(asked)
        assert len(before["matches"]) > 4 * (ROWS - 20)
        said = compiled(place, store, "--seal-key", place / key, code=3)
        assert said.err.startswith(f"error [seal_changed]: {place / store}: is ")
        assert "say so with --accept-diff REASON" in said.err
        checked = compiled(place, store, "--seal-key", place / key, "--check")
        assert [finding["kind"] for finding in checked["findings"]] == ["seal_changed"]
        said = compiled(place, store, "--seal-key", place / key, "--accept-diff", "a new seal key")
        assert said["generation"] == Store(place / store).current().generation
        assert [finding["kind"] for finding in said["findings"]] == ["seal_changed"]
        assert until(lambda: service.ready()[1]["generation"] == said["generation"], 20), service.log
        assert until(lambda: service.log.count("snapshot live") == 4, 20), service.log
        after = service.match(asked)
        assert after["snapshot_id"] == said["snapshot_id"] != before["snapshot_id"]
        assert after["matches"] == before["matches"]
    # What was there before is gone, and with it whatever the old key, or none, would open.
    assert [path.name for path in (place / store / "snapshots").iterdir()] == [said["snapshot_id"]]
    assert len(list((place / store / "overlays").iterdir())) == 1
    assert found_in((place / store).rglob("*")) == []
    in_use = key_of(place / key)
    with running_service(place / store, "--seal-key", str(place / key)) as service:
        assert service.match(asked)["matches"] == before["matches"]
    assert Store(place / store).overlay(*overlay_in_force(place / store)).seal_key_id == in_use.key_id
    hashwacht("unsuppress", HEX["sha256"][1], *WHY, "--store", place / store, "--seal-key", place / key)


def overlay_in_force(store: Path) -> tuple[int, str | None]:
    current = Store(store).current()
    return current.overlay_version, current.overlay_sha256


def test_a_key_is_exchanged_only_by_who_has_the_one_before(place: Path) -> None:
    store = place / "store"
    hashwacht("suppress", HEX["md5"][0], *WHY, "--store", store, "--seal-key", place / "one")
    said = compiled(place, "store", "--seal-key", place / "two", "--accept-diff", "a new seal key", code=4)
    assert said.err.startswith("error [seal_key_wrong]: ")
    assert str(store / "overlays") in said.err
    # Where no digest is suppressed or added, there is nothing that the old key would be needed for.
    hashwacht("unsuppress", HEX["md5"][0], *WHY, "--store", store, "--seal-key", place / "one")
    compiled(place, "store", "--seal-key", place / "two", "--accept-diff", "a new seal key")


def test_the_short_form_exchanges_no_key_in_passing(place: Path) -> None:
    """It accepts what is in the list, but a key from the environment is no list."""
    path = listfiles.write(place / "short.txt", listfiles.hex_lines(DIGESTS["sha256"]))
    short = ("compile", "--list-id", "police", "--tier", "illegal", "--drop-list", "harmless", "--drop-list",
             test_list.LIST_ID, path)  # fmt: skip
    for store, key in (("plain", "one"), ("store", "two")):
        before = everything(place / store)
        said = hashwacht(*short, "--store", place / store, code=3, HASHWACHT_SEAL_KEY=str(place / key))
        assert said.err.startswith("error [seal_changed]: ")
        assert everything(place / store) == before
    hashwacht(*short, "--store", place / "plain", "--seal-key", place / "one", "--accept-diff", "sealed from now on")


def test_nothing_unsealed_is_written_where_something_is_sealed(tmp_path: Path, template: Path) -> None:
    """Not even where what is live cannot be understood: without its key a sealed store takes nothing."""
    shutil.copytree(template, tmp_path / "place")
    place, store = tmp_path / "place", Store(tmp_path / "place" / "store")
    store.overlay_file(overlay_in_force(store.path)[0]).write_bytes(b"nonsense")
    said = compiled(place, "store", code=4)
    assert said.err.startswith("error [overlay_damaged]: ")
    store.current_file.rename(place / "CURRENT")
    said = compiled(place, "store", code=4)
    assert said.err.startswith("error [seal_key_missing]: ")
    assert store.snapshots.name in said.err
    assert found_in(store.path.rglob("*")) == []
    compiled(place, "store", "--seal-key", place / "one")
    assert found_in(store.path.rglob("*")) == []


def test_what_could_not_be_removed_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no change at the wrong moment leaves what was to be sealed: said, and by `verify` too."""
    store = Store(place / "plain")
    old, snapshots = store.overlay_file(overlay_in_force(store.path)[0]), list(store.snapshots.iterdir())

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self == old:
            raise PermissionError(1, "refused", str(self))
        whole(self, missing_ok)

    whole = Path.unlink
    monkeypatch.setattr(Path, "unlink", unlink)
    lists = read_lists_file(place / "lists.toml").lists
    request = BuildRequest(
        store.path, lists, by="tests", seal_keys=SealKeys.load(place / "one"), may_change_seal=True,
        accept_diff="sealed from now on", drop_lists=[test_list.LIST_ID],
    )  # fmt: skip
    result = build(request)
    assert result.published is not None
    assert result.published.left == (old,)
    assert not any(path.exists() for path in snapshots)
    assert verify_store(store).leftovers == [f"overlays/{old.name} (sealed with another key, or not at all)"]
    monkeypatch.undo()
    said = compiled(place, "plain", "--seal-key", place / "one")
    assert said["not_removed"] == []
    assert not old.exists()
    assert verify_store(store).leftovers == []


def test_no_snapshot_goes_under_an_overlay_that_is_sealed_otherwise(place: Path) -> None:
    """A snapshot that somebody put back into the store, and that its history knows."""
    plain = Store(place / "plain")
    snapshot_id = plain.current().snapshot_id
    shutil.copytree(plain.snapshot_dir(snapshot_id), place / "kept")
    compiled(place, "plain", "--seal-key", place / "one", "--accept-diff", "sealed from now on")
    assert not plain.snapshot_dir(snapshot_id).exists()
    shutil.copytree(place / "kept", plain.snapshot_dir(snapshot_id))
    before = plain.read_current_bytes()
    said = hashwacht("rollback", snapshot_id, "--store", plain.path, code=4)
    assert said.err.startswith("error [seal_key_wrong]: ")
    assert f"Sealed like it: {plain.current().snapshot_id}. Roll back to one of these" in said.err
    assert plain.read_current_bytes() == before
    said = hashwacht("diff", snapshot_id, "--store", plain.path, code=4)
    assert said.err.startswith("error [seal_key_wrong]: ")
    compiled(place, "plain", "--seal-key", place / "one")
    assert not plain.snapshot_dir(snapshot_id).exists()


def test_the_same_lists_and_key_give_the_same_snapshot(place: Path) -> None:
    ids = {name: compiled(place, name, *words)["snapshot_id"] for name, words in {
        "a": ("--seal-key", place / "one"), "b": ("--seal-key", write_both(place, "one", "two")),
        "c": ("--seal-key", place / "two"), "d": (),
    }.items()}  # fmt: skip
    assert ids["a"] == ids["b"] == Store(place / "store").current().snapshot_id
    assert len(set(ids.values())) == 3
    manifest = json.loads((place / "a" / "snapshots" / ids["a"] / "manifest.json").read_bytes())
    assert manifest["seal_key_id"] == key_of(place / "one").key_id
    assert key_of(place / "one").seal(DIGESTS["sha256"][0], SHA256) != DIGESTS["sha256"][0]
