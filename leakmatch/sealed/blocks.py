"""The blocks of a sealed file: what each holds, and how it is sealed.

====  =========  =====================================================================
byte  field      meaning
====  =========  =====================================================================
0     mark       ``LMBK``
4     kind       1 page, 2 entry of the access log, 3 end of a commit; then three zeros
8     length     bytes of ciphertext
12    sequence   how many blocks are before this one in the file
20    number     of the page, entry or commit
28    nonce      random, for AES-256-GCM
40               ciphertext, its tag (16 bytes), CRC-32 of all before it in the block
====  =========  =====================================================================

The tag vouches for the header too, and for where in the file the block is. The check sum tells bytes that a disk has
changed, which do not fit it, from a block that somebody has made or moved.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leakmatch.errors import Damaged, IntegrityError, Tampered
from leakmatch.sealed.keys import NONCE_BYTES, TAG_BYTES

_HEAD: Final = struct.Struct("<4sB3sIQQ12s")
_CRC: Final = struct.Struct("<I")
_OFFSET: Final = struct.Struct("<Q")
_MARK: Final = b"LMBK"
_ZEROS: Final = b"\0\0\0"
_MOST: Final = 1 << 24

HEAD_BYTES: Final = _HEAD.size
#: What a block takes beside its content.
OVERHEAD: Final = HEAD_BYTES + TAG_BYTES + _CRC.size

MARK: Final = _MARK

#: What a commit block holds: pages and entries in all, the sequence number of the first block of the commit, the
#: generation of the keys, and a digest over the tags of all blocks before; then the number of each page that was
#: written, in order (4 bytes each).
COMMIT: Final = struct.Struct("<QQQQ32s")


class Kind(IntEnum):
    """What a block holds."""

    PAGE = 1
    ENTRY = 2
    COMMIT = 3


@dataclass(frozen=True, slots=True)
class Head:
    """The header of a block. ``size`` is that of the whole block."""

    kind: int
    size: int
    sequence: int
    number: int

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Head | None:
        """The header in the first bytes of ``data``; ``None`` where there is none."""
        if len(data) < HEAD_BYTES:
            return None
        mark, kind, zeros, length, sequence, number, _ = _HEAD.unpack_from(data)
        if mark != _MARK or zeros != _ZEROS or length > _MOST:
            return None
        return cls(kind, OVERHEAD + length, sequence, number)


class Blocks:
    """Seals and opens the blocks of one file, which has a key of its own."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, kind: Kind, sequence: int, number: int, content: bytes, offset: int) -> bytes:
        """A whole block, for this place in the file. Raises ``ValueError`` for more than any block may hold."""
        if len(content) > _MOST:
            raise ValueError(f"{len(content):,} bytes do not fit into a block")
        head = _HEAD.pack(_MARK, kind, _ZEROS, len(content), sequence, number, os.urandom(NONCE_BYTES))
        block = head + self._cipher.encrypt(head[-NONCE_BYTES:], content, head + _OFFSET.pack(offset))
        return block + _CRC.pack(zlib.crc32(block))

    def open(self, block: bytes | memoryview, offset: int, what: str) -> bytes:
        """The content of the whole block that was found at ``offset``, all of which is checked.

        Raises :class:`Damaged` where its check sum does not fit either, and :class:`Tampered` where it does.
        """
        content = self.content(block, offset, what)
        end = len(block) - _CRC.size
        if _CRC.unpack_from(block, end)[0] != zlib.crc32(block[:end]):
            raise Damaged(f"{what}: damaged: the check sum of an intact block was changed.")
        return content

    def content(self, block: bytes | memoryview, offset: int, what: str) -> bytes:
        """As :meth:`open`; the check sum is looked at only where the rest is not authentic."""
        end = len(block) - _CRC.size
        try:
            if end < HEAD_BYTES + TAG_BYTES:
                raise InvalidTag
            return self._cipher.decrypt(
                block[HEAD_BYTES - NONCE_BYTES : HEAD_BYTES],
                block[HEAD_BYTES:end],
                bytes(block[:HEAD_BYTES]) + _OFFSET.pack(offset),
            )
        except InvalidTag as error:
            raise self._wrong(block, what) from error

    def _wrong(self, block: bytes | memoryview, what: str) -> IntegrityError:
        end = len(block) - _CRC.size
        if end > 0 and _CRC.unpack_from(block, end)[0] == zlib.crc32(block[:end]):
            return Tampered(f"{what}: tampered with: a block was forged, or belongs elsewhere.")
        return Damaged(f"{what}: damaged: a block is not what was written.")


def tag_of(block: bytes | memoryview) -> bytes:
    """The tag of a whole block, which stands for all that is in it."""
    end = len(block) - _CRC.size
    return bytes(block[end - TAG_BYTES : end])
