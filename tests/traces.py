"""Searching bytes for what is left of a person: a template in every form that it might have been stored in."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import numpy as np

from leakmatch.arrays import FloatArray
from leakmatch.sealed.blocks import Head
from leakmatch.sealed.file import SealedFile
from leakmatch.sealed.header import BLOCKS_AT
from leakmatch.sealed.keys import Keys

WINDOW = 16


def forms_of(vector: FloatArray) -> list[bytes]:
    """A template float32[D] as floats of three sizes in both byte orders, and as int8 by two common scales."""
    floats = [vector.astype(kind).tobytes() for kind in ("<f4", ">f4", "<f2", ">f2", "<f8", ">f8")]
    steps = [
        np.rint(vector * scale).clip(-128, 127).astype(np.int8).tobytes() for scale in (127, 127 / abs(vector).max())
    ]
    return floats + steps


def traces_of(data: bytes) -> set[bytes]:
    """Every 16 bytes in a row (all of it if it is shorter) of ``data`` as it is, in hexadecimal and in base64."""
    text = data.hex().encode()
    forms = [data, text, text.upper(), *(base64.b64encode(data[skip:])[:-4] for skip in range(3))]
    return {form[start : start + WINDOW] for form in forms if form for start in range(max(len(form) - WINDOW, 0) + 1)}


def found(wanted: set[bytes], haystack: bytes) -> set[bytes]:
    """What is wanted and is there."""
    windows = (haystack[start : start + WINDOW] for start in range(len(haystack)))
    short = {one for one in wanted if len(one) < WINDOW and one in haystack}
    return short | {window for window in windows if window in wanted}


def folder_bytes(folder: Path) -> bytes:
    """Every byte of every file below ``folder``, hidden ones included, and their names."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"".join(os.fsencode(str(path)) + path.read_bytes() for path in files)


def unsealed(path: Path, keys: Keys) -> bytes:
    """The content of every block in a sealed file, those included that newer ones have superseded."""
    with SealedFile.open(path, keys) as file:
        data, offset, content = path.read_bytes(), BLOCKS_AT, []
        while offset < file.size:
            head = Head.parse(data[offset:])
            assert head is not None
            content.append(file._blocks.open(data[offset : offset + head.size], offset, str(path)))
            offset += head.size
    return b"".join(content)
