"""PDF: embedded pictures and files, found in the list of objects and not by its pages. pypdf does the reading.

Pictures coded as JPEG or JPEG 2000 come out as they are. Others become PPM or PGM files; CMYK is turned to RGB plainly,
and masks are left out.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.arrays import picture_file
from leakmatch.sources.documents.carve import pictures
from leakmatch.sources.guard import corrupt, encrypted, extra_missing, over_budget, reading, unsupported
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.passwords import MOST_TRIES
from leakmatch.sources.streams import Range, Seekable

_AS_IT_IS: Final = frozenset(("/DCTDecode", "/DCT", "/JPXDecode"))
_FAX: Final = frozenset(("/CCITTFaxDecode", "/CCF"))
_NOT_READ: Final = frozenset(("/JBIG2Decode", "/Crypt"))
_CHANNELS: Final = {"/DeviceGray": 1, "/G": 1, "/CalGray": 1, "/DeviceRGB": 3, "/RGB": 3, "/CalRGB": 3, "/Lab": 3,
                    "/DeviceCMYK": 4, "/CMYK": 4}  # fmt: skip
_MOST: Final = 64 << 20  # bytes of one stream, packed or not
_MAX_NAME: Final = 500
_MAX_DEPTH: Final = 8
_MAX_SEARCHED: Final = 128 << 20
_NO_DIRECTORY: Final = b"\nstartxref\n0\n%%EOF\n"


def open_pdf(opening: Opening) -> Pdf:
    """The reader of PDF documents. Raises :class:`ItemError` (``needs-extra``) without pypdf."""
    try:
        import pypdf
        import pypdf.generic
    except ImportError as error:
        raise extra_missing("PDF documents", "documents") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # damage is told in the ledger
    return Pdf(opening, pypdf)


class Pdf:
    """A document. Members are ``image N`` by the number of the object, and embedded files by their names."""

    def __init__(self, opening: Opening, pypdf: Any) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._pypdf = pypdf
        self._failure: ItemError | None = None

    def members(self) -> Iterator[Member]:
        """Every picture and embedded file, by the number of its object."""
        try:
            reader, numbers = self._opened()
        except ItemError as error:
            if error.code != "corrupt":
                raise
            yield from self._carved()
            raise
        files: dict[int, str] = {}
        seen: set[int] = set()
        for number, generation in numbers:
            self._opening.pulse()
            thing = self._object(reader, number, generation)
            if isinstance(thing, self._pypdf.generic.StreamObject):
                if thing.get("/Subtype") == "/Image":
                    yield self._image(thing, f"image {number}")
                elif thing.get("/Type") == "/EmbeddedFile":
                    seen.add(number)
            elif isinstance(thing, self._pypdf.generic.DictionaryObject):
                self._note_file(thing, files)
        for number in sorted(seen | files.keys()):
            yield from self._file(reader, number, files.get(number, f"file {number}"))
        if self._failure is not None:
            yield from self._carved()
            raise self._failure

    def _reading(self, what: str) -> reading:
        return _Reading(what, self._pypdf)

    def _opened(self) -> tuple[Any, list[tuple[int, int]]]:
        """The reader and the numbers of the objects; where the directory is damaged, of those that are found."""
        whole = Range(self._opening.file, 0, self._opening.size)
        try:
            with self._reading("the PDF document"):
                return self._read(whole)
        except ItemError as error:
            if error.code != "corrupt" or self._opening.size > _MAX_SEARCHED:
                raise
            self._failure = error
        with self._reading("the PDF document"):
            return self._read(io.BufferedReader(_Ended(whole, self._opening.size)))

    def _read(self, source: io.IOBase) -> tuple[Any, list[tuple[int, int]]]:
        reader = self._pypdf.PdfReader(source, strict=False)
        self._unlock(reader)
        return reader, self._numbers(reader)

    def _unlock(self, reader: Any) -> None:
        """Raises :class:`ItemError` (``needs-password``) where no password fits."""
        if not reader.is_encrypted or reader.decrypt(""):
            return
        for password in self._opening.passwords.first(MOST_TRIES):
            opens = reader.decrypt(password.decode("utf-8", "surrogateescape"))
            self._opening.tried()
            if opens:
                self.notes.append(self._opening.passwords.worked(password))
                return
        raise encrypted(self._opening.passwords.failed(MOST_TRIES))

    def _numbers(self, reader: Any) -> list[tuple[int, int]]:
        """Number and generation of every object that the document lists."""
        found = {(number, generation) for generation, places in reader.xref.items() for number in places}
        found |= {(number, 0) for number in reader.xref_objStm}
        return sorted(found)

    def _object(self, reader: Any, number: int, generation: int) -> Any:
        try:
            with self._reading(f"object {number}"):
                reference = self._pypdf.generic.IndirectObject(number, generation, reader)
                thing = reader.get_object(reference)
                reader.resolved_objects.clear()  # they would all stay in memory
                return thing
        except ItemError as error:
            self._failure = self._failure or error
            return None

    # Embedded files

    def _note_file(self, thing: Any, files: dict[int, str]) -> None:
        """Remember the name of a file whose description this is."""
        try:
            with self._reading("the description of a file"):
                embedded = thing.get("/EF")
                if not isinstance(embedded, self._pypdf.generic.DictionaryObject):
                    return
                for key in ("/UF", "/F"):
                    reference = embedded.raw_get(key) if key in embedded else None
                    name = thing.get(key) or thing.get("/F") or thing.get("/UF")
                    if isinstance(reference, self._pypdf.generic.IndirectObject) and name is not None:
                        files.setdefault(reference.idnum, str(name)[:_MAX_NAME])
        except ItemError as error:
            self._failure = self._failure or error

    def _file(self, reader: Any, number: int, name: str) -> Iterator[Member]:
        thing = self._object(reader, number, 0)
        if isinstance(thing, self._pypdf.generic.StreamObject):
            yield self._member(f"files/{name}", thing, lambda: io.BytesIO(self._decoded(thing)))

    # Pictures

    def _image(self, thing: Any, name: str) -> Member:
        return self._member(name, thing, lambda: self._picture(thing))

    def _member(self, name: str, thing: Any, make: Callable[[], BinaryIO]) -> Member:
        raw = name.encode("utf-8", "surrogateescape")
        stored = max(len(getattr(thing, "_data", b"") or b""), 1)
        made: list[BinaryIO] = []

        def reopen() -> BinaryIO:
            if not made:
                with self._reading("the picture"):
                    made.append(make())
            return cast(BinaryIO, Range(made[0], 0, made[0].seek(0, io.SEEK_END)))

        return Member(raw, decode_name(raw), stored, reopen)

    def _picture(self, thing: Any) -> BinaryIO:
        filters = _names(thing.get("/Filter"))
        if filters and filters[-1] in _AS_IT_IS:
            return io.BytesIO(self._before_last(thing, len(filters)))
        if filters and filters[-1] in _FAX:
            return io.BytesIO(self._decoded(thing))
        if not _NOT_READ.isdisjoint(filters):
            raise unsupported(f"a picture in {filters[-1][1:40]}, which is not read")
        width, height = int(thing.get("/Width", 0)), int(thing.get("/Height", 0))
        if width < 1 or height < 1:
            raise corrupt("the picture has no size")
        if width * height > self._opening.budget.pixels:
            raise over_budget(f"a picture of more than {self._opening.budget.pixels:,} pixels")
        bits = 1 if thing.get("/ImageMask") else int(thing.get("/BitsPerComponent", 8))
        channels, palette = self._colours(thing.get("/ColorSpace", "/DeviceGray"))
        if bits not in (1, 2, 4, 8, 16):
            raise corrupt("a number of bits that no picture has")
        values = _samples(self._decoded(thing), width, height, channels, bits)
        decode = [float(n) for n in _list(thing.get("/Decode"))]
        return _coloured(values, bits, palette, inverted=len(decode) > 1 and decode[0] > decode[1])

    def _colours(self, space: Any, depth: int = 0) -> tuple[int, NDArray[np.uint8] | None]:
        """Channels of the numbers, and the palette (uint8[K,3]) that they point into."""
        space = space.get_object() if hasattr(space, "get_object") else space
        if depth > _MAX_DEPTH:
            raise corrupt("colours that go round in circles")
        if not isinstance(space, list):
            return _CHANNELS.get(str(space), 1), None
        name = str(space[0].get_object())
        if name == "/ICCBased":
            return int(space[1].get_object().get("/N", 3)), None
        if name in ("/Indexed", "/I"):
            channels, _ = self._colours(space[1], depth + 1)
            table = space[3].get_object()
            data = self._decoded(table) if hasattr(table, "get_data") else _raw(table)
            usable = len(data) // channels * channels
            colours = np.frombuffer(data[:usable], np.uint8).reshape(-1, channels)
            return 1, _rgb(colours)
        if name == "/DeviceN":
            return len(space[1].get_object()), None
        return _CHANNELS.get(name, 1), None

    def _decoded(self, thing: Any) -> bytes:
        if len(getattr(thing, "_data", b"") or b"") > _MOST:
            raise over_budget(f"a stream of more than {_MOST >> 20} MiB")
        data = thing.get_data()
        if len(data) > 4 * _MOST:
            raise over_budget(f"a stream of more than {4 * _MOST >> 20} MiB")
        return data if isinstance(data, bytes) else str(data).encode("latin1")

    def _before_last(self, thing: Any, count: int) -> bytes:
        """The data before its last filter, which is a picture's own coding."""
        raw: bytes = thing._data
        if count == 1:
            return raw
        generic = self._pypdf.generic
        other = generic.EncodedStreamObject()
        other._data = raw
        names = _list(thing.get("/Filter"))[:-1]
        other[generic.NameObject("/Filter")] = generic.ArrayObject(names)
        parameters = _list(thing.get("/DecodeParms"))[: count - 1]
        if parameters:
            other[generic.NameObject("/DecodeParms")] = generic.ArrayObject(parameters)
        return self._decoded(other)

    # Damage

    def _carved(self) -> Iterator[Member]:
        """The pictures that lie in a damaged document as they are."""
        source = cast(BinaryIO, Range(self._opening.file, 0, self._opening.size))
        for start, size in pictures(source, self._opening.size):
            raw = b"at %d" % start

            def reopen(start: int = start, size: int = size) -> BinaryIO:
                return cast(BinaryIO, Range(self._opening.file, start, size, strict=True))

            yield Member(raw, raw.decode(), max(size, 1), reopen, size)


