"""The overlay's commands as a user runs them, and a real service that takes their changes up under load."""

from __future__ import annotations

import base64
import getpass
import hashlib
import http.client
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from snapshot.algorithms import ALGORITHMS
from snapshot.overlay import Overlay
from snapshot.store import Store
from snapshot.verify import verify_store
from tests import listfiles
from tests.command import ROOT, command_line, compile_lists, environment, hashwacht
from tests.service_process import ServiceProcess, running_service, until

COUNT = 60
#: Entry n has a digest of each, category a or b in turn, and for n < 40 the reference "ref n".
OF = {name: listfiles.random_digests(name, COUNT, "overlay") for name in ("md5", "sha1", "sha256", "photodna")}
UNLISTED = {name: listfiles.random_digests(name, 5, "unlisted")[0] for name in ALGORITHMS}
HEX = {name: [raw.hex() for raw in raws] for name, raws in OF.items()}
WHY = ("--reason", "a test")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template")
    rows = [
        [OF["md5"][n].hex(), OF["sha1"][n].hex(), OF["sha256"][n].hex(), base64.b64encode(OF["photodna"][n]).decode(),
         "ab"[n % 2], f"ref {n}" if n < 40 else ""]
        for n in range(COUNT)
    ]  # fmt: skip
    content = listfiles.csv_lines([*OF, "category", "reference"], rows)
    compile_lists(
        directory / "store", listfiles.write(directory / "list.csv", content), list_id="police", tier="baseline"
    )
    return directory / "store"


@pytest.fixture
def store(tmp_path: Path, template: Path) -> Iterator[Path]:
    """A store whose two classes are on; whole when the test is over."""
    shutil.copytree(template, tmp_path / "store")
    yield tmp_path / "store"
    assert verify_store(Store(tmp_path / "store")).damage == []


def overlay(store: Path) -> Overlay:
    current = Store(store).current()
    return Store(store).overlay(current.overlay_version, current.overlay_sha256)


def refused(store: Path, *words: str | Path, code: int, says: str) -> str:
    """Run a command that is refused and changes nothing; give what it said."""
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    said = hashwacht(*words, "--store", store, code=code)
    assert says in said.err, said.err
    assert not said.out
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    return said.err


# approve and revoke


def test_revoke_and_approve_for_people(store: Path) -> None:
    said = hashwacht("revoke", "police", *WHY, "--store", store)
    assert said.out.splitlines() == [
        "revoked     police / a / baseline", "revoked     police / b / baseline", "live        generation 2, overlay 2",
    ]  # fmt: skip
    said = hashwacht("approve", "police", "--category", "b", "--by", "K. Officer", "--store", store)
    assert said.out.splitlines() == [
        "approved    police / b / baseline: 30 md5, 30 photodna, 30 sha1, 30 sha256",
        "live        generation 3, overlay 3",
    ]
    history = hashwacht("history", "--store", store, "--json").json()
    assert [(entry["action"], entry["by"], entry["reason"]) for entry in history[:2]] == [
        ("approve", "K. Officer", None), ("revoke", getpass.getuser(), "a test"),
    ]  # fmt: skip


def test_revoke_and_approve_for_scripts(store: Path) -> None:
    said = hashwacht("revoke", "police", "--category", "a", *WHY, "--by", "x", "--store", store, "--json").json()
    assert said == {
        "generation": 2, "overlay_version": 2,
        "revoked": [{"list_id": "police", "category": "a", "tier": "baseline"}],
    }  # fmt: skip
    said = hashwacht("approve", "police", "--by", "x", *WHY, "--store", store, "--json").json()
    (facts,) = said.pop("approved")
    assert said == {"generation": 3, "overlay_version": 3}
    assert {key: facts[key] for key in ("list_id", "category", "tier", "entries")} == {
        "list_id": "police", "category": "a", "tier": "baseline", "entries": dict.fromkeys(OF, 30),
    }  # fmt: skip


