"""What matching must answer, worked out one item after the other: json, re, bytes.fromhex and dict.get.

It shares nothing with what it is compared with, not even the table of algorithms, and does nothing in bulk.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any

#: (list, category, tier, reference)
Label = tuple[str, str, str, str | None]
#: Algorithm → digest → its labels.
Listed = Mapping[str, Mapping[bytes, set[Label]]]

SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "photodna": 144}
ACTIONS = {"baseline": "block", "illegal": "block", "investigative": "review"}
LIMIT = 10_000

HEX = {name: re.compile(f"[0-9a-fA-F]{{{2 * size}}}") for name, size in SIZES.items()}
BASE64 = re.compile("[0-9a-zA-Z+/]{192}")


class Refused(Exception):
    """The whole request is refused; the argument is the reason."""


def digest_or_reason(text: object, name: str) -> bytes | str:
    """Give the digest that a text means, or the reason why it means none."""
    if not isinstance(text, str):
        return "not_text"
    if HEX[name].fullmatch(text):
        return bytes.fromhex(text)
    if name == "photodna" and BASE64.fullmatch(text):
        return base64.b64decode(text)
    return "not_hex" if len(text) == 2 * SIZES[name] or (name == "photodna" and len(text) == 192) else "wrong_length"


def shown(digest: bytes, name: str) -> str:
    """Give a digest as replies show it."""
    return base64.b64encode(digest).decode() if name == "photodna" else digest.hex()


def in_order(labels: set[Label]) -> list[Label]:
    """Sort labels; within a class the one without a reference comes first."""
    return sorted(labels, key=lambda label: (label[:3], label[3] or ""))


def verdict(labels: set[Label]) -> tuple[str, list[dict[str, str]]] | None:
    """Give the action and what a reply shows of the labels; None when no tier of theirs is switched on."""
    on = [label for label in in_order(labels) if label[2] in ACTIONS]
    if not on:
        return None
    rows = []
    for list_id, category, tier, reference in on:
        rows.append({"list_id": list_id, "category": category, "tier": tier})
        if reference is not None:
            rows[-1]["reference"] = reference
    return "block" if any(ACTIONS[label[2]] == "block" for label in on) else "review", rows


def load(body: bytes) -> Any:
    """Read JSON with the standard library, and refuse what it takes beyond the standard."""

    def refuse(_: str) -> None:
        raise ValueError("no constant of JSON")

    def finite(text: str) -> float:
        if not math.isfinite(float(text)):
            refuse(text)
        return float(text)

    try:
        loaded = json.loads(body.decode(), parse_constant=refuse, parse_float=finite)
        json.dumps(loaded, ensure_ascii=False).encode()  # fails where half a surrogate pair is
    except ValueError:
        raise Refused("malformed_json") from None
    return loaded


class PlainMatcher:
    """Answers requests from dicts. Every answer is the reply's bytes; Refused is raised for a request as a whole."""

    def __init__(self, snapshot_id: str, listed: Listed) -> None:
        self.snapshot_id = snapshot_id
        self.matches = {
            name: {digest: found for digest, labels in of_one.items() if (found := verdict(labels))}
            for name, of_one in listed.items()
        }

    def packed(self, body: bytes, name: str) -> bytes:
        """Answer raw digests."""
        size = SIZES[name]
        if len(body) % size:
            raise Refused("packed_length")
        if len(body) // size > LIMIT:
            raise Refused("too_many_digests")
        return self._columns({name: [body[at : at + size] for at in range(0, len(body), size)]})

    def json(self, body: bytes) -> bytes:
        """Answer a request by column or by file."""
        loaded = load(body)
        if not isinstance(loaded, dict):
            raise Refused("not_an_object")
        if not loaded:
            raise Refused("empty_object")
        if "files" in loaded:
            if len(loaded) > 1:
                raise Refused("mixed_forms")
            if not isinstance(loaded["files"], list):
                raise Refused("not_a_list")
            return self._files(loaded["files"])
        for name, texts in loaded.items():
            if name not in SIZES:
                raise Refused("unknown_column")
            if not isinstance(texts, list):
                raise Refused("not_a_list")
        if sum(map(len, loaded.values())) > LIMIT:
            raise Refused("too_many_digests")
        return self._columns({name: [digest_or_reason(text, name) for text in texts] for name, texts in loaded.items()})

    def _columns(self, columns: Mapping[str, list[bytes] | list[bytes | str]]) -> bytes:
        checked: dict[str, int] = {}
        not_loaded: dict[str, int] = {}
        matches = []
        invalid = []
        for name, column in columns.items():
            of_one = self.matches.get(name, {})
            good = 0
            for index, digest in enumerate(column):
                if isinstance(digest, str):
                    invalid.append({"algorithm": name, "index": index, "reason": digest})
                    continue
                good += 1
                found = of_one.get(digest)
                if found:
                    matches.append(
                        {
                            "algorithm": name, "index": index, "digest": shown(digest, name),
                            "action": found[0], "labels": found[1],
                        }
                    )  # fmt: skip
            (checked if name in self.matches else not_loaded)[name] = good
        return self._reply(checked, not_loaded, matches=matches, invalid=invalid)

    def _files(self, files: list[object]) -> bytes:
        if len(files) > LIMIT or sum(len(f.keys() & SIZES.keys()) for f in files if isinstance(f, dict)) > LIMIT:
            raise Refused("too_many_digests")
        present = {name for file in files if isinstance(file, dict) for name in file}
        checked = {name: 0 for name in SIZES if name in present and name in self.matches}
        not_loaded = {name: 0 for name in SIZES if name in present and name not in self.matches}
        matches: list[dict[str, Any]] = []
        invalid: list[dict[str, Any]] = []
        for index, file in enumerate(files):
            if not isinstance(file, dict):
                invalid.append({"index": index, "ref": None, "reason": "not_object"})
                continue
            ref = file.get("ref")
            fault: dict[str, str] = {}
            if ref is not None and (not isinstance(ref, str) or len(ref) > 1024):
                ref, fault = None, {"reason": "bad_ref"}
            if not fault and not file.keys() <= SIZES.keys() | {"ref"}:
                fault = {"reason": "unknown_algorithm"}
            digests = {name: digest_or_reason(file[name], name) for name in SIZES if name in file}
            matched, actions, looked_up = [], [], False
            for name, digest in digests.items():
                if isinstance(digest, str):
                    fault = fault or {"reason": digest, "algorithm": name}
                    continue
                (checked if name in self.matches else not_loaded)[name] += 1
                looked_up = looked_up or name in self.matches
                found = self.matches.get(name, {}).get(digest)
                if found:
                    actions.append(found[0])
                    matched.append({"algorithm": name, "digest": shown(digest, name), "labels": found[1]})
            if matched:
                action = "block" if "block" in actions else "review"
                matches.append({"index": index, "ref": ref, "action": action, "matched": matched})
            elif fault or not looked_up:
                invalid.append({"index": index, "ref": ref, **(fault or {"reason": "not_checked"})})
        counts = {"match": len(matches), "clear": len(files) - len(matches) - len(invalid), "invalid": len(invalid)}
        return self._reply(checked, not_loaded, files=counts, matches=matches, invalid=invalid)

    def _reply(self, checked: dict[str, int], not_loaded: dict[str, int], **rest: object) -> bytes:
        head = {"snapshot_id": self.snapshot_id, "overlay_version": 1, "checked": checked, "not_loaded": not_loaded}
        return json.dumps({**head, **rest}, ensure_ascii=False, separators=(",", ":")).encode()
