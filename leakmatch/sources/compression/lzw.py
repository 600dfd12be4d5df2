"""Files by compress (.Z): LZW with codes of 9 to 16 bits. Written here, since no library of Python reads them.

Source: the manual and format of ncompress 4.2; Welch, "A Technique for High-Performance Data Compression" (1984).
"""

from __future__ import annotations

from typing import Final

LZW: Final = b"\x1f\x9d"
_HEADER: Final = 3
_CLEAR: Final = 256
_NARROWEST, _WIDEST = 9, 16
_AT_ONCE: Final = 1 << 20  # of output; 64 KiB of input may give 2 GB
_TAIL: Final = 256  # what one entry holds of its string; more of it is in the entry that it extends


class Lzw:
    """Decodes one file. It ends where its data ends: there is no mark.

    An entry is a code and the bytes behind what that stands for. So the table takes 20 MB at most, where whole
    strings would take 2 GB.
    """

    def __init__(self) -> None:
        self._in = b""
        self._out = bytearray()
        self._begun = False
        self._starved = True
        self._error: ValueError | None = None
        self._at_end = False
        self._bit = 0  # of ``_in``
        self._group = 0  # the bit where the present group of 8 codes began
        self._most = 0
        self._blocks = False
        self.unused_data = b""

    @property
    def eof(self) -> bool:
        return self._at_end and not self._out

    @property
    def needs_input(self) -> bool:
        return not self._out and self._starved

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Up to ``max_length`` bytes; no data means that there is no more."""
        if not self._out:
            if self._error is not None:
                raise self._error
            self._at_end = not data and self._starved
            self._in += data
            if not self._begun:
                self._begin()
            if self._begun:
                self._decode()
        given = bytes(self._out[:max_length])
        del self._out[:max_length]
        return given

    def _begin(self) -> None:
        if len(self._in) < _HEADER:
            self._at_end = False
            return
        flags = self._in[2]
        self._most, self._blocks = flags & 31, bool(flags & 0x80)
        if not _NARROWEST <= self._most <= _WIDEST or flags & 0x60:
            raise ValueError("codes of a width that there is not")
        self._in = self._in[_HEADER:]
        self._begun = True
        self._reset()
        self._previous = -1

    def _reset(self) -> None:
        self._before: list[int] = [-1] * 256
        self._tails: list[bytes] = [bytes((n,)) for n in range(256)]
        self._first: list[int] = list(range(256))
        if self._blocks:
            self._before.append(-1)
            self._tails.append(b"")
            self._first.append(0)
        self._width = _NARROWEST
        self._previous = -1

    def _decode(self) -> None:
        """The codes of which all bits are there, until there is enough output."""
        data, bits = self._in, len(self._in) * 8
        bit = self._bit
        while len(self._out) < _AT_ONCE and bit + self._width <= bits:
            at = bit >> 3
            code = (int.from_bytes(data[at : at + 3], "little") >> (bit & 7)) & ((1 << self._width) - 1)
            bit += self._width
            if code == _CLEAR and self._blocks:
                bit = self._aligned(bit)
                self._group = bit
                self._reset()
                continue
            try:
                self._take(code)
            except ValueError as error:
                self._error = error  # raised when what came before it was given
                break
            # The code after the next one would not fit: then the codes get wider, from the next group on.
            if len(self._tails) > (1 << self._width) - 1 and self._width < self._most:
                bit = self._aligned(bit)
                self._group = bit
                self._width += 1
        self._starved = bit + self._width > bits
        self._drop(bit)

    def _aligned(self, bit: int) -> int:
        """Codes are written in groups of 8, and what is left of one is skipped where their width changes."""
        group = 8 * self._width
        return self._group + -(-(bit - self._group) // group) * group

    def _drop(self, bit: int) -> None:
        """Forget the input before ``bit``, in whole bytes."""
        used = min(bit >> 3, len(self._in))
        self._in = self._in[used:]
        self._bit = bit - 8 * used
        self._group -= 8 * used

    def _take(self, code: int) -> None:
        previous = self._previous
        if previous < 0:
            if code > 255:
                raise ValueError("a code without meaning")
        elif len(self._tails) < 1 << self._most:
            first = self._first[code if code < len(self._tails) else previous]
            self._append(previous, first)
        if code >= len(self._tails):
            raise ValueError("a code without meaning")
        self._write(code)
        self._previous = code

    def _append(self, previous: int, byte: int) -> None:
        tail = self._tails[previous]
        if len(tail) < _TAIL:
            self._before.append(self._before[previous])
            self._tails.append(tail + bytes((byte,)))
        else:
            self._before.append(previous)
            self._tails.append(bytes((byte,)))
        self._first.append(self._first[previous])

    def _write(self, code: int) -> None:
        before = self._before[code]
        if before < 0:
            self._out += self._tails[code]
            return
        parts = [self._tails[code]]
        while before >= 0:
            parts.append(self._tails[before])
            before = self._before[before]
        self._out += b"".join(reversed(parts))
