"""Pictures in bytes of no known format."""

from __future__ import annotations

import random
import struct
import time

import cv2
import numpy as np
import pytest
from archives import COMPRESS, PICTURES, tar_of, walked
from hypothesis import given
from hypothesis import strategies as st

from leakmatch.records import Budget, ItemKind, Outcome
from leakmatch.sources.documents import within
from leakmatch.sources.documents.within import Pictures

PHOTO = np.random.default_rng(2).integers(0, 256, (60, 50, 3), dtype=np.uint8)
JPEG = cv2.imencode(".jpg", PHOTO)[1].tobytes()
PROGRESSIVE = cv2.imencode(".jpg", PHOTO, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1]
PNG = cv2.imencode(".png", PHOTO)[1].tobytes()
SMALL = cv2.imencode(".jpg", PHOTO[:20, :20])[1].tobytes()
NOISE = random.Random(3).randbytes(300_000)
STORE = b"CMMM" + NOISE + JPEG + NOISE + PNG + PROGRESSIVE.tobytes() + b"\0" * 70_000 + JPEG


def test_pictures_are_members():
    walk = walked(STORE)
    assert (walk.root.kind, walk.root.outcome, walk.root.format) == (ItemKind.CONTAINER, Outcome.WALKED, "carved")
    assert walk.pictures == [JPEG, PROGRESSIVE.tobytes(), JPEG]
    assert next(e.locator.name for e in walk.below(1)) == f"at {4 + len(NOISE)}"
    assert not walk.incidents


def test_the_same_in_containers_and_walked_again():
    packed = COMPRESS["gzip"](tar_of([(b"a.db", STORE), *PICTURES]))
    walk = walked(packed)
    assert walk.pictures == [JPEG, PROGRESSIVE.tobytes(), JPEG, *(data for _, data in PICTURES)]
    assert walked(packed) == walk
    assert walked(packed, Budget(buffer_bytes=1)) == walk


@pytest.mark.parametrize("before", [b"\0", b"\xef\xbb\xbf", b"\0" * 128, b"HTTP/1.1 200 OK\r\n\r\n"])
def test_something_in_front(before):
    assert walked(before + JPEG).pictures == [JPEG]


def test_what_is_too_small_or_does_not_hold():
    broken = PNG[:20] + b"\1" + PNG[21:]
    for data in (NOISE, b"x\0" + SMALL, b"x\0" + broken, b"x\0" + JPEG[:100], b"\xff\xd8\xff" * 100_000):
        walk = walked(b"x\0" + data)
        assert (walk.root.kind, walk.root.outcome) == (ItemKind.OTHER, Outcome.NOT_IMAGE)


def test_one_in_another_is_no_member_and_one_without_an_end_hides_none():
    exif = b"\xff\xe1" + struct.pack(">H", len(JPEG) + 8) + b"Exif\0\0" + JPEG
    outer = JPEG[:2] + exif + JPEG[2:]
    assert walked(b"x\0" + outer).pictures == [outer]
    cut = JPEG[:-500]
    assert walked(b"x\0" + cut + PNG + JPEG).pictures == [cut, JPEG]
    assert walked(b"x\0" + cut).pictures == [cut]
    assert walked(b"x\0" + PNG[:-500] + JPEG).pictures[-1] == JPEG


def test_with_an_archive_behind():
    walk = walked(b"x\0" + JPEG + tar_of(PICTURES))
    assert walk.pictures == [JPEG, *(data for _, data in PICTURES)]
    assert walk.root.members == 2
    assert walk.codes == {"ambiguous"}


def test_too_many(monkeypatch):
    monkeypatch.setattr(within, "MOST", 3)
    walk = walked(b"x\0" + JPEG * 5)
    assert walk.pictures == [JPEG] * 3
    assert walk.root.outcome is Outcome.OVER_BUDGET


@given(st.lists(st.integers(1, 70_000), max_size=20))
def test_however_the_blocks_fall(cuts):
    whole = Pictures()
    whole.feed(STORE)
    pieces, at = Pictures(), 0
    for size in [*cuts, len(STORE)]:
        pieces.feed(STORE[at : at + size])
        at += size
    assert pieces.end() == whole.end()


def test_it_is_fast_where_nothing_is():
    pictures, block = Pictures(), NOISE[: 1 << 16]
    begin = time.process_time()
    for _ in range(1600):
        pictures.feed(block)
    assert not pictures.end()
    assert time.process_time() - begin < 2  # 100 MB; a tenth of it is usual
