"""The first 20 KiB of a sealed file: its key slots, twice, and the root, which says where the last commit ended.

=====  ======  ==========================================================================================
byte   size    content
=====  ======  ==========================================================================================
0      8,192   key page: ``LeakMatch sealed``, length (4 bytes), JSON, zeros; the last 32 bytes are a nonce, a
               tag over all before it (AES-256-GCM without content), and a CRC-32 of all before it
8,192  8,192   the same again: a copy that survives the loss of the other, and is written after it
16384  4,096   root: ``LMRT``, nonce, :class:`Tail` and tag, CRC-32, zeros
=====  ======  ==========================================================================================

The JSON of a key page holds the file's random identity, its generation (a number that each change of keys raises), the
slots (:mod:`leakmatch.sealed.keys`), and the *data key* sealed with the master key. All other keys of the file are
derived from the data key and the identity.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from base64 import b64decode, b64encode
from dataclasses import astuple, dataclass, replace
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leakmatch.errors import Damaged, Tampered, UsageError
from leakmatch.sealed.keys import KEY_BYTES, NONCE_BYTES, TAG_BYTES, Box, KeySlots, derived

MAGIC: Final = b"LeakMatch sealed"
FORMAT: Final = 1

KEY_PAGE_BYTES: Final = 8192
ROOT_AT: Final = 2 * KEY_PAGE_BYTES
ROOT_BYTES: Final = 4096
BLOCKS_AT: Final = ROOT_AT + ROOT_BYTES

_LENGTH: Final = struct.Struct("<I")
_CRC: Final = struct.Struct("<I")
_JSON_AT: Final = len(MAGIC) + _LENGTH.size
_SEALED_AT: Final = KEY_PAGE_BYTES - NONCE_BYTES - TAG_BYTES - _CRC.size
_IDENTITY_BYTES: Final = 16
FIRST_GENERATION: Final = 1

#: Bits of a root: the next key pages are being written, so that either copy may be torn; a commit is being appended.
KEYS: Final = 1
APPENDING: Final = 2

_ROOT_MARK: Final = b"LMRT"
_TAIL: Final = struct.Struct("<QQQQQ32sQQ")
#: One sector: disks write it as a whole or not at all.
_ROOT_SIZE: Final = len(_ROOT_MARK) + NONCE_BYTES + _TAIL.size + TAG_BYTES + _CRC.size


@dataclass(frozen=True, slots=True)
class Tail:
    """Where the last commit ended, and all that the next needs to know.

    ``end`` in bytes; the number of blocks, commits, entries and pages; ``chain``: SHA-256 over the tags of all blocks.
    ``generation``: of the key page. ``changing``: what may be incomplete, :data:`KEYS` and :data:`APPENDING`; 0 while
    nobody is at it.
    """

    end: int
    sequence: int
    commits: int
    entries: int
    pages: int
    chain: bytes
    generation: int
    changing: int = 0


@dataclass(frozen=True, slots=True)
class KeyPage:
    """The identity of a file and its keys. ``data_key``: sealed with the master key."""

    identity: bytes
    generation: int
    slots: KeySlots
    data_key: bytes

    @classmethod
    def new(cls, slots: KeySlots, master: bytes) -> KeyPage:
        """Of a new file, with a random data key."""
        identity = os.urandom(_IDENTITY_BYTES)
        return cls(identity, FIRST_GENERATION, slots, Box(master).seal(os.urandom(KEY_BYTES), identity))

    def with_slots(self, slots: KeySlots) -> KeyPage:
        """The next generation."""
        return replace(self, slots=slots, generation=self.generation + 1)

    def opened(self, master: bytes, what: str) -> FileKeys:
        """The keys of the file. Raises :class:`IntegrityError` where the data key is not that of this master key."""
        data_key = Box(master).open(self.data_key, self.identity, what)
        return FileKeys(
            blocks=derived(data_key, self.identity, "blocks"),
            key_page=derived(data_key, self.identity, "key page"),
            root=derived(data_key, self.identity, "root"),
        )

    def packed(self, keys: FileKeys) -> bytes:
        """As it is written. Raises :class:`UsageError` where the labels of the slots are too long in all."""
        content = json.dumps(
            {
                "format": FORMAT,
                "identity": self.identity.hex(),
                "generation": self.generation,
                "slots": self.slots.to_json(),
                "data_key": b64encode(self.data_key).decode("ascii"),
            },
            sort_keys=True,
        ).encode()
        page = MAGIC + _LENGTH.pack(len(content)) + content
        if len(page) > _SEALED_AT:
            raise UsageError("The keys and their labels do not fit into the file; use shorter labels or fewer keys.")
        page = page.ljust(_SEALED_AT, b"\0")
        nonce = os.urandom(NONCE_BYTES)
        page += nonce + AESGCM(keys.key_page).encrypt(nonce, b"", page)
        return page + _CRC.pack(zlib.crc32(page))

    @classmethod
    def parse(cls, page: bytes, what: str) -> KeyPage:
        """What is on a page; not yet authentic (:meth:`authenticate`). Raises :class:`Damaged`."""
        if len(page) != KEY_PAGE_BYTES or _CRC.unpack(page[-_CRC.size :])[0] != zlib.crc32(page[: -_CRC.size]):
            raise Damaged(f"{what}: damaged: its key slots are not what was written.")
        try:
            (length,) = _LENGTH.unpack_from(page, len(MAGIC))
            value: Any = json.loads(page[_JSON_AT : _JSON_AT + min(length, KEY_PAGE_BYTES)])
            if value["format"] != FORMAT:
                raise UsageError(
                    f"{what}: sealed in format {value['format']!r}; this LeakMatch reads format {FORMAT}. "
                    "Read it with the version that wrote it."
                )
            return cls(
                identity=bytes.fromhex(value["identity"]),
                generation=int(value["generation"]),
                slots=KeySlots.from_json(value["slots"]),
                data_key=b64decode(value["data_key"], validate=True),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise Damaged(f"{what}: damaged: its key slots cannot be read ({error}).") from error

    @staticmethod
    def authenticate(page: bytes, keys: FileKeys, what: str) -> None:
        """Raise :class:`Tampered` unless the page is what LeakMatch wrote."""
        nonce = page[_SEALED_AT : _SEALED_AT + NONCE_BYTES]
        try:
            AESGCM(keys.key_page).decrypt(nonce, page[_SEALED_AT + NONCE_BYTES : -_CRC.size], page[:_SEALED_AT])
        except InvalidTag as error:
            raise Tampered(f"{what}: tampered with: its key slots were changed.") from error


@dataclass(frozen=True, slots=True, repr=False)
class FileKeys:
    """The keys that are derived from a data key."""

    blocks: bytes
    key_page: bytes
    root: bytes


def pack_root(tail: Tail, keys: FileKeys) -> bytes:
    """The root as it is written."""
    nonce = os.urandom(NONCE_BYTES)
    root = _ROOT_MARK + nonce + AESGCM(keys.root).encrypt(nonce, _TAIL.pack(*astuple(tail)), _ROOT_MARK)
    return root + _CRC.pack(zlib.crc32(root))


def parse_root(root: bytes, keys: FileKeys, what: str) -> Tail:
    """The root of a file, from its 4,096 bytes. Raises :class:`Damaged` or :class:`Tampered`."""
    sealed = root[: _ROOT_SIZE - _CRC.size]
    nonce = sealed[len(_ROOT_MARK) : len(_ROOT_MARK) + NONCE_BYTES]
    try:
        if len(root) != ROOT_BYTES or any(root[_ROOT_SIZE:]):
            raise Damaged(f"{what}: damaged: its root is not what was written.")
        plain = AESGCM(keys.root).decrypt(nonce, sealed[len(_ROOT_MARK) + NONCE_BYTES :], sealed[: len(_ROOT_MARK)])
    except InvalidTag as error:
        if _CRC.unpack_from(root, len(sealed))[0] == zlib.crc32(sealed):
            raise Tampered(f"{what}: tampered with: its root was forged, or comes from another file.") from error
        raise Damaged(f"{what}: damaged: its root is not what was written.") from error
    if _CRC.unpack_from(root, len(sealed))[0] != zlib.crc32(sealed):
        raise Damaged(f"{what}: damaged: the check sum of its root was changed.")
    return Tail(*_TAIL.unpack(plain))
