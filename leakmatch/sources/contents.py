"""What reading an item once shows: its beginning, size and digest, what it is, what lies in it; its data if small."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from leakmatch.errors import ItemError
from leakmatch.records import Entry, ItemKind, Outcome
from leakmatch.sources.archives.zip.directory import TAIL, is_zip_tail
from leakmatch.sources.behind import Behind
from leakmatch.sources.datasets.signatures import is_plain_text
from leakmatch.sources.datasets.text import Search
from leakmatch.sources.documents.within import Pictures
from leakmatch.sources.guard import reading
from leakmatch.sources.item import Item, buffered
from leakmatch.sources.meter import OverBudget
from leakmatch.sources.registry import HEAD_BYTES, STUB_BYTES, TEXT, ZIP, carried, is_program
from leakmatch.sources.streams import CHUNK, Ending, Range

_WHAT: Final = "the data"


@dataclass(slots=True)
class Contents:
    """What is known of ``item`` after :meth:`begin` (the head, or an error) and after :meth:`finish` (the rest).

    ``error`` says why not all of it could be read, ``digest`` is of what was.
    """

    item: Item
    head: bytes = b""
    format: str = ""
    stream: BinaryIO | None = None  # stands behind the head
    size: int = 0
    digest: bytes = b""
    data: bytes | None = None
    tail: bytes = b""
    stub: bytes = b""  # of a program only: its beginning
    members: int | None = None  # that its reader gave, once it was opened as a container
    has_pictures: bool = False  # of a text only: somewhere, in base64
    behind: list[tuple[str, int]] = field(default_factory=list)  # archives in what is none itself: kind and place
    more: bool = False  # of them than are in the list
    places: tuple[int, ...] = ()  # where pictures begin in what is none itself, and the end of the bytes they lie in
    error: ItemError | None = None

    @property
    def sha256(self) -> bytes | None:
        """The digest of the whole item; ``None`` where not all of it was read."""
        return self.digest if self.digest and self.error is None else None

    def begin(self) -> None:
        """Read the first :data:`HEAD_BYTES`."""
        try:
            with reading(_WHAT):
                stream = self.item.open()
                while len(self.head) < HEAD_BYTES and (block := stream.read(HEAD_BYTES - len(self.head))):
                    self.head += block
                self.stream = stream
        except ItemError as error:
            self.error = error

    def finish(self, keep: int, behind: Behind | None = None, within: Pictures | None = None) -> None:
        """Read all of the item: its size, its digest, its last bytes, and its content if no larger than ``keep``.

        ``behind`` and ``within`` are shown all of it.
        """
        digest = hashlib.sha256()
        kept, first, last = _Kept(keep), _First(STUB_BYTES if is_program(self.head) else 0), _Last(TAIL)
        search = Search() if keep == 0 and is_plain_text(self.head) else None
        others = [taker.feed for taker in (search, behind, within) if taker is not None]
        takers: list[Callable[[bytes], object]] = [digest.update, *others, first.feed, last.feed, kept.feed]
        self.size, self.error = 0, None
        try:
            with reading(_WHAT):
                for block in self._blocks():
                    self.size += len(block)
                    for take in takers:
                        take(block)
        except ItemError as error:
            self.error = error
        self.digest, self.stub, self.tail = digest.digest(), bytes(first.data), last.data()
        self.data = None if isinstance(self.error, OverBudget) else kept.data()
        self.has_pictures = search is not None and search.found
        if behind is not None:
            self.behind = self._archives(behind)
        if within is not None and not isinstance(self.error, OverBudget):
            # What lies in an archive is read with it.
            end = min((start for _, start in self.behind), default=self.size)
            starts = [start for start in within.end() if 0 < start < end]
            self.places = (*starts, end) if starts else ()

    def pass_over(self, size: int) -> None:
        """Count ``size`` bytes against the budget instead of reading them."""
        try:
            self.item.meter.add_bytes(max(size - len(self.head), 0))
        except OverBudget as error:
            self.error = error

    def _blocks(self) -> Iterator[bytes]:
        """All bytes of the item, going on behind the head where that is still possible."""
        stream, self.stream = self.stream, None
        if stream is None:
            stream = self.item.open()
        else:
            yield self.head
        while block := stream.read(CHUNK):
            yield block

    def _archives(self, behind: Behind) -> list[tuple[str, int]]:
        if isinstance(self.error, OverBudget):
            return []
        found, self.more = behind.end(), behind.full
        if ZIP not in dict(found) and self.error is None and is_zip_tail(self.tail, self.size):
            found.insert(0, (ZIP, 0))
        return found

    def instead(self) -> str | None:
        """The container that the item is, though its first bytes do not say so."""
        if self.error is None and is_zip_tail(self.tail, self.size):
            return ZIP
        if self.has_pictures and not isinstance(self.error, OverBudget):
            return TEXT
        return carried(self.stub) if self.error is None else None

    def seekable(self, pulse: Callable[[], None]) -> tuple[BinaryIO, int]:
        """The item as a file that can be sought, and its size: in place, in memory, or by going over it again.

        ``pulse`` is called at each read of a set of files.
        """
        item = self.item
        if item.whole is not None and len(item.whole.parts.names) > 1:
            return item.whole.open(pulse), item.whole.size
        if item.in_place is not None:
            # Behind a place that cannot be read there may be more.
            return item.in_place, self.size if self.error is None else max(item.size or 0, self.size)
        if self.data is not None:
            return io.BytesIO(self.data), self.size
        # Only what could be read the first time: behind that, the same damage would be met. The end is looked at in
        # every container, and to come to it once more can mean to decompress all of the item.
        return buffered(Ending(item.open(), self.size, self.tail), CHUNK), self.size

    def part(self, start: int, size: int, pulse: Callable[[], None]) -> BinaryIO:
        """``size`` bytes from ``start``, as a file that can be sought."""
        return buffered(Range(self.seekable(pulse)[0], start, size), CHUNK)

    def entry(self, position: int, kind: ItemKind, outcome: Outcome, detail: str = "") -> Entry:
        """The row of the item, where it is no picture to be looked at."""
        return Entry(
            self.item.locator,
            position,
            kind,
            self.size,
            self.sha256,
            outcome,
            detail,
            members=self.members,
            format=self.format,
        )

    def failed(self, position: int, kind: ItemKind, error: ItemError) -> Entry:
        """The row of the item where ``error`` ended its reading."""
        size = self.size or self.item.size or 0
        row = self.entry(position, kind, Outcome(error.outcome), str(error))
        return replace(row, size=size, cut=not error.steady)


class _First:
    """The first ``size`` bytes of what it is fed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.data = bytearray()

    def feed(self, block: bytes) -> None:
        self.data += block[: self._size - len(self.data)]


class _Last:
    """The last ``size`` bytes of what it is fed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._blocks: deque[bytes] = deque()
        self._held = 0

    def feed(self, block: bytes) -> None:
        self._blocks.append(block)
        self._held += len(block)
        while self._held - len(self._blocks[0]) >= self._size:
            self._held -= len(self._blocks.popleft())

    def data(self) -> bytes:
        return b"".join(self._blocks)[-self._size :]


class _Kept:
    """All it is fed, unless that is more than ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._file: io.BytesIO | None = io.BytesIO()

    def feed(self, block: bytes) -> None:
        self._size += len(block)
        if self._size > self._most:
            self._file = None
        elif self._file is not None:
            self._file.write(block)

    def data(self) -> bytes | None:
        return None if self._file is None else self._file.getvalue()