def test_refusals_of_approve_and_revoke(store: Path) -> None:
    refused(
        store, "approve", "police", "--by", "x", code=3, says="error [nothing_to_change]: police: is approved already"
    )
    refused(store, "approve", "nobody", "--by", "x", code=3, says="error [class_unknown]: nobody: no such list is live")
    refused(
        store, "approve", "police", "--category", "z", "--by", "x", code=3, says="no such category is live. There: a, b"
    )
    refused(store, "revoke", "police", "--category", "z", *WHY, code=3, says="error [nothing_to_change]: police / z")
    refused(store, "approve", "police", code=2, says="Missing option '--by'")
    refused(store, "revoke", "police", code=2, says="Missing option '--reason'")
    for text in ("", " ", "x" * 1025, "two\nlines", "\x1b[31m"):
        refused(store, "revoke", "police", "--reason", text, code=2, says="1 to 1,024 printable characters")
    refused(store, "approve", "police", "--by", "a\tb", code=2, says="1 to 1,024 printable characters")


def test_unknown_tiers_stay_off(tmp_path: Path) -> None:
    path = listfiles.write(tmp_path / "list", listfiles.hex_lines(OF["sha256"]))
    compile_lists(tmp_path / "unknown", path, list_id="police", tier="unknown")
    assert overlay(tmp_path / "unknown").approvals == ()
    for words in ([], ["--category", "default"]):
        refused(tmp_path / "unknown", "approve", "police", *words, "--by", "x", code=3, says="error [class_unknown]")


def test_another_tier_revokes(store: Path, tmp_path: Path) -> None:
    """Compiled as baseline, then as other, then as baseline again by somebody who only rolls back."""
    path = listfiles.write(tmp_path / "list", listfiles.hex_lines(OF["sha256"]))
    compile_lists(tmp_path / "s", path, list_id="police", tier="baseline")
    first = Store(tmp_path / "s").current().snapshot_id
    compile_lists(tmp_path / "s", path, list_id="police", tier="other")
    assert {each.tier.value for each in overlay(tmp_path / "s").approvals} == {"other"}
    hashwacht("rollback", "--store", tmp_path / "s", first)
    assert {each.tier.value for each in overlay(tmp_path / "s").approvals} == {"other"}


# suppress and unsuppress


def test_suppress_for_people_names_siblings(store: Path) -> None:
    said = hashwacht("suppress", HEX["sha256"][6], UNLISTED["md5"].hex(), *WHY, "--store", store)
    assert said.out.splitlines() == [
        f"suppressed  {HEX['sha256'][6]}  sha256  police / a / baseline / ref 6",
        f"suppressed  {UNLISTED['md5'].hex()}  md5  not listed",
        *(f"sibling     {HEX[name][6]}  {name}  police / ref 6: not suppressed; take it along with --with-siblings"
          for name in ("md5", "sha1", "photodna")),
        "live        generation 2, overlay 2",
    ]  # fmt: skip
    said = hashwacht("suppress", HEX["md5"][6], "--with-siblings", *WHY, "--store", store)
    assert said.out.splitlines() == [
        f"suppressed  {HEX['md5'][6]}  md5  police / a / baseline / ref 6",
        *(f"suppressed  {HEX[name][6]}  {name}  sibling, police / ref 6" for name in ("sha1", "photodna")),
        "live        generation 4, overlay 4",
    ]
    said = hashwacht("suppress", HEX["sha1"][50], *WHY, "--store", store)
    assert said.out.splitlines()[1] == (
        "siblings    unknown of 1: the entries have no reference, which would tell other digests"
    )
    assert len(overlay(store).suppressions) == 6


def test_suppress_for_scripts(store: Path) -> None:
    words = (
        "suppress",
        HEX["sha1"][7].upper(),
        UNLISTED["sha512"].hex(),
        *WHY,
        "--by",
        "me",
        "--store",
        store,
        "--json",
    )
    sibling = [{"algorithm": name, "digest": HEX[name][7], "list_id": "police", "reference": "ref 7"}
               for name in ("md5", "sha256", "photodna")]  # fmt: skip
    named = [
        {"algorithm": "sha1", "digest": HEX["sha1"][7]},
        {"algorithm": "sha512", "digest": UNLISTED["sha512"].hex()},
    ]
    label = {"list_id": "police", "category": "b", "tier": "baseline", "reference": "ref 7"}
    expected = {
        "generation": 2, "overlay_version": 2, "suppressed": named,
        "labels": [named[0] | {"labels": [label]}, named[1] | {"labels": []}],
        "siblings": sibling, "siblings_suppressed": False,
    }  # fmt: skip
    assert hashwacht(*words).json() == expected
    assert hashwacht(*words, "--with-siblings").json() == expected | {
        "generation": 3, "overlay_version": 3, "siblings_suppressed": True,
        "suppressed": [{key: each[key] for key in ("algorithm", "digest")} for each in sibling],
    }  # fmt: skip
    assert {each.by for each in overlay(store).suppressions} == {"me"}
    refused(store, *words[:-3], code=3, says="error [nothing_to_change]: all of these digests are suppressed already")


