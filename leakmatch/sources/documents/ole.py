"""OLE files (.doc, .xls, .ppt, .msg, Thumbs.db): every stream, and the pictures inside streams, read by olefile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.signatures import is_picture
from leakmatch.sources.documents.carve import pictures
from leakmatch.sources.guard import extra_missing, over_budget, reading
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import Range

_MAX_STREAM: Final = 256 << 20  # olefile reads a stream as a whole


def open_ole(opening: Opening) -> Ole:
    """The reader of OLE files. Raises :class:`ItemError` (``needs-extra``) without olefile."""
    try:
        import olefile
    except ImportError as error:
        raise extra_missing("OLE files (.doc, .xls, .ppt, .msg)", "documents") from error
    return Ole(opening, olefile)


class Ole:
    """A file. A stream is a member by its path; a picture inside it is one too, with its place behind the path."""

    def __init__(self, opening: Opening, olefile: Any) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._olefile = olefile

    def members(self) -> Iterator[Member]:
        """Every stream, and behind each the pictures in it."""
        with reading("the OLE file"):
            file = self._olefile.OleFileIO(Range(self._opening.file, 0, self._opening.size))
            paths = file.listdir(streams=True, storages=False)
        failure: ItemError | None = None
        for path in paths:
            self._opening.pulse()
            name = "/".join(path)
            try:
                with reading("the stream"):
                    size = file.get_size(path)
                    if size > _MAX_STREAM:
                        raise over_budget(f"a stream of more than {_MAX_STREAM >> 20} MiB")
                    data = file.openstream(path)
            except ItemError as error:
                failure = failure or error
                yield _member(name, 1, 0, data=None, problem=error)
                continue
            yield _member(name, 0, size, data)
            data.seek(0)
            if not is_picture(data.read(64)):
                for place in pictures(data, size):
                    yield _member(f"{name}/at {place.start}", place.start, place.size, data)
        if file.parsing_issues:
            _, message = file.parsing_issues[0]
            self.notes.append(Note("corrupt", " ".join(str(message).split())[:200]))
        if failure is not None:
            raise failure


def _member(name: str, start: int, size: int, data: Any, problem: ItemError | None = None) -> Member:
    raw = name.encode("utf-8", "surrogateescape")

    def reopen() -> BinaryIO:
        return cast(BinaryIO, Range(data, start, size, strict=True))

    return Member(raw, decode_name(raw), max(size, 1), reopen, size, problem=problem)
