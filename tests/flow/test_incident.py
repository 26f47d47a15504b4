"""The incident of 2021 (docs/the-wordpress-incident.md) with real images and a real service: nothing of it happens.

The images are those of Debian's wordpress package where it is installed, or unpacked in a directory that WORDPRESS_ROOT
names (`apt-get download wordpress && dpkg-deb -R wordpress_*.deb DIRECTORY`); elsewhere, images of this machine or
files of the Python installation: what counts is that they are innocent and real.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sysconfig
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from loader.guard import trivial_files
from snapshot.store import Store
from tests import listfiles
from tests.command import ROOT, command_line, environment, hashwacht
from tests.samples import pages
from tests.samples.forms import Entry, csv, entries
from tests.service_process import ServiceProcess, running_service, until

PAGE = "the-wordpress-incident.md"
STEPS = pages.steps_of((ROOT / "docs" / PAGE).read_text(encoding="utf-8"))

IMAGES = ("png", "gif", "jpg", "jpeg", "svg", "webp", "ico")
MOST_IMAGES = 400
WORKERS = 2
#: What the supplier listed before, and what else is in the new category.
BEFORE = entries("agency", 3_000, ["md5", "sha256"], ["baseline", "illegal", "investigative"], "CA-{:05}")
OTHERS = entries("other", 10, ["md5", "sha256"], ["other"], "CA-8000{}")
SAFE = """\
[[list]]
id = "agency"
format = "csv"
paths = ["agency.csv"]
[list.categories]
"baseline" = "baseline"
"illegal" = "illegal"
"investigative" = "investigative"
"""
BY_MISTAKE = SAFE + '"other" = "illegal"\n'
AS_OTHER = SAFE + '"other" = "other"\n'
KNOWN_GOOD = '\n[[list]]\nid = "cms-files"\nkind = "known-good"\nformat = "hashsum"\npaths = ["known-good.sums"]\n'


@dataclass(frozen=True)
class Cms:
    """A system's real files. `images` have distinct contents, none so trivial that it is known good anyway."""

    name: str
    images: list[Path]
    trivial: int
    #: The checksums that the package itself ships, if there are any.
    md5sums: bytes | None = None

    def entries(self) -> list[Entry]:
        """Give the images as the supplier lists them."""
        return [
            Entry(
                {name: hashlib.new(name, path.read_bytes()).digest() for name in ("md5", "sha256")},
                "other",
                f"CA-{90_001 + number}",
            )
            for number, path in enumerate(self.images)
        ]


@pytest.fixture(scope="module")
def cms() -> Cms:
    root = Path(os.environ.get("WORDPRESS_ROOT", "/"))
    md5sums = [root / "DEBIAN" / "md5sums", root / "var/lib/dpkg/info/wordpress.md5sums"]
    if found := list(images_below(root / "usr/share/wordpress")):
        shipped = next((path.read_bytes() for path in md5sums if path.exists()), None)
        return cms_of("wordpress", found, shipped)
    assert "WORDPRESS_ROOT" not in os.environ, f"no images below {root}/usr/share/wordpress"
    for directory in (Path("/usr/share"), Path(sysconfig.get_paths()["purelib"])):
        if len(found := list(images_below(directory))) >= 5:
            return cms_of(str(directory), found)
    stdlib = Path(sysconfig.get_paths()["stdlib"])  # no images at all: then any real files
    return cms_of(str(stdlib), sorted(stdlib.glob("*.py")))


def images_below(directory: Path) -> Iterator[Path]:
    yield from sorted(path for suffix in IMAGES for path in directory.rglob(f"*.{suffix}") if path.is_file())


def cms_of(name: str, paths: Iterable[Path], md5sums: bytes | None = None) -> Cms:
    by_content: dict[bytes, Path] = {}
    for path in paths:
        if len(by_content) == MOST_IMAGES:
            break
        if path.stat().st_size < 1 << 20:
            by_content.setdefault(path.read_bytes(), path)
    trivial = set(trivial_files())
    images = [path for content, path in by_content.items() if content not in trivial]
    assert len(images) >= 5, name
    print(f"{len(images)} images of {name}")  # noqa: T201 - pytest -s shows it
    return Cms(name, images, len(by_content) - len(images), md5sums)


