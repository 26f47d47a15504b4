"""A real service with trusted keys: what it refuses to take over, what it says of it, and that it goes on meanwhile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snapshot.signing import SigningKey
from snapshot.store import Current, Store
from tests import listfiles
from tests.command import compile_lists, hashwacht
from tests.service.snapshots import write_current
from tests.service_process import ServiceProcess, running_service, until

OLD, NEW, BOTH = (listfiles.random_digests("sha256", 20, name) for name in ("old", "new", "both"))
REFUSED = r"CURRENT refused"
WHY = ("--reason", "a test", "--by", "tests")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two key pairs and a signed store. Its generations: 1 has OLD and BOTH, 2 NEW and BOTH, 3 suppresses BOTH[0]."""
    directory = tmp_path_factory.mktemp("template")
    for name in ("one", "two"):
        hashwacht("keys", "new", directory / name)
    store = directory / "store"
    for generation, digests in ((1, OLD), (2, NEW)):
        path = listfiles.write(directory / f"{generation}.txt", listfiles.hex_lines([*digests, *BOTH]))
        compile_lists(store, path, extra=["--signing-key", directory / "one"])
        shutil.copy(store / "CURRENT", directory / f"CURRENT.{generation}")
    hashwacht("suppress", BOTH[0].hex(), *WHY, "--store", store, "--signing-key", directory / "one")
    shutil.copy(store / "CURRENT", directory / "CURRENT.3")
    return directory