def test_by_reference_file_and_hex_together(store: Path, tmp_path: Path) -> None:
    content = b"a file that somebody was accused of\n" * 1000
    (tmp_path / "file").write_bytes(content)
    photodna = base64.b64encode(UNLISTED["photodna"]).decode()
    words = ("--reference", "police:ref 8", "--file", tmp_path / "file", "--reference", "police:ref 9", *WHY)
    said = hashwacht("suppress", HEX["md5"][8], *words, "--store", store, "--json").json()
    expected = {(name, HEX[name][n]) for name in OF for n in (8, 9)}
    expected |= {
        (name, hashlib.new(name, content, usedforsecurity=False).hexdigest())
        for name in ("md5", "sha1", "sha256", "sha512")
    }
    assert {(each["algorithm"], each["digest"]) for each in said["suppressed"]} == expected
    assert said["siblings"] == []
    hashwacht("suppress", "--algorithm", "photodna", photodna, *WHY, "--store", store)
    expected.add(("photodna", UNLISTED["photodna"].hex()))
    assert {(each.algorithm, each.digest) for each in overlay(store).suppressions} == expected
    said = hashwacht("unsuppress", HEX["md5"][8], *words, "--store", store, "--json").json()
    assert said == {"generation": 4, "overlay_version": 4, "lifted": 12}
    said = hashwacht("unsuppress", "--algorithm", "photodna", UNLISTED["photodna"].hex(), *WHY, "--store", store)
    assert said.out.splitlines() == ["lifted      1 suppressions", "live        generation 5, overlay 5"]
    assert overlay(store).suppressions == ()


def test_refusals_of_suppress(store: Path, tmp_path: Path) -> None:
    usage = "give digests, --reference or --file"
    refused(store, "suppress", *WHY, code=2, says=usage)
    refused(store, "suppress", HEX["md5"][0], code=2, says="Missing option '--reason'")
    for bad, says in (
        ("xyz", "digest 2 of 2 has 3 characters"), ("g" * 64, "digest 2 of 2 has a character other than"),
        ("0x" + "a" * 62, "digest 2 of 2 has a character other than"),
        ("é" * 32, "digest 2 of 2 has a character other than"),
    ):  # fmt: skip
        assert bad not in refused(store, "suppress", HEX["md5"][0], bad, *WHY, code=2, says=says)
    refused(store, "suppress", "--algorithm", "md5", HEX["sha1"][0], *WHY, code=2, says="has 40 characters, md5 has 32")
    refused(store, "suppress", "--file", tmp_path / "none", *WHY, code=2, says="does not exist")
    for reference in ("police", ":x", "police:", ""):
        refused(store, "suppress", "--reference", reference, *WHY, code=2, says="write LIST:REF")
    for reference in ("police:ref 40", "nobody:ref 1", "police:ref 1 ", "police:\udcff", "\udcff:x"):
        refused(store, "suppress", "--reference", reference, *WHY, code=3, says="error [class_unknown]")
    refused(store, "unsuppress", HEX["md5"][0], *WHY, code=3, says="none of these digests is suppressed")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_damaged_snapshot_does_not_keep_a_digest_from_being_suppressed(
    tmp_path: Path, template: Path, as_json: bool
) -> None:
    store = tmp_path / "damaged"
    shutil.copytree(template, store)
    path = Store(store).live_dir(Store(store).current()) / "entries.lmdb"
    path.write_bytes(path.read_bytes()[:4096])
    said = hashwacht("suppress", HEX["md5"][0], *WHY, "--store", store, *(["--json"] if as_json else []), code=4)
    assert f"error [wrong_size]: {path}" in said.err
    if as_json:
        assert said.json()["suppressed"] == [{"algorithm": "md5", "digest": HEX["md5"][0]}]
    else:
        assert said.out.splitlines() == [
            f"suppressed  {HEX['md5'][0]}  md5  what lists it could not be read", "live        generation 2, overlay 2",
        ]  # fmt: skip
    assert [each.digest for each in overlay(store).suppressions] == [HEX["md5"][0]]


