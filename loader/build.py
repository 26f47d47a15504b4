"""The contents page of the loader: hash lists in, a live snapshot out.

    gate       no live list would be lost                 loader/gate.py
    list       which files, in which format               loader/sources.py, loader/readers/
    parse      a file's lines → batches of digests        loader/readers/<format>.py
    normalise  list, category, tier, reference → number   loader/label_numbers.py
    seal       digests → sealed ones, if there is a key   snapshot/seal.py
    spool      partition by leading byte, out of core     loader/spool.py
    gate       not too many bad lines, no cut, not empty  loader/report.py, loader/gate.py
    sort       each part by digest                        loader/merge.py
    guard      withdrawn and known-good digests go        loader/guard.py, loader/entries.py
    merge      repeats → one record, one label set        loader/merge.py
    write      blocks, filters, manifest                  snapshot/writer.py
    gate       a sample is found as serving will find it  loader/gate.py
    gate       not more changed than was to be expected   loader/gate.py, loader/diff.py
    publish    rename, history, CURRENT                   snapshot/publish.py

Spooling, and sorting with reading back what was spooled, are in a second thread (snapshot/pipeline.py), so that parsing
and writing keep a core each to themselves.

Until `publish` swaps CURRENT nothing has happened: whatever raises or kills before leaves the old snapshot live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from loader import gate, test_list
from loader.diff_gate import refuse_diff
from loader.entries import Collisions, numbered_places, require_second_look
from loader.errors import ListChanged
from loader.gate import Comparison
from loader.guard import Guard, trivial_digests
from loader.inputs import Limits, ListInput
from loader.label_numbers import KNOWN_GOOD, LabelTable
from loader.merge import Mask, Merger, indexed_algorithm, sort_rows
from loader.progress import Progress, Silent
from loader.readers import choose_reader
from loader.readers.base import Batch, Withdrawn
from loader.report import CompileReport, FileReport, check_bad_lines, refuse_cut_files
from loader.sources import ListFile
from loader.spool import LABEL_BYTES, Spools, numbered_rows
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.hexdigest import ByteMatrix
from snapshot.labels import LabelClass
from snapshot.manifest import ListFacts, Manifest
from snapshot.overlay import Overlay
from snapshot.pipeline import Follower, ahead
from snapshot.publish import Published, Publisher
from snapshot.seal import NO_SEAL_KEYS, Seal, SealKeys
from snapshot.signing import SigningKey
from snapshot.store import Store
from snapshot.writer import SnapshotWriter

#: Up to so many classes have at most 2^16 combinations: without references, ids of 2 bytes are enough.
_MAX_CLASSES_OF_SHORT_IDS = 16


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """All that a compile is told.

    `drop_lists` are the live lists that it may leave out. Of `approve_lists` every class with a known tier goes on with
    it. `with_test_list`: the public test list too, approved (loader/test_list.py). `limits` by list; `accept_diff` is
    the reason for which changes beyond them are accepted. `check_only`: everything but publishing. `seal_keys`: the one
    in use seals the snapshot, the others only read what is live. `may_change_seal`: it may be another than before.
    """

    store: Path
    lists: Sequence[ListInput]
    by: str
    false_positive_rate: float = 0.001
    max_bad_share: float | None = None
    memory_mib: int = 1024
    allow_empty: bool = False
    drop_lists: Sequence[str] = ()
    approve_lists: Sequence[str] = ()
    with_test_list: bool = False
    limits: Mapping[str, Limits] = field(default_factory=dict)
    accept_diff: str | None = None
    check_only: bool = False
    seal_keys: SealKeys = NO_SEAL_KEYS
    may_change_seal: bool = False

    @property
    def approved_lists(self) -> list[str]:
        """The lists of which every class with a known tier goes on with the compile."""
        return [*self.approve_lists, *([test_list.LIST_ID] if self.with_test_list else [])]

    @property
    def list_ids(self) -> list[str]:
        """The lists that the snapshot will be made of."""
        return [*(item.list_id for item in self.lists), *([test_list.LIST_ID] if self.with_test_list else [])]


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a compile did: what went live (None: it was only a check), what it changed, what became of every line.

    `overlay_notes` are changes of approvals and additions that came with it, in words.
    """

    request: BuildRequest
    manifest: Manifest
    published: Published | None
    comparison: Comparison
    report: CompileReport
    overlay_notes: Sequence[str] = ()