class Place:
    """A copy of the template, for one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "store"
        self.state = directory / "state"
        self.one, self.two = (SigningKey.load(directory / name) for name in ("one", "two"))

    def current(self, generation: int) -> Current:
        """Give CURRENT of 1, 2 or 3, as it was signed."""
        return Current.model_validate_json((self.directory / f"CURRENT.{generation}").read_bytes())

    def put(self, current: Current) -> None:
        write_current(self.store, current.encode())

    def running(self, keys: str = "one.pub", **more: Any) -> Any:
        trusted = ("--trusted-keys", self.directory / keys)
        return running_service(self.store, *trusted, state_dir=self.state, may_log=REFUSED, **more)

    def change(self, *words: str | Path, key: str = "one") -> None:
        hashwacht(*words, "--store", self.store, "--signing-key", self.directory / key)

    @property
    def note(self) -> Path:
        (found,) = (self.state / "generations").glob("*.json")
        return found


@pytest.fixture
def place(tmp_path: Path, template: Path) -> Iterator[Place]:
    shutil.copytree(template, tmp_path / "place")
    return Place(tmp_path / "place")


def says(service: ServiceProcess, generation: int, refused: str | None) -> Callable[[], bool]:
    """Tell whether all workers are ready with a generation, and refuse another for this reason."""

    def holds() -> bool:
        for _ in range(6):
            status, ready = service.ready()
            reason = (ready.get("refused") or {}).get("reason")
            if (status, ready.get("generation"), reason) != (200, generation, refused):
                return False
        return True

    return holds


def is_not_ready(service: ServiceProcess, reason: str) -> Callable[[], bool]:
    def holds() -> bool:
        return all((service.get("/readyz").status, service.ready()[1].get("reason")) == (503, reason) for _ in range(6))

    return holds


def matches(service: ServiceProcess) -> tuple[bool, bool, bool]:
    """Give whether a digest of OLD, one of NEW and the suppressed one are matches, the same by every worker."""
    asked = {"sha256": [OLD[1].hex(), NEW[1].hex(), BOTH[0].hex()]}
    answers = set()
    for _ in range(6):
        found = {match["digest"] for match in service.match(asked)["matches"]}
        answers.add(tuple(text in found for text in asked["sha256"]))
    (answer,) = answers
    return answer


AT_3 = (False, True, False)


def test_a_signed_store_is_served_and_followed(place: Place) -> None:
    with place.running() as service:
        assert until(says(service, 3, None), 5), service.ready()
        assert matches(service) == AT_3
        place.change("unsuppress", BOTH[0].hex(), *WHY)
        assert until(says(service, 4, None), 5), service.ready()
        assert matches(service) == (False, True, True)
        place.change("rollback")
        assert until(says(service, 5, None), 5), service.ready()
        assert matches(service) == (True, False, True)
        compile_lists(place.store, place.directory / "2.txt", extra=["--signing-key", place.directory / "one"])
        assert until(says(service, 6, None), 5), service.ready()
        place.change("revoke", "list", *WHY)
        assert until(says(service, 7, None), 5), service.ready()
        assert matches(service) == (False, False, False)
        place.change("approve", "list", *WHY)
        assert until(says(service, 8, None), 5), service.ready()
        assert matches(service) == (False, True, True)
        assert json.loads(place.note.read_bytes()) == {"store": str(place.store), "generation": 8}
        assert REFUSED not in service.log
    with place.running() as service:
        assert until(says(service, 8, None), 5)


def exchanges(place: Place) -> dict[str, tuple[Current, str]]:
    """Give what somebody who may write to the store could put in place of generation 3, and why it is refused."""
    first, live = place.current(1), place.current(3)
    snapshot = {"snapshot_id": first.snapshot_id, "manifest_sha256": first.manifest_sha256}
    overlay = {"overlay_version": first.overlay_version, "overlay_sha256": first.overlay_sha256}
    unsigned = {"signature": None, "key_id": None}
    return {
        "not signed": (live.model_copy(update={"generation": 4, **unsigned}), "signature_missing"),
        "the same, not signed": (live.model_copy(update=unsigned), "signature_missing"),
        "another key's": (place.two.sign(live.model_copy(update={"generation": 4})), "signature_wrong"),
        "another key's in our name": (
            place.two.sign(live.model_copy(update={"generation": 4})).model_copy(update={"key_id": live.key_id}),
            "signature_wrong",
        ),
        "an old one": (place.current(2), "generation_went_back"),
        "the oldest": (first, "generation_went_back"),
        "an old one as a new one": (first.model_copy(update={"generation": 4}), "signature_wrong"),
        "an old snapshot": (live.model_copy(update=snapshot), "signature_wrong"),
        "an old snapshot as a new one": (live.model_copy(update={"generation": 4, **snapshot}), "signature_wrong"),
        "an old overlay": (live.model_copy(update=overlay), "signature_wrong"),
        "an old overlay as a new one": (live.model_copy(update={"generation": 4, **overlay}), "signature_wrong"),
        "no overlay": (
            live.model_copy(update={"generation": 4, "overlay_version": 0, "overlay_sha256": None}), "signature_wrong",
        ),
        "a signature that is no base64": (
            live.model_copy(update={"generation": 4, "signature": "é" * 88}), "signature_wrong",
        ),
    }  # fmt: skip


def test_whatever_is_exchanged_is_refused_and_what_was_served_goes_on(place: Place) -> None:
    with place.running() as service:
        assert until(says(service, 3, None), 5), service.ready()
        wrong = exchanges(place)
        for number, (name, (current, reason)) in enumerate(wrong.items(), start=1):
            place.put(current)
            assert until(lambda: service.log.count(REFUSED) == 2 * number, 5), (name, service.log)  # noqa: B023
            assert until(says(service, 3, reason), 5), (name, service.ready())
            _, ready = service.ready()
            assert ready["refused"]["generation"] == current.generation, name
            assert str(place.store / "CURRENT") in ready["refused"]["message"], name
            assert matches(service) == AT_3, name
            place.put(place.current(3))
            assert until(says(service, 3, None), 5), (name, service.ready())
        assert service.log.count(REFUSED) == 2 * len(wrong)  # by each worker once, and no surprise among them
        assert "internal_error" not in service.log
        # And it takes over what is right, whatever there was before.
        place.change("unsuppress", BOTH[0].hex(), *WHY)
        assert until(says(service, 4, None), 5), service.ready()
        assert matches(service) == (False, True, True)


@pytest.mark.parametrize("file", ["overlays/{overlay_version}.json", "snapshots/{snapshot_id}/manifest.json"])
def test_a_file_that_a_signed_current_names_is_exchanged(place: Place, file: str) -> None:
    """The signature holds; what it vouches for does not."""
    live, first = place.current(3), place.current(1)
    path, other = (place.store / file.format(**each.model_dump()) for each in (live, first))
    mine = path.read_bytes()
    path.write_bytes(other.read_bytes())
    with place.running(ready=False) as service:
        reason = "overlay_damaged" if "overlay" in file else "manifest_damaged"
        assert until(is_not_ready(service, reason), 10), service.ready()
        assert service.post("/v1/match", {"sha256": [OLD[1].hex()]}).problem() == (503, reason)
        path.write_bytes(mine)
        assert until(says(service, 3, None), 10), service.ready()
        assert matches(service) == AT_3


def test_without_a_trusted_state_it_starts_and_is_not_ready(place: Place) -> None:
    wrong = [exchanges(place)[name] for name in ("not signed", "another key's", "no overlay", "not signed")]
    place.put(wrong[0][0])
    with place.running(ready=False) as service:
        for current, reason in wrong:
            place.put(current)
            assert until(is_not_ready(service, reason), 10), service.ready()
            assert service.get("/livez").status == 200
            assert service.get("/v1/snapshot").problem() == (503, reason)
            assert service.post("/v1/match", {"sha256": [BOTH[0].hex()]}).problem() == (503, reason)
        place.put(place.current(3))
        assert until(says(service, 3, None), 10), service.ready()
        assert matches(service) == AT_3


def test_an_old_current_is_refused_after_a_restart_too(place: Place) -> None:
    with place.running() as service:
        assert until(says(service, 3, None), 5)
    place.put(place.current(1))
    with place.running(ready=False) as service:
        for generation in (1, 2):
            place.put(place.current(generation))
            assert until(lambda g=generation: f"generation {g} is older than 3" in service.ready()[1]["detail"], 10)
            assert until(is_not_ready(service, "generation_went_back"), 10), service.ready()
            assert f"remove {place.note} to accept it" in service.ready()[1]["detail"]
            assert service.post("/v1/match", {"sha256": [OLD[1].hex()]}).problem() == (503, "generation_went_back")
    # As the message says, and on purpose.
    place.note.unlink()
    with place.running() as service:
        assert until(says(service, 2, None), 5)
        assert json.loads(place.note.read_bytes())["generation"] == 2
        place.put(place.current(3))
        assert until(says(service, 3, None), 5)
        assert until(lambda: json.loads(place.note.read_bytes())["generation"] == 3, 5)


def test_an_old_state_that_is_signed_anew_does_not_replace_a_newer_one_that_is_served(place: Place) -> None:
    """Somebody puts an old CURRENT back and removes the history; an unsuspecting operator then changes something."""
    with place.running() as service:
        assert until(says(service, 3, None), 5)
        place.put(place.current(2))
        assert until(says(service, 3, "generation_went_back"), 5)
        shutil.rmtree(place.store / "history")
        (place.store / "history").mkdir()
        place.change("suppress", OLD[0].hex(), *WHY)  # generation 3 once more, on what generation 2 was
        assert until(says(service, 3, "generation_went_back"), 5)
        assert Store(place.store).current().generation == 3
        assert matches(service) == AT_3


def test_a_damaged_note_is_said_does_not_stop_the_service_and_is_mended(place: Place) -> None:
    content = b'{"generation": '
    with place.running() as service:
        assert until(says(service, 3, None), 5)
    place.note.write_bytes(content)
    damaged = rf"{REFUSED}|the note of the highest generation is damaged"
    trusted = ("--trusted-keys", place.directory / "one.pub")
    with running_service(place.store, *trusted, state_dir=place.state, may_log=damaged) as service:
        assert until(says(service, 3, None), 5)
        service.wait_for("the note of the highest generation is damaged and does not count")
        assert until(lambda: place.note.read_bytes() != content, 5)
        assert json.loads(place.note.read_bytes())["generation"] == 3


def test_a_state_directory_that_cannot_be_had_costs_the_memory_of_restarts_alone(place: Place) -> None:
    place.state.write_bytes(b"a file, and no directory")
    with place.running() as service:
        assert until(says(service, 3, None), 5)
        service.wait_for("the state directory cannot be used")
        for name in ("not signed", "an old one", "no overlay"):
            current, reason = exchanges(place)[name]
            place.put(current)
            assert until(says(service, 3, reason), 5), (name, service.ready())
            place.put(place.current(3))
            assert until(says(service, 3, None), 5)


def test_a_key_is_replaced_without_a_gap(place: Place) -> None:
    both = place.directory / "both.pem"
    both.write_bytes((place.directory / "one.pub").read_bytes() + (place.directory / "two.pub").read_bytes())
    with place.running("both.pem") as service:
        assert until(says(service, 3, None), 5)
        place.change("keys", "sign", *WHY, key="two")
        assert until(says(service, 4, None), 5)
        place.change("unsuppress", BOTH[0].hex(), *WHY, key="two")
        assert until(says(service, 5, None), 5)
        assert matches(service) == (False, True, True)
    with place.running("two.pub") as service:
        assert until(says(service, 5, None), 5)
        place.change("keys", "sign", *WHY, key="one")
        assert until(says(service, 5, "signature_wrong"), 5)
        assert matches(service) == (False, True, True)
        place.change("keys", "sign", *WHY, key="two")
        place.change("suppress", BOTH[0].hex(), *WHY, key="two")
        assert until(says(service, 8, None), 5)
        assert matches(service) == AT_3


def test_a_store_that_was_not_signed_is_signed_on_purpose(place: Place, tmp_path: Path) -> None:
    place.store = tmp_path / "unsigned"
    compile_lists(place.store, place.directory / "1.txt")
    with place.running(ready=False) as service:
        assert until(is_not_ready(service, "signature_missing"), 10), service.ready()
        place.change("keys", "sign", *WHY)
        assert until(says(service, 2, None), 10), service.ready()
        assert matches(service) == (True, False, True)
