"""What /v1/match must answer, worked out the slow and obvious way from plain dicts."""

from __future__ import annotations

import base64
import re
from typing import Any

from snapshot.algorithms import ALGORITHMS
from snapshot.labels import LabelSet
from tests.service.snapshots import Entries

ACTIONS = {"baseline": "block", "illegal": "block", "investigative": "review"}
HEX = re.compile("[0-9a-fA-F]*")
BASE64 = re.compile("[0-9a-zA-Z+/]*")


def parsed(text: object, algorithm: str) -> bytes | str:
    """Give the digest, or the reason why the text is none."""
    if not isinstance(text, str):
        return "not_text"
    size = ALGORITHMS[algorithm].digest_bytes
    if algorithm == "photodna" and len(text) == 192:
        return base64.b64decode(text) if BASE64.fullmatch(text) else "not_hex"
    if len(text) != 2 * size:
        return "wrong_length"
    return bytes.fromhex(text) if HEX.fullmatch(text) else "not_hex"


def shown(digest: bytes, algorithm: str) -> str:
    return base64.b64encode(digest).decode() if algorithm == "photodna" else digest.hex()


def verdict(label_set: LabelSet | None) -> tuple[str, list[dict[str, str]]] | None:
    on = [label for label in label_set or () if label.tier.value in ACTIONS]
    if not on:
        return None
    shown_labels = []
    for label in on:
        shown_labels.append({"list_id": label.list_id, "category": label.category, "tier": label.tier.value})
        if label.reference:
            shown_labels[-1]["reference"] = label.reference
    return ("block" if any(ACTIONS[label.tier.value] == "block" for label in on) else "review"), shown_labels


def columns_reply(entries: Entries, snapshot_id: str, columns: dict[str, list[object]]) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "snapshot_id": snapshot_id,
        "overlay_version": 1,
        "checked": {},
        "not_loaded": {},
        "matches": [],
        "invalid": [],
    }
    for algorithm, texts in columns.items():
        good = 0
        for index, text in enumerate(texts):
            digest = parsed(text, algorithm)
            if isinstance(digest, str):
                reply["invalid"].append({"algorithm": algorithm, "index": index, "reason": digest})
                continue
            good += 1
            found = verdict(entries.get(algorithm, {}).get(digest))
            if found:
                action, label_list = found
                reply["matches"].append(
                    {
                        "algorithm": algorithm,
                        "index": index,
                        "digest": shown(digest, algorithm),
                        "action": action,
                        "labels": label_list,
                    }
                )
        reply["checked" if entries.get(algorithm) else "not_loaded"][algorithm] = good
    return reply


def files_reply(entries: Entries, snapshot_id: str, files: list[object]) -> dict[str, Any]:
    checked: dict[str, int] = {}
    not_loaded: dict[str, int] = {}
    matches, invalid = [], []
    for index, file in enumerate(files):
        if not isinstance(file, dict):
            invalid.append({"index": index, "ref": None, "reason": "not_object"})
            continue
        ref = file.get("ref")
        fault = None
        if not (ref is None or (isinstance(ref, str) and len(ref) <= 1024)):
            ref, fault = None, "bad_ref"
        if set(file) - set(ALGORITHMS) - {"ref"}:
            fault = fault or "unknown_algorithm"
        matched, actions, malformed, looked_up = [], [], None, False
        for algorithm in ALGORITHMS:
            if algorithm not in file:
                continue
            digest = parsed(file[algorithm], algorithm)
            counts = checked if entries.get(algorithm) else not_loaded
            counts.setdefault(algorithm, 0)
            if isinstance(digest, str):
                malformed = malformed or {"reason": digest, "algorithm": algorithm}
                continue
            counts[algorithm] += 1
            looked_up = looked_up or counts is checked
            found = verdict(entries.get(algorithm, {}).get(digest))
            if found:
                actions.append(found[0])
                matched.append({"algorithm": algorithm, "digest": shown(digest, algorithm), "labels": found[1]})
        if matched:
            action = "block" if "block" in actions else "review"
            matches.append({"index": index, "ref": ref, "action": action, "matched": matched})
        elif fault:
            invalid.append({"index": index, "ref": ref, "reason": fault})
        elif malformed:
            invalid.append({"index": index, "ref": ref, **malformed})
        elif not looked_up:
            invalid.append({"index": index, "ref": ref, "reason": "not_checked"})
    verdicts = {"match": len(matches), "clear": len(files) - len(matches) - len(invalid), "invalid": len(invalid)}
    return {
        "snapshot_id": snapshot_id, "overlay_version": 1, "checked": checked, "not_loaded": not_loaded,
        "files": verdicts, "matches": matches, "invalid": invalid,
    }  # fmt: skip