def build(
    request: BuildRequest, progress: Progress | None = None, signing_key: SigningKey | None = None
) -> BuildResult:
    """Compile lists into a snapshot and make it live, signed if there is a key.

    Raises LoaderError for what is wrong with the lists and StoreError or DamageError for the store; then nothing was
    published. Cost: about 0.2 µs a line on two cores; memory as the request says, however long the lists are, but for
    the filter: 3 bytes an entry.
    """
    progress = progress or Silent()
    _keep_freed_memory()
    store = Store(request.store)
    with Publisher(store, signing_key) as publisher:
        if not request.check_only:
            publisher.require_signable()
        dropped = gate.refuse_lost_lists(store, request.list_ids, request.drop_lists)
        gate.refuse_seal(store, request.seal_keys, may_change=request.may_change_seal or request.check_only)
        work = publisher.work_directory()
        with LabelTable(work) as labels, Spools(work, request.memory_mib << 20) as spools:
            report, facts = read_lists(request, labels, spools, progress)
            check_bad_lines(report)
            refuse_cut_files(report)
            if request.with_test_list:
                facts.append(add_test_list(labels, spools, request.seal_keys.in_use))
            listed = sum(item.digests for item in facts if item.kind == "known-bad")
            gate.refuse_empty(listed, _files(request), allow_empty=request.allow_empty)
            add_trivial_files(spools, request.seal_keys.in_use)
            manifest = write_snapshot(work / "snapshot", request, labels, spools, facts, report, progress)
        gate.check_new_snapshot(work / "snapshot", manifest)
        comparison = compare(store, work / "snapshot", manifest, request, progress)
        if request.check_only:
            return BuildResult(request, manifest, None, comparison, report)
        if request.accept_diff is None:
            refuse_diff(comparison.diff, comparison.findings, report.guard.named)
        directory = store.snapshot_dir(manifest.snapshot_id)  # where it is by then
        notes: list[str] = []
        details = [f"accepted: {finding.text}" for finding in comparison.stopping]

        def change(overlay: Overlay) -> Overlay:
            sealed = gate.resealed(overlay, request.seal_keys, store)
            after, told = gate.overlay_after(sealed, manifest, directory, request.by, request.approved_lists, store)
            notes.extend(told)
            details.extend(told)  # before the swap writes them into the history
            return after

        published = publisher.publish(
            work / "snapshot", manifest, by=request.by, dropped_lists=dropped, reason=request.accept_diff,
            details=details, change=change,
        )  # fmt: skip
    return BuildResult(request, published.manifest, published, comparison, report, notes)


def read_lists(
    request: BuildRequest, labels: LabelTable, spools: Spools, progress: Progress
) -> tuple[CompileReport, list[ListFacts]]:
    """List → parse → normalise → spool: every digest of every file becomes a row in its algorithm's spool."""
    report = CompileReport()
    facts = []
    progress.stage("reading", _input_bytes(request))
    for item in request.lists:
        share = request.max_bad_share if item.max_bad_share is None else item.max_bad_share
        reports = [FileReport(path, item.format or "", max_bad_share=share) for path in item.files]
        report.files += reports
        deliveries = item.deliveries or [0] * len(reports)
        with Follower() as spooling:
            for file_report, delivery in zip(reports, deliveries, strict=True):
                for batch in parse(item, file_report, progress):
                    if isinstance(batch, Withdrawn):
                        labels.withdraw(item.list_id, batch.references, delivery)
                        continue
                    rows = normalise(batch, item, labels, file_report.path, request.seal_keys.in_use, delivery)
                    spooling.call(spools.add, batch.algorithm, rows)
        facts.append(
            ListFacts(
                list_id=item.list_id,
                kind="known-good" if item.known_good else "known-bad",
                files=len(reports),
                lines=sum(file.lines_read for file in reports),
                digests=sum(file.digest_count for file in reports),
                refused=sum(file.bad_line_count for file in reports),
            )
        )
    return report, facts


def parse(item: ListInput, report: FileReport, progress: Progress) -> Iterator[Batch | Withdrawn]:
    """Yield the digests of one file, read by the reader that the operator named or that recognises it."""
    with ListFile(report.path, progress.advance) as source:
        reader = choose_reader(source, item.format, item.options)
        report.format, report.unit = reader.name, reader.unit
        yield from reader.read(source, item.options, report)


