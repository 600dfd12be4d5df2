"""Attacks on a sealed gallery by somebody who can write to its file and has no key, and what came of each.

``tests/fault/test_tampered_gallery.py`` makes a sample of them, ``scripts/tamper.py`` all.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from galleries import Shot, add, pack, people
from sealed_files import key_in

from leakmatch.errors import IntegrityError, LeakMatchError, UsageError
from leakmatch.gallery.store import Gallery
from leakmatch.sealed.blocks import Head, Kind
from leakmatch.sealed.header import BLOCKS_AT, KEY_PAGE_BYTES, MAGIC, ROOT_AT, ROOT_BYTES
from leakmatch.sealed.keys import Keys

REFUSED = "refused"  #: an IntegrityError: exit code 4
NO_GALLERY = "no gallery"  #: a UsageError: so little is left that it is no sealed file any more
OPENED = "opened"

FIRST, COPY = slice(0, KEY_PAGE_BYTES), slice(KEY_PAGE_BYTES, ROOT_AT)
ROOT = slice(ROOT_AT, ROOT_AT + ROOT_BYTES)
HEADERS = {"first key page": FIRST, "its copy": COPY, "root": ROOT}

Content = tuple[str, list[dict[str, object]], list[str]]


@dataclass(frozen=True)
class Attack:
    """A file as somebody left it. ``allowed``: what may come of it."""

    name: str
    data: bytes
    allowed: tuple[str, ...] = (REFUSED,)


@dataclass
class Victim:
    """A small gallery: as it is, as it was after each change, as it was before it was compacted; and another one."""

    path: Path
    keys: Keys
    whole: bytes
    earlier: list[bytes]
    predecessor: bytes
    other: bytes
    content: Content
    failures: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> list[slice]:
        """Where its blocks are."""
        return blocks_of(self.whole)

    def outcome(self) -> str:
        """What comes of opening the file as it is now."""
        try:
            with Gallery.open(self.path, keys=self.keys) as gallery:
                opened = content_of(gallery)
        except IntegrityError:
            return REFUSED
        except UsageError as error:
            return NO_GALLERY if "not a LeakMatch gallery" in str(error) else f"UsageError: {error}"
        except LeakMatchError as error:
            return f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a crash
            return f"crashed: {type(error).__name__}: {error}"
        newest = opened[0] == self.content[0] and opened[2] == self.content[2]
        if not newest or opened[1][: len(self.content[1])] != self.content[1]:
            return "opened with other content"
        return OPENED

    def suffers(self, attacks: Iterator[Attack]) -> int:
        """Make the attacks; how many there were. Those that were not noticed, or changed the file, are failures."""
        count = 0
        for attack in attacks:
            count += 1
            self.path.write_bytes(attack.data)
            outcome = self.outcome()
            if outcome not in attack.allowed:
                self.failures.append(f"{attack.name}: {outcome}")
            if outcome in (REFUSED, NO_GALLERY) and self.path.read_bytes() != attack.data:
                self.failures.append(f"{attack.name}: was refused, and changed the file")
        self.path.write_bytes(self.whole)
        return count

    def suffers_flips(self, places: Sequence[int]) -> int:
        """Change a byte at each of these places, one at a time; a single bit of it, or all."""
        descriptor = os.open(self.path, os.O_RDWR)
        try:
            for at in places:
                mask = 0xFF if at % 9 == 8 else 1 << at % 9
                os.pwrite(descriptor, bytes([self.whole[at] ^ mask]), at)
                outcome = self.outcome()
                if outcome != REFUSED:
                    self.failures.append(f"byte {at} ^ {mask:#x}: {outcome}")
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, self.whole, 0)
                os.pwrite(descriptor, self.whole[at : at + 1], at)
        finally:
            os.close(descriptor)
        if self.path.read_bytes() != self.whole:
            self.failures.append("a refused opening changed the file")
        return len(places)


def victim(folder: Path) -> Victim:
    """A gallery with a removal, a compaction, changes of its keys, openings, and a further enrolment."""
    keys, path = key_in(folder), folder / "victim.gallery"
    shots = people(np.random.default_rng(11), 12, 2)
    _made(path, keys, shots[:16])
    with Gallery.open(path, keys=keys, writable=True) as gallery:
        gallery.remove("p0003")
        before = path.read_bytes()
        gallery.compact()
    earlier = [path.read_bytes()]
    for step in range(6):
        with Gallery.open(path, keys=keys, writable=True, action="attack", case=str(step)) as gallery:
            earlier.append(path.read_bytes())
            if step == 1:
                gallery.keyring.add(key_in(folder, "colleague"), "colleague")
            elif step == 2:
                gallery.keyring.remove(1)
            elif step == 3:
                add(gallery, shots[16:])
        earlier.append(path.read_bytes())
    other = folder / "other.gallery"
    _made(other, keys, shots[:16])
    with Gallery.open(path, keys=keys) as gallery:
        earlier.append(path.read_bytes())
    with Gallery.open(path, keys=keys) as gallery:
        content = content_of(gallery)
    states = list(dict.fromkeys(earlier))
    return Victim(path, keys, path.read_bytes(), states, before, other.read_bytes(), content)


def _made(path: Path, keys: Keys, shots: Sequence[Shot]) -> None:
    default = pack()
    with Gallery.create(path, default.name, default.model_id, 128, keys=keys, purpose="a test") as gallery:
        add(gallery, shots)


def content_of(gallery: Gallery) -> Content:
    """What can be read: the digest of all rows, the log, the keys."""
    gallery.require_sound()
    return gallery.digest, list(gallery.log()), [slot.label for slot in gallery.keyring]


def blocks_of(data: bytes) -> list[slice]:
    """Where the blocks of a file are."""
    found, at = [], BLOCKS_AT
    while head := Head.parse(data[at:]):
        found.append(slice(at, at + head.size))
        at += head.size
    return found


# Places of bytes


def every_place(victim: Victim, step: int = 1) -> range:
    """Each byte, or each so many."""
    return range(0, len(victim.whole), step)


def header_places(victim: Victim) -> list[int]:
    """What is not ciphertext or padding: of key pages, the root and each block."""
    whole = victim.whole
    used = len(whole[FIRST][:-32].rstrip(b"\0"))
    places = [*range(used), *range(KEY_PAGE_BYTES - 32, KEY_PAGE_BYTES)]
    places += [KEY_PAGE_BYTES + at for at in places]
    places += range(ROOT_AT, ROOT_AT + 140)
    for block in victim.blocks:
        places += [*range(block.start, block.start + 40), *range(block.stop - 20, block.stop)]
    return places


# Attacks


def forged(victim: Victim, step: int = 1) -> Iterator[Attack]:
    """A changed byte under a check sum that fits: by somebody who knows the format. One of ``step`` places."""
    parts = [("first key page", FIRST), ("its copy", COPY), ("root", slice(ROOT_AT, ROOT_AT + 136))]
    parts += [(f"block {number}", block) for number, block in enumerate(victim.blocks)]
    for name, part in parts:
        inside = victim.whole[part]
        near = {*range(64), *range(len(inside) - 40, len(inside) - 4)}
        for at in sorted(near | {*range(0, len(inside) - 4, 7)})[::step]:
            changed = bytearray(inside[:-4])
            changed[at] ^= 1 << at % 8
            sealed = bytes(changed) + zlib.crc32(changed).to_bytes(4, "little")
            yield Attack(f"{name}, byte {at}, new check sum", _with(victim.whole, part, sealed))
    for at in range(len(MAGIC)):
        both = bytearray(victim.whole)
        both[at] ^= 1
        both[KEY_PAGE_BYTES + at] ^= 1
        yield Attack(f"both magics, byte {at}", bytes(both), (REFUSED, NO_GALLERY))


def swapped(victim: Victim) -> Iterator[Attack]:
    """Two blocks in each other's place."""
    whole = victim.whole
    for (one, first), (two, second) in itertools.combinations(enumerate(victim.blocks), 2):
        between = whole[first.stop : second.start]
        data = whole[: first.start] + whole[second] + between + whole[first] + whole[second.stop :]
        yield Attack(f"blocks {one} and {two} swapped", data)


