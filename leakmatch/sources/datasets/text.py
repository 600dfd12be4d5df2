"""Pictures and archives in base64 inside text: TSV and CSV (as MS-Celeb has them), JSON, data URLs, mail, vCards.

Found by what base64 makes of the first bytes of one, at any depth, and decoded from the file as they are read, so
a line or a value may be of any length.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from leakmatch.sources.datasets.signatures import is_archive, is_picture, is_plain_text
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Repeated, bytes_at, next_match

# The beginnings of JPEG, PNG, GIF, WebP, TIFF (two), JPEG 2000, HEIF or AVIF, and BMP (two letters only, so what is
# found is decoded and asked again); then of zip, gzip, 7z and rar. JSON may write "/" as "\/".
_BEGINNING: Final = (
    rb"(?:\\?/9j\\?/|_9j_|iVBORw0KGgo|R0lGOD[dl]|UklGR|SUkqA|TU0AK|AAAADGpQIC|AAAA[A-Za-z0-9+/]{2}Z0eX[A-D]"
    rb"|Qk[0-3][A-Za-z0-9+/]{5}AAAA|UEsDB[A-D]|H4sI|N3q8rycc|UmFyIRoH)"
)
_PICTURE = re.compile(rb"(?<![A-Za-z0-9+/_\\-])" + _BEGINNING + rb"[A-Za-z0-9+/_\\-]{48}")
_SIGNS: Final = (
    *(b"/9j", b"_9j_", b"iVBORw0KGgo", b"R0lGOD", b"UklGR", b"SUkqA", b"TU0AK", b"Z0eX", b"AAAA"),
    *(b"UEsDB", b"H4sI", b"N3q8rycc", b"UmFyIRoH"),
)
_LONGEST: Final = 12 + 48  # of what the pattern matches
_HEAD: Final = 18  # bytes that are enough to know a picture or an archive
_OTHER = re.compile(rb"[^A-Za-z0-9+/_\\-]")
_ENDS: Final = frozenset(b"=\"'`\t\r\n ,;|<>()[]{}:&#\0")

# A value that goes on in the next line, as in mail; long lines do not go on.
_NEXT_LINE = re.compile(rb"\r?\n[ \t]{0,40}([A-Za-z0-9+/_-]{1,128})(?==|[ \t]*(?:[\r\n\"'<)]|\Z))")
_LINE: Final = 128
_PEEK: Final = 512

_ESCAPED = re.compile(rb"\\(?:u00([0-9a-fA-F]{2})|[nrt]|)")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_SPACE: Final = b" \t\r\n"
_CUT_ESCAPE = re.compile(rb"\\[u0-9a-fA-F]{0,4}\Z")

_FIRST_FIELD = re.compile(rb"\"?([^\t,;<>\"{}\[\]=\r\n]{1,200})\"?[\t,;]")
_KEY = re.compile(rb"\"([^\"\\\r\n]{1,100})\"\s{0,20}:\s{0,20}\[?\s{0,20}\"(?:data:[^\",]{0,100},)?\Z")
_BEFORE: Final = 400


def is_text_with_pictures(head: bytes) -> bool:
    """Whether ``head`` reads as text, and a picture or an archive in base64 begins in it."""
    return is_plain_text(head) and _first_picture(head) is not None


class Search:
    """Whether there is a picture or an archive in base64 anywhere in a text that is fed piece by piece."""

    def __init__(self) -> None:
        self.found = False
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Look at the next piece."""
        if not self.found:
            data = self._tail + data
            self.found = _first_picture(data) is not None
            self._tail = data[-_LONGEST:]


def open_text(opening: Opening) -> Text:
    """The reader of texts that have pictures or archives in base64."""
    return Text(opening)


