"""What is taken for a data-set container or a document, and above all what is not."""

from __future__ import annotations

import base64
import random
import tarfile
from pathlib import Path

import cv2
import datasets
import documents
import numpy as np
import pytest
from archives import COMPRESS, PICTURES, tar_of, zip_of

from leakmatch.sources.datasets import recognise
from leakmatch.sources.registry import HEAD_BYTES, READERS, detect

KINDS = {
    **{name: name.split(" ")[0] for name in datasets.WHOLE},
    "tsv": "text",
    "json": "text",
}
GOLDEN = Path(__file__).parents[3] / "golden" / "pictures"
PHOTO = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", datasets.WHOLE)
def test_each_format_by_its_content(name):
    data = datasets.WHOLE[name](PICTURES)
    assert detect(data[:HEAD_BYTES]) == KINDS[name]
    assert detect(data[:64]) in (KINDS[name], None)


def test_documents_and_arrays():
    assert detect(documents.pdf({})) == "pdf"
    assert detect(b"\xef\xbb\xbf\r\n" + documents.pdf({})) == "pdf"
    assert detect(documents.ole({"a": b""})) == "ole"
    assert detect(b"{\\rtf1 }") == "rtf"
    assert detect(datasets.npy(np.zeros(3))) == "npy"


def test_every_kind_has_a_reader():
    assert {KINDS[name] for name in datasets.WHOLE} <= READERS.keys()


def test_pictures_and_archives_keep_their_kinds():
    heads = [path.read_bytes()[:HEAD_BYTES] for path in sorted(GOLDEN.iterdir())]
    for suffix in (".jpg", ".png", ".webp", ".bmp", ".tiff", ".jp2", ".ppm"):
        heads.append(cv2.imencode(suffix, PHOTO)[1].tobytes())
    text = base64.b64encode(b"\xff\xd8\xff" + bytes(100))
    heads += [head[:100] + b"\n%PDF-1.4\n" + text for head in list(heads) if not head.startswith(b"P")]
    heads += [head[:16].ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" for head in list(heads)]

    assert {detect(head) for head in heads if not head.startswith(b"P")} == {None}
    assert detect(zip_of(PICTURES)) == "zip"
    assert detect(tar_of(PICTURES, tarfile.GNU_FORMAT)) == "tar"
    assert [detect(COMPRESS[method](text)) for method in COMPRESS] == list(COMPRESS)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0" * 100,
        b"\xff" * 100,
        b"\x80\x02" + b"\0" * 50,
        b"\x80\x04\x95" + b"\xee" * 50,
        b"PAR",
        b"\n#\xd7\xce",
        b"PNG",
        b"just words, with %PDF-1.4 in the middle",
        b'{"a": [1, 2, 3]}',
        b"a\tb\tc\n" * 100,
        b"#!/bin/sh\n(lp0\n",
        b"(lambda x: x)",
        b"].",
        b"}{",
        (b"M" * 76 + b"\n") * 100,
    ],
)
def test_what_is_none(head):
    assert recognise(head) is None


def test_noise_is_none():
    generator = random.Random(1)
    for _ in range(2000):
        head = generator.randbytes(generator.choice((16, 600, 5000)))
        assert recognise(head) is None
        assert recognise(bytes(generator.choices(b'abcdefgh \t\n,{}[]"0123456789/+', k=600))) is None