class _Ended(Seekable):
    """A document with an end that makes pypdf look for the objects."""

    def __init__(self, source: Range, size: int) -> None:
        super().__init__()
        self._source, self._size = source, size

    def _read_at(self, at: int, size: int) -> bytes:
        if at >= self._size:
            return _NO_DIRECTORY[at - self._size : at - self._size + size]
        self._source.seek(at)
        return self._source.read(size)

    def _end(self) -> int:
        return self._size + len(_NO_DIRECTORY)


class _Reading(reading):
    __slots__ = ("_pypdf",)

    def __init__(self, what: str, pypdf: Any) -> None:
        super().__init__(what)
        self._pypdf = pypdf

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._pypdf.errors.LimitReachedError):
            raise over_budget(f"{self._what} expands to more than pypdf's limit") from error
        if isinstance(error, self._pypdf.errors.PyPdfError | AssertionError | NotImplementedError):
            raise corrupt(f"{self._what} is damaged ({' '.join(str(error).split())[:120]})") from error
        if isinstance(error, self._pypdf.errors.DependencyError):
            raise extra_missing("locked PDF documents", "documents") from error
        super().__exit__(kind, error, trace)


def _list(value: Any) -> list[Any]:
    value = value.get_object() if hasattr(value, "get_object") else value
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _names(value: Any) -> list[str]:
    return [str(item.get_object() if hasattr(item, "get_object") else item) for item in _list(value)]


