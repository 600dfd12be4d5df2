"""BCJ2, the filter of 7z for x86 code: targets of calls and jumps lie in streams of their own.

A range coder tells for each E8, E9 and 0F 8x byte whether its target was moved there. After Bcj2.c of the LZMA SDK.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from leakmatch.sources.guard import corrupt
from leakmatch.sources.streams import CHUNK

_BRANCH: Final = re.compile(rb"[\xe8\xe9]|(?<=\x0f)[\x80-\x8f]", re.DOTALL)
_TOP: Final = 1 << 24
_MODEL_BITS, _MOVE_BITS = 11, 5
_FULL: Final = 0xFFFFFFFF


def unpack_bcj2(inputs: list[BinaryIO], size: int) -> Iterator[bytes]:
    """``inputs``: the code, the targets of calls, those of jumps, and the range coder. Raises ``EOFError``."""
    code, calls, jumps, ranges = inputs
    coder = _Ranges(ranges)
    block, start, previous, left = b"", 0, 0, size
    out = bytearray()
    while left:
        if start == len(block):
            block, start = code.read(CHUNK), 0
            if not block:
                raise EOFError
        if previous == 0x0F and block[start] & 0xF0 == 0x80:  # the pattern cannot see what lies before the block
            end, branches = start + 1, True
        else:
            found = _BRANCH.search(block, start)
            end, branches = (len(block), False) if found is None else (found.end(), True)
        end = min(end, start + left)
        before = block[end - 2] if end - start > 1 else previous
        out += block[start:end]
        left -= end - start
        start, previous = end, block[end - 1]
        if branches and left and coder.bit(2 + before if previous == 0xE8 else int(previous == 0xE9)):
            target = _four(calls if previous == 0xE8 else jumps)
            value = int.from_bytes(target, "big") - (size - left + 4)
            moved = (value & 0xFFFFFFFF).to_bytes(4, "little")[:left]
            out += moved
            left -= len(moved)
            previous = moved[-1]
        if len(out) >= CHUNK:
            yield bytes(out)
            out.clear()
    yield bytes(out)


def _four(source: BinaryIO) -> bytes:
    """The next four bytes, which may lie in two blocks. Raises ``EOFError``."""
    data = source.read(4)
    while len(data) < 4:
        if not (more := source.read(4 - len(data))):
            raise EOFError
        data += more
    return data


class _Ranges:
    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._data, self._at = b"", 0
        self._odds = [1 << _MODEL_BITS - 1] * (2 + 256)
        self._range = _FULL
        self._code = 0
        for _ in range(5):
            self._code = self._code << 8 | self._byte()
        if self._code > _FULL:
            raise corrupt("its BCJ2 stream begins wrongly")

    def _byte(self) -> int:
        if self._at == len(self._data):
            self._data, self._at = self._source.read(CHUNK), 0
            if not self._data:
                raise EOFError
        self._at += 1
        return self._data[self._at - 1]

    def bit(self, index: int) -> bool:
        """The next bit, in the model ``index``."""
        if self._range < _TOP:
            self._range = self._range << 8 & _FULL
            self._code = (self._code << 8 | self._byte()) & _FULL
        odds = self._odds[index]
        bound = (self._range >> _MODEL_BITS) * odds
        if self._code < bound:
            self._range = bound
            self._odds[index] = odds + (((1 << _MODEL_BITS) - odds) >> _MOVE_BITS)
            return False
        self._range -= bound
        self._code -= bound
        self._odds[index] = odds - (odds >> _MOVE_BITS)
        return True
