"""What the coders of a 7z folder do, as streams of blocks that are pulled through the chain.

No coder holds more than its dictionary and a few blocks. The codecs are those of the standard library, and of
zstandard, lz4, brotli, inflate64 and cryptography, and libarchive's PPMd; the filters for machine code are liblzma's,
reached by handing it plain bytes as an LZMA2 stream that is not compressed.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from array import array
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, cast

from leakmatch.sources.archives.sevenzip.bcj2 import unpack_bcj2
from leakmatch.sources.archives.sevenzip.header import Chain, Coder
from leakmatch.sources.archives.sevenzip.ppmd import METHOD as PPMD
from leakmatch.sources.archives.sevenzip.ppmd import ppmd, ppmd_memory
from leakmatch.sources.guard import corrupt, over_budget, unsupported
from leakmatch.sources.streams import CHUNK, Stream

Blocks = Iterator[bytes]
Key = Callable[[int, bytes], bytes]  # from the number of rounds (a power of two) and the salt

COPY: Final = b"\0"
AES: Final = b"\x06\xf1\x07\x01"
BCJ2: Final = b"\x03\x03\x01\x1b"
_LZMA: Final = b"\x03\x01\x01"
_LZMA2: Final = b"\x21"
_DELTA: Final = b"\x03"
_SWAPS: Final = {b"\x02\x03\x02": "H", b"\x02\x03\x04": "I"}
_FILTERS: Final = {
    b"\x04": lzma.FILTER_X86,
    b"\x05": lzma.FILTER_POWERPC,
    b"\x06": lzma.FILTER_IA64,
    b"\x07": lzma.FILTER_ARM,
    b"\x08": lzma.FILTER_ARMTHUMB,
    b"\x09": lzma.FILTER_SPARC,
    b"\x03\x03\x01\x03": lzma.FILTER_X86,
    b"\x03\x03\x02\x05": lzma.FILTER_POWERPC,
    b"\x03\x03\x04\x01": lzma.FILTER_IA64,
    b"\x03\x03\x05\x01": lzma.FILTER_ARM,
    b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB,
    b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
}
_NAMES: Final = {b"\x0a": "ARM64", b"\x0b": "RISCV", b"\x04\xf7\x11\x05": "LZ5", b"\x04\xf7\x11\x06": "Lizard"}

#: Methods that a wrong password makes fail at once.
SELF_CHECKING: Final = frozenset({_LZMA, _LZMA2, b"\x04\x02\x02", b"\x04\xf7\x11\x01", b"\x04\xf7\x11\x04"})

_SMALLEST_DICTIONARY: Final = 4096
_SMALL: Final = 4096  # of input for codecs that limit no output: a thousand times as much may come of it
_AES_BLOCK: Final = 16
_SKIPPABLE: Final = b"\x50\x2a\x4d\x18"


class Unpacking:
    """Unpacks folders. No dictionary has more than ``memory`` bytes; ``key`` makes keys for what is encrypted."""

    def __init__(self, memory: int, key: Key) -> None:
        self._memory, self._key = memory, key

    def blocks(self, chain: Chain, packed: list[BinaryIO], sizes: list[int]) -> Blocks:
        """What a folder unpacks to. ``sizes``: of the outputs of its coders."""
        return self._output(chain, packed, sizes, chain.main, frozenset())

    def _output(
        self, chain: Chain, packed: list[BinaryIO], sizes: list[int], index: int, above: frozenset[int]
    ) -> Blocks:
        if index in above or index >= len(chain.coders):
            raise corrupt("its coders are bound in a circle")
        coder = chain.coders[index]
        first = sum(other.inputs for other in chain.coders[:index])
        outputs = dict(chain.bonds)
        inputs: list[BinaryIO] = []
        lengths: list[int] = []
        for stream in range(first, first + coder.inputs):
            if stream in outputs:
                blocks = self._output(chain, packed, sizes, outputs[stream], above | {index})
                inputs.append(cast(BinaryIO, Pulled(blocks)))
                lengths.append(sizes[outputs[stream]])
            else:
                inputs.append(packed[chain.packed.index(stream)])
                lengths.append(_length(inputs[-1]))
        return self._decoded(coder, inputs, lengths, sizes[index])

    def _decoded(self, coder: Coder, inputs: list[BinaryIO], lengths: list[int], size: int) -> Blocks:
        method, properties, source = coder.method, coder.properties, inputs[0]
        if method == BCJ2 and len(inputs) == 4:
            return unpack_bcj2(inputs, size)
        if len(inputs) != 1:
            raise unsupported(f"the 7z method {method.hex()} is not read")
        if method in (COPY, b""):
            return _copied(source, size)
        if method in (_LZMA, _LZMA2):
            return _pulled(lzma.LZMADecompressor(lzma.FORMAT_RAW, None, [self._lzma(coder, size)]), source, size)
        if method in _FILTERS:
            return _filtered({"id": _FILTERS[method]}, source, size)
        if method == _DELTA:
            return _filtered({"id": lzma.FILTER_DELTA, "dist": properties[0] + 1}, source, size)
        if method in _SWAPS:
            return _swapped(source, size, _SWAPS[method])
        if method == PPMD:
            return self._ppmd(properties, source, lengths[0], size)
        if method == AES:
            return self._decrypted(properties, source, size)
        if method in _CODECS:
            return _CODECS[method](source, size, self._memory)
        raise unsupported(f"the 7z method {_NAMES.get(method, method.hex())} is not read")

    def _room(self, need: int) -> int:
        if need > self._memory:
            raise over_budget(f"it needs a dictionary of {need >> 20} MiB, and {self._memory >> 20} MiB are allowed")
        return need

    def _lzma(self, coder: Coder, size: int) -> dict[str, Any]:
        properties = coder.properties
        if coder.method == _LZMA2:
            bits = properties[0]
            dictionary = (2 | bits & 1) << (bits // 2 + 11) if bits < 40 else 0xFFFFFFFF
            found: dict[str, Any] = {"id": lzma.FILTER_LZMA2}
        else:
            rest, lc = divmod(properties[0], 9)
            pb, lp = divmod(rest, 5)
            dictionary = int.from_bytes(properties[1:5], "little")
            found = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb}
        # No more of a dictionary is ever used than there are bytes to come.
        needed = self._room(min(dictionary, size))
        return {**found, "dict_size": max(needed, _SMALLEST_DICTIONARY)}

    def _ppmd(self, properties: bytes, source: BinaryIO, packed: int, size: int) -> Blocks:
        self._room(ppmd_memory(properties))
        return ppmd(properties, source, packed, size)

    def _decrypted(self, properties: bytes, source: BinaryIO, size: int) -> Blocks:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        rounds, salt, vector = aes_properties(properties)
        cipher = Cipher(algorithms.AES256(self._key(rounds, salt)), modes.CBC(vector)).decryptor()
        left = size
        while left:
            data = source.read(CHUNK)
            if not data:
                raise EOFError
            block = cipher.update(data)[:left]
            left -= len(block)
            if block:
                yield block


def aes_properties(properties: bytes) -> tuple[int, bytes, bytes]:
    """The rounds (as a power of two), the salt and the initial vector of method 06F10701."""
    first, second = properties[0], properties[1] if len(properties) > 1 else 0
    salt_size = (first >> 7) + (second >> 4)
    vector_size = (first >> 6 & 1) + (second & 15)
    salt = properties[2 : 2 + salt_size]
    vector = properties[2 + salt_size : 2 + salt_size + vector_size]
    return first & 0x3F, salt, vector.ljust(_AES_BLOCK, b"\0")


class Pulled(Stream):
    """Blocks as a stream."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self._blocks = blocks
        self._rest = memoryview(b"")

    def _read(self, size: int) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