@pytest.mark.parametrize("name", ["", "x" * 1025, "bad\udcffname", "line\nbreak"])
def test_a_user_whose_name_is_no_text_is_asked_for_one(store: Path, name: str) -> None:
    words = ("suppress", HEX["md5"][0], *WHY, "--store", store)
    environ = {"LOGNAME": name}
    if name:
        said = hashwacht(*words, code=2, **environ)
        assert "give --by" in said.err
    hashwacht(*words, "--by", "me", **environ)
    assert overlay(store).suppressions[0].by == "me"


# add and remove


def test_add_and_remove(store: Path) -> None:
    one, other = UNLISTED["sha256"].hex(), UNLISTED["md5"].hex()
    where = ("--list-id", "police", "--category", "a", *WHY, "--store", store)
    said = hashwacht("add", one, other, *where, "--as-reference", "case 1")
    assert said.out.splitlines() == [
        f"added       {one}  sha256  police / a / baseline", f"added       {other}  md5  police / a / baseline",
        "live        generation 2, overlay 2",
    ]  # fmt: skip
    refused(store, "add", one, *where[:-2], "--as-reference", "case 1", code=3, says="added already")
    said = hashwacht(
        "add", base64.b64encode(UNLISTED["photodna"]).decode(), "--algorithm", "photodna", *where, "--json"
    )
    assert said.json() == {
        "generation": 3, "overlay_version": 3, "list_id": "police", "category": "a", "tier": "baseline",
        "added": [{"algorithm": "photodna", "digest": UNLISTED["photodna"].hex()}],
    }  # fmt: skip
    said = hashwacht("suppress", "--reference", "police:case 1", *WHY, "--store", store, "--json").json()
    assert [each["digest"] for each in said["suppressed"]] == [one, other]
    assert said["labels"][0]["labels"][0]["reference"] == "case 1"
    said = hashwacht("remove", one, *WHY, "--store", store)
    assert said.out.splitlines() == ["removed     1 additions", "live        generation 5, overlay 5"]
    assert hashwacht("remove", other, *WHY, "--store", store, "--json").json() == {
        "generation": 6, "overlay_version": 6, "removed": 1,
    }  # fmt: skip
    refused(store, "remove", one, *WHY, code=3, says="error [nothing_to_change]: none of these digests was added")


def test_refusals_of_add(store: Path) -> None:
    one = UNLISTED["sha256"].hex()
    into_a = ("--list-id", "police", "--category", "a", *WHY)
    empty = hashlib.sha256(b"").hexdigest()
    said = refused(store, "add", one, empty, *into_a, code=3, says="error [known_good]: digest 2 of 2 (sha256)")
    assert empty not in said
    off = ("--list-id", "police", "--category", "z", *WHY)
    refused(store, "add", one, *off, code=3, says="error [class_unknown]: police / z: is not approved")
    refused(store, "add", UNLISTED["sha512"].hex(), *into_a, code=3, says="no list with sha512 is live")
    refused(store, "add", *into_a, code=2, says="Missing argument")
    refused(store, "add", one, "--list-id", "police", *WHY, code=2, says="Missing option '--category'")
    refused(store, "add", "abc", *into_a, code=2, says="digest 1 of 1 has 3 characters")
    refused(store, "add", one, *into_a, "--as-reference", " ", code=2, says="printable characters")
    hashwacht("suppress", one, *WHY, "--store", store)
    refused(store, "add", one, *into_a, code=3, says="is suppressed, so it would not be a match")


# overlay, and whatever the command