class Agency:
    """A store, its lists.toml and the supplier's file, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "store"
        self.lists = directory / "lists.toml"

    def deliver(self, some: Iterable[Entry], lists: str = SAFE) -> None:
        (self.directory / "agency.csv").write_bytes(csv(some))
        self.lists.write_text(lists)

    def compile(self, *words: str, code: int = 0) -> str:
        said = hashwacht("compile", "--store", self.store, "--lists", self.lists, *words, code=code)
        return said.out + said.err

    def approve(self, category: str, code: int = 0) -> str:
        words = ("approve", "agency", "--category", category, "--by", "a test", "--store", self.store)
        return hashwacht(*words, code=code).err

    @property
    def generation(self) -> int:
        return Store(self.store).current().generation

    def classes(self) -> dict[str, str]:
        """Give state by category, of `hashwacht lists`."""
        found = hashwacht("lists", "--json", "--store", self.store).json()["classes"]
        return {each["category"]: each["state"] for each in found}

    def take_over(self, service: ServiceProcess) -> None:
        """Wait until every worker serves what is live."""
        line = f"generation={self.generation} "
        assert until(lambda: service.log.count(line) == WORKERS, 20, pause=0.01), service.log


@pytest.fixture
def agency(tmp_path: Path) -> Agency:
    """The supplier as it was before: three categories, approved."""
    agency = Agency(tmp_path)
    agency.deliver(BEFORE)
    agency.compile()
    hashwacht("approve", "agency", "--by", "a test", "--store", agency.store)
    return agency


@contextmanager
def serving(agency: Agency) -> Iterator[ServiceProcess]:
    with running_service(agency.store, workers=WORKERS) as service:
        yield service


def matched(service: ServiceProcess, cms: Cms) -> set[Path]:
    """Ask for every image as an upload with all its digests, and column by column; give those that match."""
    uploads = []
    for number, path in enumerate(cms.images):
        content = path.read_bytes()
        uploads.append({
            "ref": str(number), **{n: hashlib.new(n, content).hexdigest() for n in ("md5", "sha1", "sha256", "sha512")},
        })  # fmt: skip
    by_file = service.match({"files": uploads})
    assert sum(by_file["files"].values()) == len(uploads)
    assert by_file["files"]["invalid"] == 0
    found = {cms.images[match["index"]] for match in by_file["matches"]}
    columns = {name: [upload[name] for upload in uploads] for name in ("md5", "sha256")}
    by_column = service.match(columns)
    assert by_column["checked"] == dict.fromkeys(columns, len(uploads))
    assert {cms.images[match["index"]] for match in by_column["matches"]} == found
    return found


def assert_silent(service: ServiceProcess, cms: Cms) -> None:
    """No image matches, whichever worker answers; what was listed before does."""
    for _ in range(10):
        assert matched(service, cms) == set()
    control = service.match({"sha256": [entry.hex("sha256") for entry in BEFORE]})
    assert len(control["matches"]) == len(BEFORE)


def test_the_gate_says_it_and_the_category_is_off(agency: Agency, cms: Cms) -> None:
    """(a) The supplier delivers a category that nobody has heard of."""
    with serving(agency) as service:
        agency.deliver([*BEFORE, *cms.entries(), *OTHERS])
        said = agency.compile()
        count = 2 * (len(cms.images) + len(OTHERS))
        assert (
            f"note: agency/other/unknown: nobody has given the category a tier; its {count:,} digests are off" in said
        )
        agency.take_over(service)
        states = agency.classes()
        assert states == {"baseline": "on", "illegal": "on", "investigative": "on", "other": "off"}
        each = f"{count // 2:,} md5, {count // 2:,} sha256"
        assert f"off         agency / other / unknown: {each}" in hashwacht("lists", "--store", agency.store).out
        assert_silent(service, cms)
        assert "agency / other: its tier is unknown" in agency.approve("other", code=3)
        assert_silent(service, cms)


def test_the_tier_other_never_leads_to_anything(agency: Agency, cms: Cms) -> None:
    """The category is mapped for what its name says, and approved."""
    agency.deliver([*BEFORE, *cms.entries(), *OTHERS], AS_OTHER)
    agency.compile()
    agency.approve("other")
    assert agency.classes()["other"] == "off"
    with serving(agency) as service:
        assert_silent(service, cms)


def sums(cms: Cms, *names: str) -> bytes:
    """Give what md5sum and its siblings print of the images."""
    lines = [f"{hashlib.new(name, path.read_bytes()).hexdigest()}  {path}\n" for name in names for path in cms.images]
    return "".join(lines).encode()


def test_the_guard_takes_known_good_files_out_and_names_them(agency: Agency, cms: Cms) -> None:
    """(b) The category is mapped as illegal and approved, and the CMS's checksums are a known-good list."""
    listfiles.write(agency.directory / "known-good.sums", sums(cms, "md5", "sha256"))
    agency.deliver([*BEFORE, *cms.entries(), *OTHERS], BY_MISTAKE + KNOWN_GOOD)
    refused = agency.compile(code=3)
    count = 2 * len(cms.images)
    assert "error [diff_refused]" in refused
    assert f"stops: agency: {count:,} of its digests are known good, 0 were before" in refused
    told = hashwacht(
        "compile", "--store", agency.store, "--lists", agency.lists, "--json", "--accept-diff", "a CMS's files"
    ).json()
    assert (told["known_good"]["digests"], told["known_good"]["lists"]) == (count, {"agency": count})
    by_digest = {entry.hex(name): entry.reference for entry in cms.entries() for name in entry.digests}
    named = told["known_good"]["named"]
    assert len(named) == min(20, count)
    for each in named:
        assert each["labels"] == [
            {"list_id": "agency", "category": "other", "tier": "illegal", "reference": by_digest[each["digest"]]}
        ]
    said = agency.compile()
    assert (
        f"known     {count:,} listed digests are known good and left out: {count:,} of agency; tell the suppliers"
        in said
    )
    shown = [line for line in said.splitlines() if " agency / other / illegal / CA-" in line]
    assert len(shown) == 5
    agency.approve("other")
    assert agency.classes()["other"] == "on"
    with serving(agency) as service:
        assert_silent(service, cms)
        control = service.match({"md5": [entry.hex("md5") for entry in OTHERS]})
        assert len(control["matches"]) == len(OTHERS), "the category itself is on"


