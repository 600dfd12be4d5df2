"""Archives in several files: how the parts are called, which of them carries the set, and the set read as one file.

For readers of formats with volumes of their own (rar, split zip): :func:`part_of` reads a name, :func:`part_set` looks
at what lies beside it, :meth:`PartSet.names` are the parts in the order of their data. The walk gives every part but
the carrier a row without members, so a reader only ever opens the carrier.

==========  ==============================================================  ==================
scheme      names, in the order of the data                                 carrier
==========  ==============================================================  ==================
``number``  NAME.001, NAME.002, ... (or from .000): cut anywhere            the first
``split``   NAME.zipaa, NAME.zip.partab, NAME.part1: cut anywhere           the first
``zip``     NAME.z01, NAME.z02, ..., NAME.zip: offsets by volume            NAME.zip
``rar``     NAME.part1.rar, NAME.part2.rar, ...                             the first
``r00``     NAME.rar, NAME.r00, ..., NAME.r99, NAME.s00, ...                NAME.rar
==========  ==============================================================  ==================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from leakmatch.sources.split.volumes import Volumes

_ARCHIVES: Final = r"(?:zipx?|7z|rar|tar|tgz|tbz2?|txz|tzst|gz|bz2|xz|lzma|zst|lz4|cab|iso)"
_NUMBER: Final = re.compile(r"(.+\.)([0-9]{3,5})", re.S)
_SPLIT_NUMBER: Final = re.compile(rf"(.+?(\.{_ARCHIVES}[.-]?|\.)part[.-]?)([0-9]{{1,4}})", re.S | re.I)
_SPLIT_LETTERS: Final = re.compile(rf"(.+\.{_ARCHIVES}[.-]?(?:part[.-]?)?)([a-z]{{2,3}})", re.S | re.I)
_ZIP: Final = re.compile(r"(.+\.)(zx?)([0-9]{2,3})", re.S | re.I)
_ZIP_LAST: Final = re.compile(r"(.+\.)zip(x?)", re.S | re.I)
_RAR: Final = re.compile(r"(.+\.part)([0-9]{1,5})(\.(?:rar|exe))", re.S | re.I)
_OLD_RAR: Final = re.compile(r"(.+\.)([r-y])([0-9]{2})", re.S | re.I)
_OLD_RAR_FIRST: Final = re.compile(r"(.+\.)(rar)", re.S | re.I)
_ARCHIVE_BEFORE_NUMBER: Final = re.compile(rf".+\.{_ARCHIVES}\.[0-9]+", re.S | re.I)

_LOOK_AHEAD: Final = 20  # so many parts may be missing in a row without the set seeming to end
_MOST: Final = 10_000

#: Schemes whose parts, one behind the other, are the archive.
CUT: Final = frozenset({"number", "split"})


@dataclass(frozen=True, slots=True)
class Part:
    """A name as that of a part. ``number``: its own; the last part of scheme ``zip`` has none, 0.

    ``name`` makes the name of another part of the set from its number. ``first``: the lowest numbers possible.
    ``program``: what the first may be called where it is a self-extractor. ``certain``: no file that stands alone would
    be called so. ``other``: names in small letters where ``name`` has capitals, and the other way round.
    """

    scheme: str
    number: int
    name: Callable[[int], str]
    first: tuple[int, ...] = (1,)
    program: str = ""
    certain: bool = True
    other: Callable[[int], str] | None = None


@dataclass(frozen=True, slots=True)
class PartSet:
    """The set that a file belongs to, with the ``volumes`` that lie beside it.

    ``carrier``: the name of the part that stands for the set. ``names``: the parts that are there, in order, its own
    among them; of a set that was cut anywhere only those before the first gap. ``missing``: the names between others
    that are not there. ``number``: how manieth the file itself is, from 1.
    """

    volumes: Volumes
    part: Part
    carrier: str
    names: tuple[str, ...]
    missing: tuple[str, ...]
    number: int
    following: str  # what the next part would be called

    @property
    def own(self) -> str:
        """The name of the file itself."""
        return self.volumes.name

    @property
    def is_carrier(self) -> bool:
        """Whether the file itself stands for the set."""
        return self.own == self.carrier

    @property
    def size(self) -> int:
        """The bytes of all parts that are there."""
        return sum(map(self.volumes.size, self.names))


def part_of(name: str) -> Part | None:
    """What ``name`` says of itself; ``None`` if it is not called like a part. Reads no file."""
    for scheme in (_zip, _rar, _old_rar, _split, _number):
        if (part := scheme(name)) is not None:
            return part
    return None


def part_set(volumes: Volumes) -> PartSet | None:
    """The set of the file that ``volumes`` lie beside; ``None`` if it is not called like a part, or has no folder.

    The set may have this one part only, and the carrier may be missing (then it is not among ``names``).
    """
    part = part_of(volumes.name)
    if part is None:
        return None
    if part.scheme == "zip":
        return _zip_set(part, volumes)
    first = next((n for n in part.first if volumes.has(part.name(n))), part.first[-1])
    name = part.name
    if part.program and not volumes.has(name(first)) and volumes.has(part.program):

        def name(number: int) -> str:
            return part.program if number == first else part.name(number)

    there, missing, last = _beside(volumes, name, first, max(first, part.number))
    if part.scheme in CUT and missing:
        there = [n for n in there if n < missing[0]]
    names, gaps = tuple(map(name, there)), tuple(map(name, missing))
    return PartSet(volumes, part, name(first), names, gaps, part.number - first + 1, name(last + 1))


def _zip_set(part: Part, volumes: Volumes) -> PartSet:
    if part.other and not volumes.has(part.name(0 if part.number else 1)):
        there, _, _ = _beside(volumes, part.other, 0, 0)
        if len(there) > 1 and there[0] == 0:  # Info-ZIP adds z01 to a name in capitals
            part = replace(part, name=part.other)
    last = part.name(0)
    there, missing, highest = _beside(volumes, part.name, 1, part.number)
    names = (*map(part.name, there), *([last] if volumes.has(last) else []))
    return PartSet(volumes, part, last, names, tuple(map(part.name, missing)), part.number or highest + 1, last)


def _beside(volumes: Volumes, name: Callable[[int], str], first: int, last: int) -> tuple[list[int], list[int], int]:
    """The numbers that are there from ``first`` on, those missing between them and up to ``last``, and the last."""
    there: list[int] = []
    number = first
    while number <= min(last + _LOOK_AHEAD, _MOST):
        if volumes.has(name(number)):
            there.append(number)
            last = max(last, number)
        number += 1
    return there, sorted({*range(first, last + 1)} - {*there}), last


# Names


def _number(name: str) -> Part | None:
    if not (match := _NUMBER.fullmatch(name)):
        return None
    before, digits = match.groups()
    certain = _ARCHIVE_BEFORE_NUMBER.fullmatch(name) is not None
    return Part("number", int(digits), _numbered(before, len(digits)), (0, 1), certain=certain)


def _split(name: str) -> Part | None:
    if match := _SPLIT_NUMBER.fullmatch(name):
        before, archive, digits = match.groups()
        return Part("split", int(digits), _numbered(before, len(digits)), (0, 1), certain=archive != ".")
    if match := _SPLIT_LETTERS.fullmatch(name):
        before, letters = match.groups()
        base = ord("a") if letters.islower() else ord("A")
        number = 0
        for letter in letters.upper():
            number = 26 * number + ord(letter) - ord("A")
        width = len(letters)

        def lettered(n: int) -> str:
            return before + "".join(chr(base + n // 26**i % 26) for i in reversed(range(width)))

        # "x.tar.gz" is called like the 181st part of "x.tar.aa".
        return Part("split", number, lettered, (0,), certain=False)
    return None


def _zip(name: str) -> Part | None:
    if match := _ZIP.fullmatch(name):
        before, letter, digits = match.groups()
        ip = "ip" if letter[0] == "z" else "IP"
        last = letter[0] + ip + letter[1:]
        other_last = letter[0].swapcase() + ip.swapcase() + letter[1:]
        return Part("zip", int(digits), _volumes(before, letter, last), other=_volumes(before, letter, other_last))
    if match := _ZIP_LAST.fullmatch(name):
        before, x = match.groups()
        last = name[len(before) :]
        letter = last[0]
        return Part("zip", 0, _volumes(before, letter + x, last), other=_volumes(before, letter.swapcase() + x, last))
    return None


def _volumes(before: str, letter: str, last: str) -> Callable[[int], str]:
    return lambda n: before + (f"{letter}{n:02}" if n else last)  # 0 is the last part, which has no number


def _rar(name: str) -> Part | None:
    if not (match := _RAR.fullmatch(name)):
        return None
    before, digits, after = match.groups()
    own, width = int(digits), len(digits)
    rar, program = (".rar", ".exe") if after.islower() else (".RAR", ".EXE")
    if after.lower() == ".exe" and own != 1:
        return None
    return Part("rar", own, lambda n: f"{before}{n:0{width}}{rar}", program=f"{before}{1:0{width}}{program}")


def _old_rar(name: str) -> Part | None:
    if match := _OLD_RAR.fullmatch(name):
        before, letter, digits = match.groups()
        number = 2 + 100 * (ord(letter.lower()) - ord("r")) + int(digits)
    elif match := _OLD_RAR_FIRST.fullmatch(name):
        before, letter = match.groups()
        number = 1
    else:
        return None
    base, first, program = (ord("r"), "rar", "exe") if letter.islower() else (ord("R"), "RAR", "EXE")

    def numbered(n: int) -> str:
        return before + (first if n == 1 else f"{chr(base + (n - 2) // 100)}{(n - 2) % 100:02}")

    return Part("r00", number, numbered, program=before + program)


def _numbered(before: str, width: int) -> Callable[[int], str]:
    return lambda n: f"{before}{n:0{width}}"