class Text:
    """A text whose pictures and archives in base64 are the members.

    A name is what is known of the place: the line, and before it the first field of the line (TSV, CSV), or behind it
    the key (JSON). A second picture in the same place has ``.2`` behind its name.
    """

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._file = opening.file
        self._pulse = opening.pulse
        self._line, self._line_start, self._counted = 1, 0, 0
        self._names: tuple[int, dict[bytes, int]] = (0, {})  # of one line

    def members(self) -> Iterator[Member]:
        """Every picture and archive, in the order of the text."""
        at = 0
        while (start := self._search(at)) is not None:
            at = end = self._end(start)
            following = bytes_at(self._file, end, 1)
            notes: tuple[Note, ...] = ()
            if following and following[0] not in _ENDS:
                notes = (Note("corrupt", "its text ends with a character that is not of base64"),)
            raw = self._name(start)
            yield self._member(raw, start, end, notes)

    def _member(self, raw: bytes, start: int, end: int, notes: tuple[Note, ...]) -> Member:
        def begin() -> Iterator[bytes]:
            return decoded(self._file, start, end)

        return Member(raw, decode_name(raw), end - start, lambda: cast(BinaryIO, Repeated(begin)), notes=notes)

    def _search(self, at: int) -> int | None:
        """Where the next one begins."""
        at = max(at - 1, 0)  # what stands before it counts
        while block := bytes_at(self._file, at, CHUNK):
            found = _first_picture(block)
            if found is not None:
                return at + found
            if len(block) <= _LONGEST + 1:
                return None
            at += len(block) - _LONGEST - 1
            self._pulse()
        return None

    def _end(self, start: int) -> int:
        """Where the base64 that begins at ``start`` ends, in this line or in one that follows."""
        end = next_match(self._file, start, _OTHER)
        while end - start <= _LINE and (more := _NEXT_LINE.match(bytes_at(self._file, end, _PEEK))) is not None:
            if _first_picture(bytes_at(self._file, end + more.start(1), _PEEK)) == 0:
                break
            start, end = end + more.start(1), end + more.end(1)
        return end

    def _line_until(self, start: int) -> bytes:
        """The beginning of the line that ``start`` lies in."""
        return bytes_at(self._file, self._line_start, min(start - self._line_start, _BEFORE))

    def _name(self, start: int) -> bytes:
        self._count_lines(start)
        name = b"%d" % self._line
        if key := _KEY.search(bytes_at(self._file, max(start - _BEFORE, 0), min(start, _BEFORE))):
            name += b"/" + key[1]
        elif field := _FIRST_FIELD.match(self._line_until(start)):
            name = field[1] + b"/" + name
        if self._names[0] != self._line:
            self._names = (self._line, {})
        seen = self._names[1]
        if len(seen) < 1000:
            seen[name] = seen.get(name, 0) + 1
        return name if seen.get(name, 0) <= 1 else b"%b.%d" % (name, seen[name])

    def _count_lines(self, until: int) -> None:
        while self._counted < until:
            block = bytes_at(self._file, self._counted, min(CHUNK, until - self._counted))
            if lines := block.count(b"\n"):
                self._line += lines
                self._line_start = self._counted + block.rfind(b"\n") + 1
            self._counted += len(block) or until


def decoded(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """What the base64 text between two places of ``file`` says. Raises ``EOFError`` where a character is left over."""
    left = raw = b""
    while start < end:
        file.seek(start)
        block = file.read(min(CHUNK, end - start))
        if not block:
            raise EOFError
        start += len(block)
        text, raw = _unescaped(raw + block, last=start >= end)
        text = left + text
        whole = len(text) // 4 * 4
        left = text[whole:]
        if whole:
            yield binascii.a2b_base64(text[:whole])
    if len(left) == 1:
        raise EOFError
    if left:
        yield binascii.a2b_base64(left + b"=" * (4 - len(left)))


def picture_in_base64(text: bytes) -> bytes | None:
    """The picture or archive that ``text`` as a whole is in base64 (a data URL too), or ``None``."""
    start = _first_picture(text)
    if start is None or (start and not text[:start].endswith(b",")):
        return None
    cleaned = _unescaped(text[start:].rstrip(b"= \t\r\n"), last=True)[0]
    if _OTHER.search(cleaned):
        return None
    return binascii.a2b_base64(cleaned + b"=" * (-len(cleaned) % 4)) if len(cleaned) % 4 != 1 else None


def _first_picture(text: bytes) -> int | None:
    if not any(sign in text for sign in _SIGNS):  # much faster than the pattern
        return None
    for found in _PICTURE.finditer(text):
        beginning = _unescaped(found[0], last=True)[0].partition(b"=")[0]  # which may be written as an escape
        head = binascii.a2b_base64(beginning[: len(beginning) // 4 * 4])
        if len(head) >= _HEAD and (is_picture(head) or is_archive(head)):
            return found.start()
    return None


def _unescaped(text: bytes, *, last: bool) -> tuple[bytes, bytes]:
    """``text`` in plain base64, and what may be the first part of an escape at its end."""
    cut = b""
    if b"\\" in text:
        if not last and (found := _CUT_ESCAPE.search(text)):
            text, cut = text[: found.start()], text[found.start() :]
        text = _ESCAPED.sub(lambda m: bytes((int(m[1], 16),)) if m[1] else b"", text)
    return text.translate(_URL_SAFE, _SPACE), cut