def test_a_known_good_list_works_by_entry(agency: Agency, cms: Cms) -> None:
    """With MD5 alone, as packages ship it: the SHA-256 of the same entries go with it."""
    listfiles.write(agency.directory / "known-good.sums", cms.md5sums or sums(cms, "md5"))
    agency.deliver([*BEFORE, *cms.entries(), *OTHERS], BY_MISTAKE + KNOWN_GOOD)
    agency.compile("--accept-diff", "a test")
    agency.approve("other")
    with serving(agency) as service:
        digests = {name: [entry.hex(name) for entry in cms.entries()] for name in ("md5", "sha256")}
        assert service.match({"md5": digests["md5"]})["matches"] == []
        assert service.match({"sha256": digests["sha256"]})["matches"] == []


def seconds_until_silent(agency: Agency, service: ServiceProcess, words: list[str | Path], silent: list[Path]) -> float:
    """Run a command; give the seconds from its start until no worker answers a match for any of these files."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in silent]
    asked: list[tuple[float, int]] = []

    def ask() -> None:  # each on a connection of its own, so that either worker answers
        asked.append((time.monotonic(), len(service.match({"sha256": digests})["matches"])))

    ask()
    assert asked[-1][1] == len(silent), "they were no match before"
    began = time.monotonic()
    line = command_line(*words, "--store", agency.store)
    with subprocess.Popen(line, cwd=ROOT, env=environment(), stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            ask()
            time.sleep(0.01)
        assert process.returncode == 0
    taken = f"generation={agency.generation} "
    while service.log.count(taken) < WORKERS:
        ask()
        assert time.monotonic() - began < 20, service.log
        time.sleep(0.01)
    everywhere = time.monotonic()
    for _ in range(50):
        ask()
        assert asked[-1][1] == 0, "a worker still answers from the old state"
    return max(everywhere, *(at for at, count in asked if count)) - began


def test_all_by_mistake_and_no_known_good_list(
    agency: Agency, cms: Cms, record_property: pytest.RecordProperty
) -> None:
    """(c) As it was in 2021; then one file is suppressed, and the class revoked."""
    agency.deliver([*BEFORE, *cms.entries(), *OTHERS], BY_MISTAKE)
    agency.compile()
    assert agency.classes()["other"] == "waiting"
    agency.approve("other")
    first, others = cms.images[0], cms.images[1:]
    why = ["--reason", "comes with the CMS", "--by", "a test"]
    seconds = {}
    with serving(agency) as service:
        assert matched(service, cms) == set(cms.images)
        seconds["suppress"] = seconds_until_silent(agency, service, ["suppress", "--file", first, *why], [first])
        assert matched(service, cms) == set(others)
        seconds["revoke"] = seconds_until_silent(
            agency, service, ["revoke", "agency", "--category", "other", *why], others
        )
        assert_silent(service, cms)
    shown = ", ".join(f"{name} {each:.2f} s" for name, each in seconds.items())
    print(f"{len(cms.images)} images of {cms.name} ({cms.trivial} trivial aside); silent in all workers: {shown}")  # noqa: T201
    record_property("seconds", seconds)
    assert max(seconds.values()) < 10


def test_the_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    found = pages.differences(PAGE, STEPS, tmp_path / "session")
    assert not found, "\n\n".join([*found, "if that is meant: python -m tests.samples.pages"])


def test_the_page_tells_the_whole_story() -> None:
    said = "\n".join(step.output for step in STEPS)
    for part in ("nobody has given the category a tier", "off         agency / other / unknown", '"matches":[]',
                 '"action":"block"', "suppressed  ", "revoked     agency / other / illegal", "error [diff_refused]",
                 "are known good and left out"):  # fmt: skip
        assert part in said, part