def _raw(text: Any) -> bytes:
    return bytes(text.original_bytes) if hasattr(text, "original_bytes") else bytes(text)


def _samples(data: bytes, width: int, height: int, channels: int, bits: int) -> NDArray[np.uint8]:
    """The numbers of a picture, uint8[H,W,C]; missing rows are 0. Of 16 bits the upper 8."""
    row = (width * channels * bits + 7) // 8
    if row * height > 2 * _MOST:
        raise over_budget(f"a picture whose numbers take more than {2 * _MOST >> 20} MiB")
    rows = np.frombuffer(data[: row * height].ljust(row * height, b"\0"), np.uint8).reshape(height, row)
    if bits == 16:
        rows = rows[:, ::2]
    elif bits < 8:
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        mask = np.uint8((1 << bits) - 1)
        rows = np.bitwise_and(rows[:, :, None] >> shifts, mask).reshape(height, -1).astype(np.uint8)
    return rows[:, : width * channels].reshape(height, width, channels)


def _coloured(values: NDArray[np.uint8], bits: int, palette: NDArray[np.uint8] | None, *, inverted: bool) -> BinaryIO:
    if palette is not None and len(palette):
        return picture_file(palette[np.minimum(values[..., 0], len(palette) - 1)], "HWC")
    if bits < 8:
        values = values * np.uint8(255 // ((1 << bits) - 1))
    if inverted:
        values = np.uint8(255) - values
    return picture_file(_rgb(values) if values.shape[-1] != 1 else values, "HWC")


def _rgb(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours of 1, 3 or 4 (CMYK) channels as RGB; of any other number the first as gray."""
    channels = values.shape[-1]
    if channels == 3:
        return values
    if channels == 4:
        light = 255 - values.astype(np.uint16)
        return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)
    return np.repeat(values[..., :1], 3, axis=-1)