def test_overlay_shows_what_holds_and_every_change(store: Path) -> None:
    hashwacht("suppress", HEX["md5"][50], *WHY, "--by", "one", "--store", store)
    words = ("--list-id", "police", "--category", "a", "--reason", "found it", "--by", "two", "--as-reference", "r")
    hashwacht("add", UNLISTED["md5"].hex(), *words, "--store", store)
    found = overlay(store)
    lines = hashwacht("overlay", "--store", store, "--history").out.splitlines()
    at = [f"{each.at:%Y-%m-%d %H:%M:%S} UTC" for each in (*found.suppressions, *found.additions)]
    assert lines[0] == "overlay     3"
    assert [line.split(", by ")[0] for line in lines[1:3]] == [
        "approved    police / a / baseline", "approved    police / b / baseline",
    ]  # fmt: skip
    assert lines[3:5] == [
        f"suppressed  {HEX['md5'][50]}  md5, by one, {at[0]}: a test",
        f"added       {UNLISTED['md5'].hex()}  md5  police / a / baseline / r, by two, {at[1]}: found it",
    ]
    assert [line.split(", by ")[0] for line in lines[5:]] == [
        "     3  add: 1 md5 to police / a",
        "     2  suppress: 1 md5 named",
    ]
    said = hashwacht("overlay", "--store", store, "--json").json()
    assert said == found.model_dump(mode="json") | {"digests_sealed": False}
    said = hashwacht("overlay", "--store", store, "--json", "--history").json()
    assert [entry["action"] for entry in said["history"]] == ["add", "suppress"]


