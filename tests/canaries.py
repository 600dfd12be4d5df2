"""Known templates, hashes and names, and a search for any trace of them in whatever was written."""

from __future__ import annotations

import base64
import binascii
import ctypes
import os
import re
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from leakmatch.arrays import FloatArray

WINDOW = 16  #: so many bytes of a template or a digest in a row are a trace of it
_ANCHOR = 8  #: looked for first
_HEX = re.compile(rb"[0-9A-Fa-f]{16,}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-](?:[\r\n]*[A-Za-z0-9+/_-]){10,}")


class Canaries:
    """What to look for. ``templates`` float32[N,D]; ``digests`` of 16 bytes or more; ``hashes`` of 8; ``texts``."""

    def __init__(
        self,
        templates: FloatArray,
        digests: Iterable[bytes] = (),
        hashes: Iterable[bytes] = (),
        texts: Iterable[str] = (),
    ) -> None:
        self._pieces: dict[bytes, str] = {}
        for vector in templates:
            for form, content in _forms(vector):
                self._add(content, f"a template as {form}")
        for digest in digests:
            self._add(digest, "a digest")
        self._pieces |= dict.fromkeys(hashes, "a hash")
        anchors = {piece[:_ANCHOR] for piece in self._pieces}
        self._anchors = np.sort(np.frombuffer(b"".join(anchors), "<u8"))
        self._texts = {form: text for text in texts for form in _text_forms(text)}

    def _add(self, content: bytes, what: str) -> None:
        for at in range(len(content) - WINDOW + 1):
            piece = content[at : at + WINDOW]
            if len({*piece}) > 2:  # not the zeros that anything has
                self._pieces[piece] = what

    def found(self, data: bytes) -> set[str]:
        """What there is of them in ``data``: as it is, in hexadecimal and in base64, at any place."""
        traces = set(self._in_bytes(data))
        for decoded, form in _decoded(data):
            traces |= {f"{what} in {form}" for what in self._in_bytes(decoded)}
        lowered = data.lower()
        return traces | {f"the text {text!r}" for form, text in self._texts.items() if form in lowered}

    def _in_bytes(self, data: bytes) -> Iterator[str]:
        for shift in range(_ANCHOR):
            words = np.frombuffer(data, "<u8", max(len(data) - shift, 0) // _ANCHOR, min(shift, len(data)))
            if not len(words) or not len(self._anchors):
                continue
            near = self._anchors[np.minimum(np.searchsorted(self._anchors, words), len(self._anchors) - 1)]
            for number in np.flatnonzero(near == words).tolist():
                at = shift + number * _ANCHOR
                for size in (WINDOW, _ANCHOR):
                    what = self._pieces.get(data[at : at + size])
                    if what is not None:
                        yield what


def _forms(vector: FloatArray) -> Iterator[tuple[str, bytes]]:
    yield "float32", vector.astype("<f4").tobytes()
    yield "float32, big-endian", vector.astype(">f4").tobytes()
    yield "float64", vector.astype("<f8").tobytes()
    yield "float16", vector.astype("<f2").tobytes()
    yield "bfloat16", vector.astype("<f4").view("<u2")[1::2].tobytes()
    for name, scale in (("int8", 127.0), ("int8 of its largest", 127.0 / float(abs(vector).max()))):
        yield name, np.rint(vector * scale).astype(np.int8).tobytes()
        yield f"{name}, cut off", np.trunc(vector * scale).astype(np.int8).tobytes()


def _text_forms(text: str) -> Iterator[bytes]:
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        yield text.lower().encode(encoding)


def _decoded(data: bytes) -> Iterator[tuple[bytes, str]]:
    for run in _HEX.findall(data):
        for shift in (0, 1):
            digits = run[shift:]
            yield binascii.unhexlify(digits[: len(digits) // 2 * 2]), "hexadecimal"
    for run in _BASE64.findall(data):
        letters = run.translate(bytes.maketrans(b"-_", b"+/"), b"\r\n")
        for shift in range(4):
            part = letters[shift:]
            yield base64.b64decode(part[: len(part) // 4 * 4]), "base64"


# Files that are there for a moment only

_CREATE, _CLOSE_WRITE, _MODIFY, _MOVED_FROM, _MOVED_TO = 0x100, 0x8, 0x2, 0x40, 0x80  # sys/inotify.h
_EVENT = struct.Struct("iIII")


class Watched:
    """What was ever in some folders, and in folders made in them: read as soon as it is written.

    ``content``: all that was read, by path. ``missed``: files that were gone before they could be read, and not by
    another name.
    """

    def __init__(self) -> None:
        self.content: dict[Path, list[bytes]] = {}
        self.missed: set[Path] = set()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_CLOEXEC)
        self._folders: dict[int, Path] = {}
        self._moved: dict[int, Path] = {}  # by what ties the two events of a renaming together

    def add(self, folder: Path) -> None:
        """Watch this folder, and what is in it."""
        mask = _CREATE | _CLOSE_WRITE | _MODIFY | _MOVED_FROM | _MOVED_TO
        number = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask)
        if number < 0:
            return
        self._folders[number] = folder
        with suppress(FileNotFoundError):
            for path in folder.iterdir():
                self._look(path)

    def _look(self, path: Path) -> None:
        try:
            if path.is_dir():
                self.add(path)
            elif path.is_file():
                data = path.read_bytes()
                kept = self.content.setdefault(path, [])
                if data not in kept[-1:]:
                    kept.append(data)
        except FileNotFoundError:
            self.missed.add(path)

    def listen(self) -> None:
        """Until :meth:`stop`."""
        while True:
            data = os.read(self._descriptor, 1 << 16)
            at = 0
            while at < len(data):
                number, what, cookie, size = _EVENT.unpack_from(data, at)
                name = data[at + _EVENT.size : at + _EVENT.size + size].rstrip(b"\0")
                at += _EVENT.size + size
                if name == b".stop":
                    return
                if number in self._folders:
                    self._changed(self._folders[number] / os.fsdecode(name), what, cookie)

    def _changed(self, path: Path, what: int, cookie: int) -> None:
        if what & _MOVED_FROM:
            self._moved[cookie] = path
            return
        if what & _MOVED_TO:
            self.missed.discard(self._moved.pop(cookie, path))
        self._look(path)

    def stop(self) -> None:
        """All that was written before this has been looked at when :meth:`listen` returns."""
        folder = next(iter(self._folders.values()))
        (folder / ".stop").touch()


@contextmanager
def watched(*folders: Path) -> Iterator[Watched]:
    """What is in these folders meanwhile."""
    watch = Watched()
    for folder in folders:
        watch.add(folder)
    listener = threading.Thread(target=watch.listen)
    listener.start()
    try:
        yield watch
    finally:
        watch.stop()
        listener.join()
        (folders[0] / ".stop").unlink()
        os.close(watch._descriptor)