def normalise(
    batch: Batch, item: ListInput, labels: LabelTable, path: str, seal: Seal | None, delivery: int = 0
) -> ByteMatrix:
    """Seal the digests of a batch, if there is a key, and put a label number behind each: rows of shape (n, L + 4)."""
    digests = batch.digests if seal is None else seal.seal_rows(batch.digests, batch.algorithm)
    if item.known_good:
        return numbered_rows(digests, KNOWN_GOOD)

    def number(category: str) -> int:
        return labels.number(LabelClass(item.list_id, category, item.tier_of(category)), path)

    # Only classes that a row has: how many there are decides the width of ids, and so the snapshot's own id.
    if batch.categories is None:
        numbers = [number(item.category)]  # one for all
    else:
        of = {name: number(item.category if name is None else name) for name in dict.fromkeys(batch.categories)}
        numbers = [of[name] for name in batch.categories]
    if batch.references is not None:
        each = numbers * len(batch.digests) if batch.categories is None else numbers
        first = labels.reference_count
        numbers = labels.add_references(each, batch.references, delivery)
        if not batch.references_name_entries:
            labels.pass_over_entries(first)
    in_rows = batch.rows is not None
    if in_rows or (batch.references is not None and batch.references_name_entries):
        labels.note_entries(batch.algorithm.name, numbers, of_rows=in_rows)
    return numbered_rows(digests, numbers)


def add_test_list(labels: LabelTable, spools: Spools, seal: Seal | None) -> ListFacts:
    """Put the public test list among the others."""
    item = ListInput(test_list.LIST_ID, test_list.TIER, [], test_list.CATEGORY)
    count = 0
    for batch in test_list.batches():
        spools.add(batch.algorithm, normalise(batch, item, labels, test_list.LIST_ID, seal))
        count += len(batch.digests)
    return ListFacts(list_id=item.list_id, files=0, lines=0, digests=count, refused=0)