def _length(file: BinaryIO) -> int:
    at = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(at)
    return end


def _copied(source: BinaryIO, size: int) -> Blocks:
    left = size
    while left:
        block = source.read(min(left, CHUNK))
        if not block:
            raise EOFError
        left -= len(block)
        yield block


def _pulled(decoder: lzma.LZMADecompressor | bz2.BZ2Decompressor, source: BinaryIO, size: int) -> Blocks:
    left = size
    while left:
        data = source.read(CHUNK) if decoder.needs_input else b""
        ended = decoder.needs_input and not data
        block = decoder.decompress(data, min(left, CHUNK))
        if not block and (ended or decoder.eof):
            raise EOFError
        left -= len(block)
        if block:
            yield block


def _filtered(step: dict[str, Any], source: BinaryIO, size: int) -> Blocks:
    decoder = lzma.LZMADecompressor(
        lzma.FORMAT_RAW, None, [step, {"id": lzma.FILTER_LZMA2, "dict_size": _SMALLEST_DICTIONARY}]
    )
    left, begun = size, False
    while left:
        data = source.read(min(left, CHUNK))
        if not data:
            raise EOFError
        left -= len(data)
        plain = (b"\2" if begun else b"\1") + (len(data) - 1).to_bytes(2, "big") + data  # a chunk of LZMA2
        begun = True
        yield decoder.decompress(plain if left else plain + b"\0")