def replaced(victim: Victim, donor: bytes) -> Iterator[Attack]:
    """A block by a block of the same size of ``donor``: an older version of a page, or of another page, or file."""
    for number, place in enumerate(victim.blocks):
        for other, given in enumerate(blocks_of(donor)):
            if victim.whole[place] == donor[given] or place.stop - place.start != given.stop - given.start:
                continue
            yield Attack(f"block {number} by {other}", _with(victim.whole, place, donor[given]))


def moved(victim: Victim) -> Iterator[Attack]:
    """A block, or a whole commit, taken out; or put in before another."""
    whole, blocks = victim.whole, victim.blocks
    ends = [0, *(n + 1 for n, block in enumerate(blocks) if _head(whole, block).kind == Kind.COMMIT)]
    for number, block in enumerate(blocks):
        yield Attack(f"block {number} taken out", whole[: block.start] + whole[block.stop :])
        for before in blocks[:: max(len(blocks) // 8, 1)]:
            if before is blocks[-1] is block:
                continue  # it would be behind the end, as in :func:`appended`
            data = whole[: before.start] + whole[block] + whole[before.start :]
            yield Attack(f"block {number} put in at {before.start}", data)
    for first, last in itertools.pairwise(ends):
        start, stop = blocks[first].start, blocks[last - 1].stop
        yield Attack(f"commit of blocks {first} to {last} taken out", whole[:start] + whole[stop:])


def truncated(victim: Victim) -> Iterator[Attack]:
    """Cut at each block, in each block, and in the header."""
    whole = victim.whole
    sizes = {0, 1, 15, 16, 17, 1000, *range(0, BLOCKS_AT + 1, 2048)}
    for block in victim.blocks:
        middle = (block.start + block.stop) // 2
        sizes |= {block.start, block.start + 1, block.start + 40, middle, block.stop - 4, block.stop - 1}
    for size in sorted(sizes):
        allowed = (REFUSED,) if size >= len(MAGIC) else (NO_GALLERY,)
        yield Attack(f"cut to {size} bytes", whole[:size], allowed)
        filled = whole[:size].ljust(len(whole), b"\0")
        yield Attack(f"cut to {size} bytes and filled with zeros", filled, (REFUSED, *allowed))


def put_back(victim: Victim) -> Iterator[Attack]:
    """Parts of the header as they were at each earlier time, alone and together."""
    for number, old in enumerate(victim.earlier):
        for count in range(1, len(HEADERS) + 1):
            for chosen in itertools.combinations(HEADERS.items(), count):
                data = victim.whole
                for _, part in chosen:
                    data = _with(data, part, old[part])
                if data == victim.whole:
                    continue
                names = " and ".join(name for name, _ in chosen)
                yield Attack(f"{names} of state {number}", data)
                if data[ROOT] != old[ROOT]:
                    yield Attack(f"{names} of state {number}, cut to its size", data[: len(old)])


def foreign(victim: Victim) -> Iterator[Attack]:
    """Parts of the header, or all blocks, of its predecessor and of another gallery under the same key."""
    for name, donor in (("predecessor", victim.predecessor), ("other gallery", victim.other)):
        for count in range(1, len(HEADERS) + 1):
            for chosen in itertools.combinations(HEADERS.items(), count):
                data = victim.whole
                for _, part in chosen:
                    data = _with(data, part, donor[part])
                yield Attack(f"{' and '.join(name for name, _ in chosen)} of {name}", data)
        yield Attack(f"all blocks of {name}", victim.whole[:BLOCKS_AT] + donor[BLOCKS_AT:])


def appended(victim: Victim) -> Iterator[Attack]:
    """Something behind the end. A commit that was interrupted is announced in the root, so this is none."""
    whole = victim.whole
    for name, more in {
        "a zero": b"\0",
        "zeros": bytes(5000),
        "chance": os.urandom(5000),
        "itself": whole,
        "its blocks": whole[BLOCKS_AT:],
        "its last block": whole[victim.blocks[-1]],
        "its predecessor's blocks": victim.predecessor[BLOCKS_AT:],
    }.items():
        yield Attack(f"{name} appended", whole + more)
    for number, old in enumerate(victim.earlier):
        yield Attack(f"blocks after state {number} appended", whole + whole[len(old) :] + b"\0")


def wiped(victim: Victim) -> Iterator[Attack]:
    """Sectors of zeros, as some disks return them, and a block of zeros."""
    for block in victim.blocks:
        yield Attack(f"block at {block.start} wiped", _with(victim.whole, block, bytes(block.stop - block.start)))
    for start in range(0, len(victim.whole), 4096):
        part = slice(start, min(start + 4096, len(victim.whole)))
        data = _with(victim.whole, part, bytes(part.stop - part.start))
        if data != victim.whole:
            yield Attack(f"4 KiB at {start} wiped", data)


def _with(data: bytes, part: slice, by: bytes) -> bytes:
    return data[: part.start] + by + data[part.stop :]


def _head(data: bytes, block: slice) -> Head:
    head = Head.parse(data[block])
    assert head is not None
    return head


#: Every kind.
ATTACKS: dict[str, Callable[[Victim], Iterator[Attack]]] = {
    "forged check sums": forged,
    "blocks swapped": swapped,
    "blocks replaced": lambda victim: replaced(victim, victim.whole),
    "blocks of its predecessor": lambda victim: replaced(victim, victim.predecessor),
    "blocks of another gallery": lambda victim: replaced(victim, victim.other),
    "blocks taken out or put in": moved,
    "truncated": truncated,
    "headers put back": put_back,
    "headers of other files": foreign,
    "appended": appended,
    "wiped": wiped,
}
