"""Data-set containers: files in which picture collections for machine learning are kept.

Each format has a module of its own. :func:`recognise` tells them, and the documents of
:mod:`leakmatch.sources.documents`, by content.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from leakmatch.sources.datasets.crc32c import masked_crc
from leakmatch.sources.datasets.signatures import is_picture
from leakmatch.sources.datasets.text import is_text_with_pictures

#: Who reads what, as in :data:`leakmatch.sources.registry.READERS`.
READERS: Final[dict[str, str]] = {
    "parquet": "datasets.columns:open_parquet",
    "arrow": "datasets.columns:open_arrow",
    "recordio": "datasets.recordio:open_recordio",
    "tfrecord": "datasets.tfrecord:open_tfrecord",
    "lmdb": "datasets.lmdb:open_lmdb",
    "hdf5": "datasets.hdf5:open_hdf5",
    "sqlite": "datasets.sqlite:open_sqlite",
    "npy": "datasets.npy:open_npy",
    "pickle": "datasets.pickled:open_pickle",
    "text": "datasets.text:open_text",
    "pdf": "documents.pdf:open_pdf",
    "ole": "documents.ole:open_ole",
    "rtf": "documents.rtf:open_rtf",
    "carved": "documents.within:open_within",
}

_SIGNATURES: Final = (
    (b"PAR1", "parquet"),
    (b"PARE", "parquet"),
    (b"ARROW1\0\0", "arrow"),
    (b"FEA1", "arrow"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"SQLite format 3\0", "sqlite"),
    (b"\x93NUMPY", "npy"),
    (b"%PDF-", "pdf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"{\\rtf", "rtf"),
)

_HDF5: Final = _SIGNATURES[4][0]
_HDF5_AT: Final = tuple(512 << n for n in range(7))  # behind a user block
_PDF = re.compile(rb"(?:^|[\r\n])%PDF-[12]\.\d")
_PDF_WITHIN: Final = 1024
_LMDB_MAGIC: Final = b"\xde\xc0\xef\xbe"
_RECORDIO: Final = b"\x0a\x23\xd7\xce"
_MAX_RECORD: Final = 1 << 40
_SCHEMA: Final = 1


def recognise(head: bytes) -> str | None:
    """The kind of a data-set container or document by the first bytes of it, or ``None``. Never raises."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if is_picture(head):
        return None
    return next((kind for fits, kind in _CHECKS if fits(head)), None)


def _recordio(head: bytes) -> bool:
    if not head.startswith(_RECORDIO) or len(head) < 8:
        return False
    part, length = head[7] >> 5, int.from_bytes(head[4:8], "little") & 0x1FFFFFFF
    following = 8 + (length + 3) // 4 * 4
    return part in (0, 1) and head[following : following + 4] in (b"", _RECORDIO)


def _tfrecord(head: bytes) -> bool:
    """The length of the first record has a checksum of its own."""
    if len(head) < 12 or int.from_bytes(head[:8], "little") > _MAX_RECORD:
        return False
    return any(head[:12]) and masked_crc(head[:8]) == int.from_bytes(head[8:12], "little")


def _lmdb(head: bytes) -> bool:
    """The first page is a meta page: number 0, flag 8, then a magic number and the version."""
    flags = int.from_bytes(head[10:12], "little")
    return head[16:20] == _LMDB_MAGIC and not any(head[:8]) and flags & 8 == 8 and head[20:22] in (b"\1\0", b"\xe7\3")


def _hdf5(head: bytes) -> bool:
    return any(head.startswith(_HDF5, at) for at in _HDF5_AT)


def _pdf(head: bytes) -> bool:
    return _PDF.search(head, 0, _PDF_WITHIN) is not None


def _arrow_stream(head: bytes) -> bool:
    """A length, and a flatbuffer whose message is a schema (the version and the kind of message are in its table)."""
    if head[:4] != b"\xff\xff\xff\xff":
        return False
    size, body = int.from_bytes(head[4:8], "little"), head[8:]
    table = int.from_bytes(body[:4], "little")
    fields = table - int.from_bytes(body[table : table + 4], "little", signed=True)
    if not 16 <= size < 1 << 26 or size % 8 or not 4 <= table < len(body) - 8 or not 0 <= fields < len(body) - 8:
        return False
    kind = int.from_bytes(body[fields + 6 : fields + 8], "little")
    return 0 < kind < 64 and body[table + kind : table + kind + 1] == bytes((_SCHEMA,))


def _pickle(head: bytes) -> bool:
    """A pickle that begins with a collection: of protocol 2 to 5 by its first bytes, of an older one by its opcodes."""
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        start = 11 if head[2:3] == b"\x95" else 2  # behind the length of a frame
        return head[start : start + 1] in _FIRST_OPCODES
    return head.startswith(_OLD_PICKLES)


_FIRST_OPCODES: Final = tuple(bytes((code,)) for code in b"](})c\x8c\x8f\x8eCBU\x58T\x96")
_OLD_PICKLES: Final = (
    b"((lp",
    b"(lp0\n",
    b"(lp1\n",
    b"(dp0\n",
    b"(dp1\n",
    b"((dp",
    b"](",
    b"]q\0(",
    b"(]q\0",
    b"}q\0(",
)

_CHECKS: Final[tuple[tuple[Callable[[bytes], bool], str], ...]] = (
    (_recordio, "recordio"),
    (_tfrecord, "tfrecord"),
    (_lmdb, "lmdb"),
    (_arrow_stream, "arrow"),
    (_hdf5, "hdf5"),
    (_pickle, "pickle"),
    (_pdf, "pdf"),
    (is_text_with_pictures, "text"),
)