def _swapped(source: BinaryIO, size: int, code: str) -> Blocks:
    words, rest = array(code), b""
    for block in _copied(source, size):
        data = rest + block
        whole = len(data) - len(data) % words.itemsize
        words = array(code, data[:whole])
        words.byteswap()
        rest = data[whole:]
        yield words.tobytes()
    yield rest


def _bzip2(source: BinaryIO, size: int, _: int) -> Blocks:
    """Streams that follow each other."""
    left, rest = size, b""
    while left:
        decoder = bz2.BZ2Decompressor()
        while left and not decoder.eof:
            data = rest or (source.read(CHUNK) if decoder.needs_input else b"")
            ended, rest = decoder.needs_input and not data, b""
            block = decoder.decompress(data, min(left, CHUNK))
            if not block and ended:
                raise EOFError
            left -= len(block)
            if block:
                yield block
        rest = decoder.unused_data


def _deflate(source: BinaryIO, size: int, _: int) -> Blocks:
    decoder = zlib.decompressobj(-15)
    left = size
    while left:
        data = decoder.unconsumed_tail or source.read(CHUNK)
        block = decoder.decompress(data, min(left, CHUNK))
        if not block and (not data or decoder.eof):
            raise EOFError
        left -= len(block)
        if block:
            yield block


def _fed(feed: Callable[[bytes], bytes], source: BinaryIO, size: int, piece: int) -> Blocks:
    """What a codec without limit on its output gives."""
    left = size
    while left:
        data = source.read(piece)
        block = memoryview(feed(data))[:left]
        if not block and not data:
            raise EOFError
        left -= len(block)
        for start in range(0, len(block), CHUNK):
            yield bytes(block[start : start + CHUNK])


def _deflate64(source: BinaryIO, size: int, _: int) -> Blocks:
    from inflate64 import Inflater

    return _fed(Inflater().inflate, source, size, _SMALL)


def _zstd(source: BinaryIO, size: int, memory: int) -> Blocks:
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=memory).stream_reader(
        cast(Any, source), read_size=CHUNK, read_across_frames=True
    )
    return _copied(cast(BinaryIO, reader), size)


def _lz4(source: BinaryIO, size: int, _: int) -> Blocks:
    from lz4.frame import LZ4FrameDecompressor

    return _framed(LZ4FrameDecompressor, source, size)


def _brotli(source: BinaryIO, size: int, _: int) -> Blocks:
    return _framed(_Brotli, source, size)


class _Brotli:
    """brotli with the interface of the other decoders."""

    unused_data = b""

    def __init__(self) -> None:
        from brotli import Decompressor, error

        self._inner, self._error = Decompressor(), error

    @property
    def eof(self) -> bool:
        return bool(self._inner.is_finished())

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.can_accept_more_data())

    def decompress(self, data: bytes, most: int) -> bytes:
        try:
            return cast(bytes, self._inner.process(data, output_buffer_limit=most))
        except self._error as error:
            raise ValueError(str(error)) from None


def _framed(make: Callable[[], Any], source: BinaryIO, size: int) -> Blocks:
    """Frames that follow each other. Before each there may be a skippable one with its packed size, as 7-Zip ZS has."""
    left, rest = size, b""
    while left:
        rest = _filled(rest, source, 8)
        packed = None
        if rest.startswith(_SKIPPABLE):
            length = int.from_bytes(rest[4:8], "little")
            if not 4 <= length <= _SMALL:
                raise corrupt("a frame of it has an impossible header")
            rest = _filled(rest, source, 8 + length)
            packed = int.from_bytes(rest[8:12], "little")
            rest = rest[8 + length :]
        decoder = make()
        while left and not decoder.eof:
            data = b""
            if decoder.needs_input:
                rest = rest or source.read(CHUNK)
                data, rest = rest[:packed], rest[len(rest[:packed]) :]
                packed = None if packed is None else packed - len(data)
            block = decoder.decompress(data, min(left, CHUNK))
            if not block and not data:
                raise EOFError
            left -= len(block)
            if block:
                yield block
        rest = (decoder.unused_data or b"") + rest


def _filled(rest: bytes, source: BinaryIO, size: int) -> bytes:
    while len(rest) < size and (more := source.read(CHUNK)):
        rest += more
    return rest


_CODECS: Final[dict[bytes, Callable[[BinaryIO, int, int], Blocks]]] = {
    b"\x04\x01\x08": _deflate,
    b"\x04\x01\x09": _deflate64,
    b"\x04\x02\x02": _bzip2,
    b"\x04\xf7\x11\x01": _zstd,
    b"\x04\xf7\x11\x02": _brotli,
    b"\x04\xf7\x11\x04": _lz4,
}
