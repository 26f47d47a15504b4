"""Contents page of serving: what happens to a batch of digests, one named call per stage.

    digests   the request's texts or bytes, good or invalid   service/forms.py
    seal      as the store has them, if it is sealed          snapshot/seal.py
    Bloom     table.filter.probe: which may be listed; nearly  snapshot/bloom.py
              always none, and then we are done
    overlay   what is suppressed, what is listed on top       service/overlaid.py
    store     table.find: the label set of one that is, exact  snapshot/reader.py
    labels    view.look_up: who lists it, as what              service/view.py
    policy    and what that leads to; nothing, if it is off    service/policy.py
    verdict   match_columns, match_files: every item is a match, clear, invalid or counted as not loaded

Synchronous from end to end: nothing here awaits, so a request sees one View. Whatever goes wrong raises; there is
no partial answer. Replies are orjson bytes, sparse, in the order of the request.
"""

from __future__ import annotations

import binascii
from collections.abc import Set as AbstractSet

import orjson

from service.forms import Column, Files
from service.policy import Action, strongest
from service.view import Verdict, View
from snapshot.algorithms import Algorithm
from snapshot.hexdigest import ParsedDigests
from snapshot.reader import Table


def listed(view: View, table: Table, digests: ParsedDigests) -> list[tuple[int, bytes, Verdict]]:
    """Give (place among the packed ones, digest, verdict) of the digests that are a match, ascending."""
    matches = []
    packed, length = digests.packed, table.algorithm.digest_bytes
    stored = packed if view.seal is None else view.seal.seal(packed, table.algorithm)
    overlaid = view.overlaid.get(table.algorithm.name)
    places = table.filter.probe(stored)  # a miss ends here
    if overlaid is not None:
        places = overlaid.places(stored, places)
    for place in places:
        this = slice(place * length, (place + 1) * length)
        verdict = view.look_up(table, stored[this], overlaid)
        if verdict is not None:  # None: the filter's false positive, suppressed, or off
            matches.append((place, packed[this], verdict))
    return matches


def match_columns(view: View, columns: list[Column]) -> bytes:
    """Answer a request by column or packed: checked + not_loaded + invalid = sent."""
    checked: dict[str, int] = {}
    not_loaded: dict[str, int] = {}
    matches: list[dict[str, object]] = []
    invalid: list[dict[str, object]] = []
    for algorithm, digests in columns:
        name = algorithm.name
        if digests.invalid:
            invalid += [{"algorithm": name, "index": index, "reason": why} for index, why in digests.invalid]
        table = view.tables.get(name)
        if table is None:
            not_loaded[name] = digests.count
            continue
        checked[name] = digests.count
        for place, digest, verdict in listed(view, table, digests):
            index = digests.index_of(place)
            text = digest_text(digest, algorithm)
            matches.append(
                {"algorithm": name, "index": index, "digest": text, "action": verdict.action, "labels": verdict.labels}
            )
    return orjson.dumps(
        {
            "snapshot_id": view.snapshot_id,
            "overlay_version": view.overlay_version,
            "checked": checked,
            "not_loaded": not_loaded,
            "matches": matches,
            "invalid": invalid,
        }
    )


def match_files(view: View, files: Files) -> bytes:
    """Answer a request by file: match over invalid over clear, one verdict for each file.

    A suppressed digest says that this very file is none, so it clears what a digest of no stronger algorithm matched.
    """
    checked: dict[str, int] = {}
    not_loaded: dict[str, int] = {}
    looked_up: set[int] = set()
    found: list[tuple[int, Algorithm, bytes, Verdict]] = []
    for column in files.columns:
        name = column.algorithm.name
        table = view.tables.get(name)
        if table is None:
            not_loaded[name] = column.digests.count
            continue
        checked[name] = column.digests.count
        looked_up.update(column.owners)  # a file with a malformed digest is invalid for that already
        for place, digest, verdict in listed(view, table, column.digests):
            found.append((column.owner(place), column.algorithm, digest, verdict))
    cleared = _cleared(view, files, {index for index, *_ in found}) if found and view.overlaid else {}
    matched: dict[int, list[dict[str, object]]] = {}
    actions: dict[int, list[Action]] = {}
    for index, algorithm, digest, verdict in found:
        if algorithm.strength > cleared.get(index, -1):
            text = digest_text(digest, algorithm)
            matched.setdefault(index, []).append(
                {"algorithm": algorithm.name, "digest": text, "labels": verdict.labels}
            )
            actions.setdefault(index, []).append(verdict.action)
    matches = [
        {"index": index, "ref": files.refs[index], "action": strongest(actions[index]), "matched": matched[index]}
        for index in sorted(matched)
    ]
    invalid = _invalid_files(files, matched.keys(), looked_up)
    return orjson.dumps(
        {
            "snapshot_id": view.snapshot_id,
            "overlay_version": view.overlay_version,
            "checked": checked,
            "not_loaded": not_loaded,
            "files": {
                "match": len(matches),
                "clear": len(files.refs) - len(matches) - len(invalid),
                "invalid": len(invalid),
            },
            "matches": matches,
            "invalid": invalid,
        }
    )


def _cleared(view: View, files: Files, among: AbstractSet[int]) -> dict[int, int]:
    """Give the strength of the strongest suppressed digest of each file that has one."""
    cleared: dict[int, int] = {}
    for column in files.columns:
        algorithm, overlaid = column.algorithm, view.overlaid.get(column.algorithm.name)
        if overlaid is None or not overlaid.suppressed:
            continue
        packed, length = column.digests.packed, algorithm.digest_bytes
        stored = packed if view.seal is None else view.seal.seal(packed, algorithm)
        for place in range(len(stored) // length):
            index = column.owner(place)
            if index in among and stored[place * length : (place + 1) * length] in overlaid.suppressed:
                cleared[index] = max(algorithm.strength, cleared.get(index, -1))
    return cleared


def _invalid_files(files: Files, matched: AbstractSet[int], looked_up: set[int]) -> list[dict[str, object]]:
    """Give the files that are neither a match nor may be called clear, each with the first reason that holds."""
    malformed = files.malformed()
    not_looked_up = set(range(len(files.refs))) - looked_up
    invalid: list[dict[str, object]] = []
    for index in sorted((files.faults.keys() | malformed.keys() | not_looked_up) - matched):
        ref = files.refs[index]
        if index in files.faults:
            invalid.append({"index": index, "ref": ref, "reason": files.faults[index]})
        elif index in malformed:
            algorithm, why = malformed[index]
            invalid.append({"index": index, "ref": ref, "reason": why, "algorithm": algorithm})
        else:
            invalid.append({"index": index, "ref": ref, "reason": "not_checked"})
    return invalid


def digest_text(digest: bytes, algorithm: Algorithm) -> str:
    """Give a digest as replies show it: lower-case hex, or base64 for the algorithms that are handed around so."""
    if algorithm.base64_length is not None:
        return binascii.b2a_base64(digest, newline=False).decode("ascii")
    return digest.hex()
