"""The compiled artefact: its format, how it is written, published, opened and read.

A snapshot is what the loader hands to the service: one immutable directory with the entries (LMDB), a
Bloom filter per algorithm and a manifest that holds sizes and checksums. This package knows no HTTP, no
environment variable and no tenant. Start with `snapshot/reader.py` (what serving uses) and
`snapshot/writer.py` (what compiling uses); `docs/snapshot-format.md` draws the bytes.
"""
