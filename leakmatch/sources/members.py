"""What a container reader gives: members, one after the other, each with a way to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from leakmatch.errors import ItemError


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing: an incident code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a container.

    ``raw`` and ``name``: its name as stored and as text. ``stored``: the bytes it takes in the container (at least 1),
    for the ratio. ``open`` gives its bytes from the beginning at each call; valid until the next member is asked for.
    ``frame``: it is a picture out of a video.
    ``special`` says what it is if it is no file (a link, a device); ``aside`` what it is if it is known to be no
    picture and is not opened (an array of some other shape); ``problem`` why it cannot be opened.
    """

    raw: bytes
    name: str
    stored: int
    open: Callable[[], BinaryIO]
    size: int | None = None
    special: str = ""
    aside: str = ""
    frame: bool = False
    problem: ItemError | None = None
    notes: tuple[Note, ...] = ()


class Container(Protocol):
    """A reader of one format over a seekable file."""

    notes: list[Note]  # about the container itself; complete when ``members`` has ended

    def members(self) -> Iterator[Member]:
        """Every member in stored order. Raises :class:`ItemError` where the container can be read no further."""
