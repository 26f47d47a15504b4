"""Entries in LMDB: sorted records in blocks, one database per algorithm.

    record   digest (L bytes) followed by its label-set id (2 or 4 bytes, little-endian)
    block    as many records, ascending, as fill one LMDB overflow page; the last block holds the rest
    key      the last digest of the block

References, so that the digests of one entry can be found together: one more database per algorithm, in blocks too.

    record   reference key (16 bytes, a hash of list_id and reference) followed by the digest (L bytes)
    key      the last record of the block

The only block that can hold a digest is the first whose key is not below it: one `set_range` finds it. An
LMDB page of 4,096 bytes spends 16 on its header, so a block of 120 sha256 records with 2-byte ids costs a
page, against 46 bytes an entry (1.3 × as much) with a key per entry.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

#: LMDB's page header; an overflow page carries page_size - 16 bytes.
PAGE_HEADER_BYTES: Final = 16

#: Database of label sets: key = id, 4 bytes big-endian; value = the label set (snapshot/labels.py).
LABEL_SETS: Final = b"label_sets"

#: Ids of label sets that one digest owns (those with references) start here; shared ones start at 0.
FIRST_OWN_ID: Final = 1 << 31


#: Bytes of a reference key.
REFERENCE_KEY_BYTES: Final = 16


def reference_key(list_id: str, reference: str) -> bytes:
    """Give the 16 bytes that stand for a supplier's reference: LMDB's keys end at 511 bytes, references do not."""
    text = f"{list_id}\0{reference}".encode()  # neither holds a NUL
    return blake2b(text, digest_size=REFERENCE_KEY_BYTES).digest()


def references_database(algorithm_name: str) -> bytes:
    """Give the name of an algorithm's database of references."""
    return f"references/{algorithm_name}".encode()


def records_per_block(record_bytes: int, page_size: int) -> int:
    """Give how many records fill one overflow page."""
    return (page_size - PAGE_HEADER_BYTES) // record_bytes


def find_in_block(block: bytes, digest: bytes, record_bytes: int) -> int | None:
    """Give the label-set id stored with `digest` in `block`, or None.

    Cost: one memory search of at most a page; a hit that is not at a record's start (chance, or malice in
    a list) is passed over.
    """
    at = block.find(digest)
    while at >= 0:
        if at % record_bytes == 0:
            return int.from_bytes(block[at + len(digest) : at + record_bytes], "little")
        at = block.find(digest, at + 1)
    return None


def label_set_key(label_set_id: int) -> bytes:
    """Give the key of a label set in its database."""
    return label_set_id.to_bytes(4, "big")