def add_trivial_files(spools: Spools, seal: Seal | None) -> None:
    """Have the guard know the files that anybody has, for the algorithms that are listed at all."""
    listed = spools.algorithms()
    digests: dict[Algorithm, list[bytes]] = {algorithm: [] for algorithm in listed}
    for algorithm, digest in trivial_digests():
        if algorithm in digests:
            digests[algorithm].append(digest)
    for algorithm, some in digests.items():
        packed = b"".join(some) if seal is None else seal.seal(b"".join(some), algorithm)
        matrix = np.frombuffer(packed, dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
        spools.add(algorithm, numbered_rows(matrix, KNOWN_GOOD))


def find_known_entries(
    request: BuildRequest, labels: LabelTable, spools: Spools, guard: Guard, report: CompileReport, progress: Progress
) -> Collisions:
    """Find the entries of which a digest is known good; read lists again where only their rows tell what is of one.

    Raises ListUnreadable for such a list that can be read only once, and ListChanged for one that is another by now.
    """
    collisions = Collisions(labels)
    if not labels.entry_algorithms:
        return collisions
    progress.stage("known-good entries", None)
    collisions.find(spools, guard.withdrawn)
    if not (lists := collisions.rows_to_find):
        return collisions
    first = iter(report.files)
    for item in request.lists:
        for path, before in zip(item.files, first, strict=False):
            if item.list_id in lists and not item.known_good:
                require_second_look(path)
                for look in (collisions.find_rows, collisions.add_rows):
                    again = FileReport(path, before.format)
                    look(numbered_places(numbered_again(item, again, labels, request.seal_keys.in_use, progress)))
                    if (again.lines_read, again.digests) != (before.lines_read, before.digests):
                        raise ListChanged(
                            path, "is not what it was when it was read first; load it again when it is complete"
                        )
    collisions.finish()
    return collisions


def numbered_again(
    item: ListInput, report: FileReport, labels: LabelTable, seal: Seal | None, progress: Progress
) -> Iterator[tuple[Batch, ByteMatrix]]:
    """Parse → normalise once more: each batch with its rows, numbered as if it had no references."""
    for batch in parse(item, report, progress):
        if isinstance(batch, Batch) and batch.rows is not None:
            yield batch, normalise(replace(batch, references=None), item, labels, report.path, seal)


def guarded_parts(spools: Spools, guard: Guard, algorithm: Algorithm) -> Iterator[tuple[ByteMatrix, Mask, int]]:
    """Sort → guard: yield (rows, repeats, bytes read) of each part, without what may not be listed."""
    for rows, depth in spools.parts(algorithm):
        yield *guard.take_out(*sort_rows(rows, algorithm, depth), algorithm), rows.nbytes


def write_snapshot(
    directory: Path,
    request: BuildRequest,
    labels: LabelTable,
    spools: Spools,
    facts: list[ListFacts],
    report: CompileReport,
    progress: Progress,
) -> Manifest:
    """Sort → guard → merge → write: spooled rows become a finished snapshot directory, not live yet."""
    short = not labels.has_references and len(labels.classes) <= _MAX_CLASSES_OF_SHORT_IDS
    id_bytes: Literal[2, 4] = 2 if short else 4
    rate, seal = request.false_positive_rate, request.seal_keys.in_use
    key_id = None if seal is None else seal.key_id
    with (
        Spools(directory.parent, request.memory_mib << 18) as references,
        closing(Guard(labels, directory.parent)) as guard,
        SnapshotWriter(directory, false_positive_rate=rate, label_set_id_bytes=id_bytes, seal_key_id=key_id) as writer,
    ):
        guard.leave_out_with(find_known_entries(request, labels, spools, guard, report, progress))
        merger = Merger(labels, writer, id_bytes, references)  # it stores label sets as it meets them
        for algorithm in spools.algorithms():
            progress.stage(f"writing {algorithm.name}", spools.rows(algorithm) * (algorithm.digest_bytes + LABEL_BYTES))
            has_begun = False
            with closing(ahead(guarded_parts(spools, guard, algorithm))) as parts:
                for rows, repeats, read_bytes in parts:
                    if len(rows):
                        if not has_begun:  # an algorithm of which everything was left out has no place in a snapshot
                            writer.begin(algorithm)
                            has_begun = True
                        writer.append(merger.merge(rows, repeats, algorithm))
                    progress.advance(read_bytes)
        for algorithm, keys, count in guard.known_good_keys():
            writer.add_known_good(algorithm, keys, count)
        write_references(writer, references, progress)
        progress.stage("checksums", None)
        report.guard = guard.report if seal is None else guard.report.unsealed(seal)
        # Counted from what came in: the spool has dropped repeats of a digest that comes very often.
        kept = sum(item.digests for item in facts if item.kind == "known-bad")
        left_out = guard.report.guarded_rows + guard.report.with_it_rows + guard.report.withdrawn_rows
        report.merged = kept - left_out - merger.distinct
        guarded = guard.report.by_list + guard.report.with_it_by_list
        withdrawn = guard.report.withdrawn_by_list
        facts = [
            item.model_copy(update={"guarded": guarded[item.list_id], "withdrawn": withdrawn[item.list_id]})
            for item in facts
        ]
        return writer.finish(classes=merger.class_facts(), lists=facts, merged=report.merged, on_bytes=progress.advance)


def compare(store: Store, directory: Path, manifest: Manifest, request: BuildRequest, progress: Progress) -> Comparison:
    """Gate: what the new snapshot changes against the live one, and what of it wants a word."""
    progress.stage("comparing", None)
    record_bytes = manifest.total_bytes // max(manifest.entries, 1)
    return gate.compare_with_live(
        store, directory, manifest, request.limits, lambda records: progress.advance(records * record_bytes)
    )


def write_references(writer: SnapshotWriter, references: Spools, progress: Progress) -> None:
    """Sort → write: which digests each reference has."""
    for algorithm in ALGORITHMS.values():
        indexed = indexed_algorithm(algorithm)
        if not (count := references.rows(indexed)):
            continue
        progress.stage(f"writing references of {algorithm.name}", count * (indexed.digest_bytes + LABEL_BYTES))
        writer.begin_references(algorithm)
        for part, depth in references.parts(indexed):
            rows, repeats = sort_rows(part, indexed, depth)
            writer.append_references(rows[~repeats, : indexed.digest_bytes])
            progress.advance(part.nbytes)


def _keep_freed_memory() -> None:
    """Let the heap keep what one chunk of lines needed for the next, rather than fetch new pages from the kernel.

    glibc gives memory back at once, unless a larger block was freed before: that one tells it what is usual, up to
    32 MiB. Another allocator takes no notice. Reading takes a third less time so.
    """
    large = np.empty(31 << 20, dtype=np.uint8)  # none of its pages is ever touched
    del large


def _files(request: BuildRequest) -> list[str]:
    return [path for item in request.lists for path in item.files]


def _input_bytes(request: BuildRequest) -> int | None:
    """Give the size of all input files together, or None when one has no size (standard input, a pipe)."""
    try:
        return sum(Path(path).stat().st_size for path in _files(request)) or None
    except OSError:
        return None  # whatever is wrong with the file is named when it is opened