COMMANDS: dict[str, tuple[str, ...]] = {
    "approve": ("approve", "police", "--by", "x"),
    "revoke": ("revoke", "police", *WHY),
    "suppress": ("suppress", HEX["md5"][0], *WHY),
    "suppress by reference": ("suppress", "--reference", "police:ref 1", *WHY),
    "unsuppress": ("unsuppress", HEX["md5"][0], *WHY),
    "add": ("add", UNLISTED["md5"].hex(), "--list-id", "police", "--category", "a", *WHY),
    "remove": ("remove", UNLISTED["md5"].hex(), *WHY),
    "overlay": ("overlay",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_with_nothing_in_it(tmp_path: Path, command: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    said = hashwacht(*COMMANDS[command], "--store", store, code=4)
    assert f"error [no_store]: {store}: the store has no CURRENT" in said.err
    assert list(store.iterdir()) == [], "a change must not make a store"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_overlay_is_named(tmp_path: Path, template: Path, command: str) -> None:
    store = tmp_path / "damaged"
    shutil.copytree(template, store)
    path = store / "overlays" / "1.json"
    path.write_bytes(path.read_bytes()[:-1])
    said = hashwacht(*COMMANDS[command], "--store", store, code=4)
    assert f"error [overlay_damaged]: {path}: is not the overlay that was published" in said.err
    assert Store(store).current().generation == 1


def test_a_store_that_another_change_holds(store: Path) -> None:
    holding = (
        "import sys; from pathlib import Path; from snapshot.store import Store; from snapshot.swap import swapping\n"
    )
    holding += "with swapping(Store(Path(sys.argv[1]))): print(flush=True); sys.stdin.read()"
    line = [*command_line()[:1], "-c", holding, str(store)]
    with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        began = time.monotonic()
        said = hashwacht("suppress", HEX["md5"][0], *WHY, "--store", store, code=5)
        assert 5 <= time.monotonic() - began < 15
        holder.kill()
    assert f"error [store_locked]: {store}: another change has held it for 5 seconds" in said.err
    hashwacht("suppress", HEX["md5"][0], *WHY, "--store", store)


def test_twenty_suppressions_at_once_all_hold(store: Path) -> None:
    digests = HEX["md5"][:20]
    processes = [
        subprocess.Popen(
            command_line("suppress", digest, *WHY, "--store", store), cwd=ROOT, env=environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for digest in digests
    ]  # fmt: skip
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    assert sorted(each.digest for each in overlay(store).suppressions) == sorted(digests)
    history = Store(store).history()
    assert [entry.generation for entry in history] == list(range(21, 0, -1))
    assert [entry.overlay_version for entry in history] == list(range(21, 0, -1))


# A service that follows, under load.


class Asking(threading.Thread):
    """A client that asks for the same digests all the time, on a new connection every few requests."""

    def __init__(self, service: ServiceProcess, texts: list[str]) -> None:
        super().__init__()
        self.service = service
        self.body = json.dumps({"sha256": texts})
        self.stopping = threading.Event()
        self.failures: list[str] = []
        #: When the reply was there, the overlay that it names, and which of the digests were a match.
        self.replies: list[tuple[float, int, frozenset[int]]] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            with closing(http.client.HTTPConnection(self.service.host, self.service.port, timeout=30)) as connection:
                for _ in range(4):
                    try:
                        self.ask(connection)
                    except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
                        self.failures.append(repr(error))
                    time.sleep(0.005)

    def ask(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", "/v1/match", self.body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        reply = json.loads(response.read())
        if response.status != 200:
            self.failures.append(f"{response.status} {reply}")
            return
        matched = frozenset(match["index"] for match in reply["matches"])
        self.replies.append((time.monotonic(), reply["overlay_version"], matched))


def test_every_change_is_live_in_all_workers_soon_and_no_request_fails(
    store: Path, record_property: pytest.RecordProperty
) -> None:
    """From the start of the command to the last reply of the old state: the aim is 2 s, on a machine of one's own."""
    texts = [HEX["sha256"][10], HEX["sha256"][12], HEX["sha256"][13], UNLISTED["sha256"].hex()]  # a, a, b, none
    into_a = ("--list-id", "police", "--category", "a", *WHY)
    changes: list[tuple[tuple[str, ...], set[int]]] = [
        (("suppress", texts[0], *WHY), {1, 2}),
        (("unsuppress", texts[0], *WHY), {0, 1, 2}),
        (("add", texts[3], *into_a), {0, 1, 2, 3}),
        (("revoke", "police", "--category", "a", *WHY), {2}),
        (("approve", "police", "--by", "x"), {0, 1, 2, 3}),
        (("suppress", "--reference", "police:ref 12", *WHY), {0, 2, 3}),
        (("remove", texts[3], *WHY), {0, 2}),
    ]
    states = {1: frozenset({0, 1, 2})}
    seconds = {}
    with running_service(store, workers=2) as service:
        clients = [Asking(service, texts) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            assert until(lambda: all(len(client.replies) > 10 for client in clients), 30)
            for version, (words, expected) in enumerate(changes, start=2):
                states[version] = frozenset(expected)
                began = time.monotonic()
                hashwacht(*words, "--store", store)
                line = f"generation={version} "
                assert until(lambda line=line: service.log.count(line) == 2, 20, pause=0.01), service.log
                time.sleep(0.5)  # so that a worker that is behind would be heard of
                replies = [reply for client in clients for reply in list(client.replies)]
                last = max(at for at, seen, _ in replies if seen < version)
                assert any(at > last for at, seen, _ in replies if seen == version)
                seconds[f"{version}: {words[0]}"] = round(last - began, 2)
                answer: dict[str, Any] = service.get("/v1/snapshot").json()
                assert (answer["generation"], answer["overlay_version"]) == (version, version)
                assert service.ready()[1]["overlay_version"] == version
                by_file = service.match({"files": [{"ref": "x", "sha256": text} for text in texts]})
                assert by_file["overlay_version"] == version
                assert {match["index"] for match in by_file["matches"]} == expected
                actions = {each["category"]: each["action"] for each in answer["classes"]}
                assert actions == {"a": None if words[0] == "revoke" else "block", "b": "block"}
        finally:
            for client in clients:
                client.stopping.set()
            for client in clients:
                client.join(30)
    print(f"seconds until no worker answered from the old state: {seconds}")  # noqa: T201 - pytest -s shows it
    record_property("seconds", seconds)
    assert [client.failures for client in clients] == [[], [], [], []]
    for client in clients:
        versions = [seen for _, seen, _ in client.replies]
        assert set(versions) >= {max(states)}
        for _, seen, matched in client.replies:
            assert matched == states[seen], "a reply mixes two states"
    assert max(seconds.values()) < 10
