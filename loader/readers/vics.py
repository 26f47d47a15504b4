r"""The JSON in which Project VIC and its partners hand on hash sets: VICS 1.3 and 2.0, Media and Cases.

    {"odata.metadata": "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media", "value": [
      {"MediaID": 1, "Category": 1, "MD5": "…", "SHA1": "…",
       "AlternativeHashes": [{"HashName": "PhotoDNA", "HashValue": "<base64>"}]}]}

    {"@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Cases", "value": [
      {"Media": [{"MediaID": 1, "Category": 1, "MD5": "…", "SHA1": "…", "PhotoDNA": "<base64>", …}], …}]}

A record is a medium, wherever it stands: kept with all its digests, or refused as a whole. Other keys are passed over
with all that is nested in them. A key that is one of ours but for case, blanks and hyphens is a fault, since its digest
would be missed in silence; so is one of ours that comes twice with different values.

Where the media are is found here; `vics_json` reads JSON in bounded memory, and `vics_media` makes digests and labels
of a medium's members. A medium that is larger than a chunk is taken member by member.

Python's json decodes 206 MB/s on one core, where a bare loop over the events of yajl (ijson) sees 85; the whole reader
takes 85 to 95 MB/s and 30 MiB (200 MB of media of 570 bytes with three digests).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from loader.errors import ListDamaged, UnknownFormat
from loader.readers.base import Batch, ReadOptions
from loader.readers.vics_json import Json, Members, described, is_not, named
from loader.readers.vics_media import OUR_KEYS, Fault, Media, in_disguise
from loader.report import FileReport, Unit
from loader.sources import CHUNK_BYTES, ListFile

_Kind = Literal["Media", "Cases"]
_CONTEXT_KEYS: Final = ("odata.metadata", "@odata.context")
_HEAD: Final = re.compile(
    rb'\s*\{.*?"(?:odata\.metadata|@odata\.context)"\s*:\s*"[^"]*ProjectVic', re.DOTALL | re.IGNORECASE
)


class VicsReader:
    """`vics`: 6 to 7 µs a medium of 570 bytes with three digests.

    `chunk_bytes` is what is read at once, and the largest medium that is decoded in one go.
    """

    name = "vics"
    unit: Unit = "record"
    is_text = True

    def __init__(self, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.chunk_bytes = chunk_bytes

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether an object begins here in which odata.metadata or @odata.context names Project VIC."""
        return _HEAD.match(b"\n".join(first_lines)) is not None

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests of up to 16,384 media, an algorithm at a time, with categories and references.

        Raises UnknownFormat if this is other JSON than VICS, ListDamaged where it is none, and ListTruncated if it ends
        before the outermost object does.
        """
        media = Media(report)
        for medium in _media(Json(source, self.chunk_bytes, report)):
            report.lines_read += 1
            media.add(medium)
            if media.is_full:
                yield from media.batches()
                media = Media(report, media.foreign_names)
        yield from media.batches()


def _media(document: Json) -> Iterator[object]:
    """Yield every medium, as its members or as what stands in its place."""
    if document.at_end():
        raise document.cut()
    if document.text[document.at] != "{":
        what = named(document.text[document.at])
        raise UnknownFormat(document.path, f"is {what}, not an object with the key value; check --format")
    context: object = None
    kind: _Kind | None = None
    has_value = False
    for name in document.names():
        if name in _CONTEXT_KEYS:
            found = document.value()
            kind = _kind(found, document.path)
            if context not in (None, found):
                raise UnknownFormat(document.path, "says twice what it is, and not the same; have the list corrected")
            context = found
        elif name != "value":
            document.value()
        elif has_value:
            raise ListDamaged(document.path, "has the key value twice; have the list corrected")
        else:
            has_value = True
            yield from _elements(document, kind)
    if not document.at_end():
        raise document.damaged(document.at, "nothing more")
    if not has_value:
        raise UnknownFormat(document.path, "has no key value, so no media and no cases; check --format")


def _elements(document: Json, kind: _Kind | None) -> Iterator[object]:
    """Yield the media of the array that begins here, or those of its cases.

    If the kind is not said, or only after the media, a case is what has the key Media.
    """
    if document.peek() != "[":
        what = named(document.peek())
        raise UnknownFormat(document.path, f"value is {what}, not a list of media or cases; check --format")
    for first in document.items():
        if first != "{":
            yield document.value()
            continue
        if kind != "Cases":
            found = document.whole()
            if found is not None and isinstance(found[0], dict) and (kind == "Media" or "Media" not in found[0]):
                medium, document.at = found
                yield medium
                continue
        yield from _element(document, kind)


def _element(document: Json, kind: _Kind | None) -> Iterator[object]:
    """Yield the media of the case that begins here, or the medium, member by member."""
    members = Members()
    is_case = kind == "Cases"
    disguised = False
    for name in document.names():
        if name == "Media" and kind != "Media":
            is_case = True
            if document.peek() == "[":
                yield from _elements(document, "Media")
            elif (value := document.value()) is not None:
                yield Fault("Media", is_not(value, "a list"))
            continue
        value = document.value()
        if not isinstance(name, str):
            continue
        if name in OUR_KEYS:
            members.add(name, value)
        elif not disguised and in_disguise(name):  # one of them is enough to refuse it
            disguised = True
            members.add(name, None)
    if members or not is_case:
        yield members


def _kind(context: object, path: str) -> _Kind:
    """Give what the document says it is.

    Raises UnknownFormat.
    """
    if not isinstance(context, str) or "projectvic" not in context.casefold():
        what = ascii(context[:100]) if isinstance(context, str) else described(context)
        raise UnknownFormat(path, f"is OData of {what}, not of Project VIC; check --format")
    entity = context.rpartition("#")[2]
    if entity == "Media":
        return "Media"
    if entity == "Cases":
        return "Cases"
    raise UnknownFormat(path, f"is {context[:200]!a}, which is neither #Media nor #Cases; ask for one of these")
