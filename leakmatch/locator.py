"""Where an item is: a chain of containers and member names, printable and parseable.

A locator finds an item again. Member names are hostile text: they are kept raw, and shown only
through :func:`printable`.
"""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from leakmatch.errors import UsageError

SEPARATOR = "!/"
MAX_LINKS = 256  # far more than any budget lets containers nest

# Root kinds: a file below a folder that was given, or the very file that was given.
FILE = "file"
SOURCE = "source"
FRAME = "frame"
# An archive in what is none by its first bytes, as behind a picture.
APPENDED = "appended"

_BORDER = '],["'  # between two links of a locator as JSON

# A separator within a name, written so that the path is taken apart in one way only.
_IN_NAME = f"\\x{ord(SEPARATOR[0]):02x}{SEPARATOR[1:]}"

# Categories that change how text around them is shown: control, format (bidirectional marks among
# them), surrogates, private use, unassigned, line and paragraph separators.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str) -> str:
    """``text`` with every character that could act on a terminal or page written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def storable(text: str) -> str:
    """``text`` with an escape for each lone surrogate, which stands for a byte that is not UTF-8: no store takes it."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable_lines(text: str) -> str:
    """``text`` with its line ends as they are, and each line :func:`printable`."""
    return "\n".join(printable(line) for line in text.split("\n"))


def is_printable(character: str) -> bool:
    """Whether one character is shown as it is by :func:`printable`."""
    return unicodedata.category(character) not in _UNPRINTABLE


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


@dataclass(frozen=True, slots=True)
class Locator:
    """One link of the chain.

    ``kind`` is the format of the container that holds the item (``zip``, ``tar``, ``gzip``, ...), ``file`` or
    ``source`` for a root, ``frame`` for a picture inside an image file, ``appended`` for an archive behind
    something else. ``raw`` is the name as stored;
    ``name`` its decoded text. ``ordinal`` is the member's place among the members of its container (0, 1, ...), which
    tells duplicates of a name apart; for a root it is the index of the source argument, for a frame its number.
    """

    parent: Locator | None
    kind: str
    name: str
    raw: bytes
    ordinal: int = 0

    @classmethod
    def root(cls, kind: str, name: str, raw: bytes, source_index: int) -> Locator:
        """A file on disk: ``name`` is its path below the folder given, or its own name if it was given."""
        return cls(None, kind, name, raw, source_index)

    def child(self, kind: str, name: str, raw: bytes, ordinal: int = 0) -> Locator:
        """The member ``name`` of the container that this locator points to."""
        return Locator(self, kind, name, raw, ordinal)

    def frame(self, number: int, seconds: float | None = None) -> Locator:
        """Frame ``number`` of the image file that this locator points to; ``seconds``: when an animation shows it."""
        name = f"frame {number}" if seconds is None else f"frame {number} at {seconds:.3f} s"
        return Locator(self, FRAME, name, name.encode(), number)

    def chain(self) -> Iterator[Locator]:
        """The links from the root to this one."""
        if self.parent is not None:
            yield from self.parent.chain()
        yield self

    @property
    def depth(self) -> int:
        """The number of containers around the item: 0 for a file on disk."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def path(self) -> str:
        """Members joined by ``!/``, printable. Relative to the source argument. A ``!/`` in a name is ``\\x21/``."""
        links = list(self.chain())
        if links[0].kind == SOURCE and len(links) > 1:
            links = links[1:]
        return SEPARATOR.join(printable(link.name).replace(SEPARATOR, _IN_NAME) for link in links)

    def to_json(self) -> str:
        """The exact chain as compact ASCII JSON: ``[kind, name, ordinal]`` for each link.

        A name whose bytes are not its UTF-8 text is written ``{"base64": ..., "text": ...}``.
        """
        return json.dumps([[link.kind, _name_json(link), link.ordinal] for link in self.chain()], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Locator:
        """Parse :meth:`to_json`. Raises :class:`UsageError` for anything else."""
        try:
            locator: Locator | None = None
            links = json.loads(text)
            if len(links) > MAX_LINKS:
                raise ValueError("too many links")
            for kind, name, ordinal in links:
                if isinstance(name, dict):
                    text_name, raw = name["text"], base64.b64decode(name["base64"], validate=True)
                else:
                    text_name, raw = name, name.encode()
                if not (isinstance(kind, str) and isinstance(text_name, str) and type(ordinal) is int):
                    raise ValueError("wrong type")
                locator = cls(locator, kind, text_name, raw, ordinal)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError("Not a locator of LeakMatch.") from error
        if locator is None:
            raise UsageError("Not a locator of LeakMatch: it is empty.")
        return locator


def around(stored: str) -> str:
    """The locator, without its last bracket, of the container that an item is in; empty for a file on disk.

    Found without parsing: a ledger has millions. Between two links stands ``],["`` and then the kind of the second. In
    a name the quote is escaped, and where a name ends in ``],[`` its closing quote is followed by ``,`` or ``}``.
    """
    at = stored.rfind(_BORDER)
    while at >= 0 and stored[at + len(_BORDER)] in ",}":
        at = stored.rfind(_BORDER, 0, at)
    return stored[: at + 1]


def _name_json(link: Locator) -> str | dict[str, str]:
    try:
        if link.name.encode() == link.raw:
            return link.name
    except UnicodeEncodeError:
        pass  # a lone surrogate has no UTF-8 form, so the raw bytes are written
    return {"base64": base64.b64encode(link.raw).decode("ascii"), "text": link.name}
