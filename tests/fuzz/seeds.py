"""What fuzzing begins with: small files of each format, its words, and a way to change a file that keeps its form.

    seeds("vics")                       → files
    mutated("vics", content, chance)    → a file

vics, ncmec and csv have files and words of their own; the other formats begin with what tests/samples makes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Final

from loader.readers.ncmec import NAMESPACE
from tests.samples import forms

VICS_CONTEXT: Final = b"http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#"
MD5, SHA1 = (random.Random(1).randbytes(size).hex().encode() for size in (16, 20))


def of_samples(name: str) -> list[bytes]:
    """Give what the samples make of this format: one entry, and three with as many algorithms as it has."""
    keeps, reference = forms.KEEPS[name], "42/{}" if name == "ncmec" else "{}"
    categories = ("1", "2") if keeps.category else (None,)
    many = forms.entries(name, 3, keeps.algorithms, categories, reference)
    return [forms.MAKERS[name](some) for some in (forms.entries(name, 1, keeps.algorithms[:1]), many)]


def vics() -> Iterator[bytes]:
    one = b'{"MediaID":1,"Category":"A b","MD5":"%s","SHA1":null,"PhotoDNA":""}' % MD5
    yield b'{"odata.metadata":"%sMedia","value":[%s,%s]}' % (VICS_CONTEXT, one, one)
    cases = b'{"CaseID":"a","Media":[%s],"x":[[{}]]},{"Media":null},{"Media":[]}' % one
    yield b'{"@odata.context":"%sCases","value":[%s]}' % (VICS_CONTEXT, cases)
    yield b'{"value":[{"Media":[%s]},%s],"odata.count":1.5e-3}' % (one, one)
    others = b'[{"HashName":"SHA-1","HashValue":"%s"},{"HashName":"F1","HashValue":0}]' % SHA1
    yield b'{"value":[{"AlternativeHashes":%s,"MD5":"%s","MD5":"%s"}]}' % (others, MD5, MD5)
    yield b'{"value":[{"md5":"%s"},{"Sha-1":"%s"},7,[],"x",null,{"MD5":"\\u0030\\\\","x":"\xc3\xbc"}]}' % (MD5, SHA1)
    yield b'{"value":[{"MD5":"%s","x":%s1%s}]}' % (MD5, b"[" * 1500, b"]" * 1500)


def ncmec() -> Iterator[bytes]:
    root = b'<queryResult xmlns="%s">%%s</queryResult>' % NAMESPACE.encode()
    head = b'<member id="4&amp;2">A</member><id> i%s<!-- x -->1</id><classification>A1</classification>'
    prints = b"<fingerprints><md5>%s</md5><sha1><![CDATA[%s]]></sha1><other>x</other></fingerprints>" % (MD5, SHA1)
    image = b"<image>" + head % b"2" + prints + b"</image>"
    gone = b"<deletedVideo>" + head % b"3" + b"</deletedVideo>"
    yield root % (b"<images>%s</images><videos><video>%s</video>%s</videos>" % (image, head % b"4" + prints, gone))
    yield root % (b"<images>%s<x:y xmlns:x='urn:x'>%s</x:y>%s</images>" % (image, prints, image))
    yield b'<?xml version="1.0" encoding="ISO-8859-1"?>' + root % (b"<images><?pi?>%s\xe9</images>" % image)
    yield root % (b"<paging><next>/v2</next></paging>%s<md5>%s</md5>" % (image, MD5))
    yield root.replace(b"xmlns=", b"xmlns:n=").replace(b"queryResult", b"n:queryResult") % b"<n:images/>"
    yield b"<!DOCTYPE queryResult>" + root % b""


def table() -> Iterator[bytes]:
    yield b"MD5;SHA-1;Category;Reference\r\n%s;%s;a;1\r\n;;;\r\n%s;;;\r\n" % (MD5, SHA1, MD5)
    yield b'\xef\xbb\xbfmd5,"na""me",category\n%s,"a\n%s\nb",c\n%s,"a,b",\xff\n' % (MD5, MD5, MD5)
    yield b'md5|sha_256\n%s|"\n%s|x\n%s"x"|y\n\n  \n%s' % (MD5, MD5, MD5, MD5)
    yield b"md5\n%s\r%s\n%s\0\n" % (MD5, MD5, MD5)
    yield b'md5,x\n%s,"%s' % (MD5, b"\n" * 1100)
    yield b"md5\n" + b" \n%s\n" % MD5 * 3 + b"x" * 65_000


_OTHER_SEEDS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {"vics": vics, "ncmec": ncmec, "csv": table}


def seeds(name: str) -> list[bytes]:
    """Give the files to begin with."""
    others = [forms.MAKERS[name]([]), *_OTHER_SEEDS[name]()] if name in _OTHER_SEEDS else []
    return of_samples(name) + others


#: What a format consists of, so that what is moved about are whole pieces of it.
_PIECES: Final = {
    "vics": re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.0-9eE]+|[A-Za-z]+|\s+|.', re.DOTALL),
    "ncmec": re.compile(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<[^<>]*>|&[#\w]+;|[^<&\s]+|\s+|.", re.DOTALL),
}
#: What one doubling may add, in bytes.
_MAX_GROWTH: Final = 1 << 16
_OF_LINES: Final = re.compile(rb"\r?\n|[\w+/.-]+|[^\S\n\r]+|.", re.DOTALL)

_JSON_WORDS: Final = (
    b"{", b"}", b"[", b"]", b",", b":", b'""', b'" "', b"null", b"true", b"false", b"0", b"-1", b"1.5", b"1e5", b"NaN",
    b"{}", b"[]", b'"\\u0000"', b'"\\ud800"', b'"\xf0\x9f\x98\x80"', b"\xff", b"\\", b'"', b"\xef\xbb\xbf",
    b'"MediaID":', b'"Category":', b'"AlternativeHashes":', b'"HashName":', b'"HashValue":', b'"Media":', b'"media":',
    b'"value":', b'"@odata.context":', b'"odata.metadata":', b'"PhotoDNA"', b'"MD5"', b'"SHA1"', b'"SHA256"',
    b'"Photo_DNA":', b'"md5":', b'"MD5":"%s",' % MD5, b'"MD5":"%s",' % MD5.upper(), b'"SHA1":"%s",' % SHA1,
    b'"%sMedia"' % VICS_CONTEXT, b'"%sCases"' % VICS_CONTEXT, b'{"MD5":"%s"},' % MD5, b"[" * 1100, b'{"a":' * 1100,
    b"9" * 5000,
)  # fmt: skip
_XML_WORDS: Final = (
    *(b"<%s>" % tag.encode() for tag in ("images", "videos", "image", "video", "deletedImage", "deletedVideo")),
    *(b"</%s>" % tag.encode() for tag in ("images", "videos", "image", "video", "deletedImage", "deletedVideo")),
    *(b"<%s>%s</%s>" % (tag, text, tag) for tag, text in ((b"md5", MD5), (b"sha1", SHA1), (b"id", b"7"), (b"id", b""))),
    b"<fingerprints>", b"</fingerprints>", b"<fingerprints/>", b"<md5/>", b"<image/>", b'<member id="42"/>',
    b'<member id=""/>', b"<member/>", b"<classification>A1</classification>", b"<timestamp/>", b"<x>", b"</x>",
    b"<!-- x -->", b"<?pi?>", b"<![CDATA[x]]>", b"&amp;", b"&lt;", b"&#0;", b"&#x41;", b"&x;", b"&#9;", b"\xff", b"\0",
    b"<!DOCTYPE x>", b'<?xml version="1.1"?>', b'<?xml version="1.0" encoding="UTF-16"?>', b"\xef\xbb\xbf",
    b' xmlns="%s"' % NAMESPACE.encode(), b' xmlns=""', b' xmlns:x="%s"' % NAMESPACE.encode(), b"<x:md5>", b"</x:md5>",
    b"<a>" * 70, b"</a>" * 70,
)  # fmt: skip
_LINE_WORDS: Final = (
    b",", b";", b"\t", b"|", b'"', b'""', b'"\n"', b"\n", b"\r\n", b"\r", b" ", b"\0", b"\xff", b"\xc3\xa4", b"#",
    b"%s\n" % MD5, b"%s," % MD5, b'"%s"' % MD5, b"%s\n" % SHA1, MD5.upper(), MD5[1:], b"md5", b"sha-1", b"SHA1",
    b"sha256", b"category", b"reference", b"\n" * 1000, b'"' + b"\n" * 1000, b"x" * 65_537, b"\x85", b"\x1c",
    b"\xe2\x80\xa8", b"\xef\xbb\xbf",
)  # fmt: skip
WORDS: Final = {"vics": _JSON_WORDS, "ncmec": _XML_WORDS}


def words(name: str) -> tuple[bytes, ...]:
    """Give what can be put into a file of this format."""
    return WORDS.get(name, _LINE_WORDS)


def mutated(name: str, content: bytes, chance: random.Random) -> bytes:
    """Change a file a little: pieces of it are dropped, doubled, moved, exchanged, or words come in between."""
    pieces = _PIECES.get(name, _OF_LINES).findall(content) or [b""]
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        at = chance.randrange(len(pieces) + 1)
        end = min(at + chance.choice((1, 1, 2, 4, chance.randrange(1, 40))), len(pieces))
        other = chance.randrange(len(pieces) + 1)
        match chance.randrange(7):
            case 0:
                del pieces[at:end]
            case 1:
                doubled = pieces[at:end]
                room = _MAX_GROWTH // (sum(map(len, doubled)) + 1)
                pieces[at:at] = doubled * min(chance.choice((1, 1, 2, 20)), room)
            case 2:
                moved = pieces[at:end]
                del pieces[at:end]
                pieces[other:other] = moved
            case 3:
                pieces[other : other + 1] = pieces[at : at + 1]
            case 4:
                pieces[at:end] = [chance.choice(words(name))]
            case 5:
                del pieces[at:]
            case _:
                pieces[at:at] = [chance.choice(words(name))]
        pieces = pieces or [b""]
    return b"".join(pieces)
