"""RecordIO, TFRecord and WebDataset: rows of records."""

from __future__ import annotations

import io
import json
import struct

import datasets
import numpy as np
import pytest
from archives import COMPRESS, PICTURES, picture, tar_of, walked

from leakmatch.records import Outcome
from leakmatch.sources.datasets.arrays import picture_file
from leakmatch.sources.datasets.crc32c import crc32c, masked_crc, masked_crcs
from leakmatch.sources.opening import Opening
from leakmatch.sources.registry import detect, open_container

PHOTOS = [data for _, data in PICTURES]


def names(walk):
    return [e.locator.name for e in walk.below(1)]


# RecordIO


def test_labels_and_ids_are_the_name():
    data = b"".join(
        (
            datasets.image_record(b"", 0, [5.0, 9.0]),  # as the first record of face sets
            datasets.image_record(picture(1), 1, 17.0),
            datasets.image_record(picture(2), 2, [3.0, 0.5, 0.5]),
            datasets.image_record(b"", 5, [1.0, 3.0]),
        )
    )
    walk = walked(data)
    assert names(walk) == ["5/0", "17/1", "3/2", "1/5"]
    assert walk.pictures == [picture(1), picture(2)]
    assert walk.root.outcome is Outcome.WALKED


def test_a_picture_with_the_magic_number_in_it():
    photo = b"\xff\xd8\xff\xe0" + datasets.MAGIC * 2 + b"abc" + b"d" * 5 + datasets.MAGIC + picture(1, 70_000)
    assert walked(datasets.recordio([(b"", photo), (b"", picture(2))])).pictures == [photo, picture(2)]


def test_records_without_a_header():
    assert walked(datasets.record(picture(1)) + datasets.record(b"short")).pictures == [picture(1)]


def test_reading_goes_on_behind_damage():
    records = [datasets.image_record(picture(n), n) for n in range(5)]
    walk = walked(records[0] + records[1] + b"junk" * 5 + records[2][:100] + records[3] + records[4])
    assert [picture(n) in walk.pictures for n in range(5)] == [True, True, False, True, True]
    assert walk.root.outcome is Outcome.UNREADABLE
    damaged = bytearray(b"".join(records))
    damaged[len(records[0]) + 4 : len(records[0]) + 8] = b"\xff\xff\xff\x1f"  # a length far behind the end
    walk = walked(bytes(damaged))
    assert [picture(n) in walk.pictures for n in (0, 2, 3, 4)] == [True] * 4


def test_the_index_beside_it_is_compared(tmp_path):
    (tmp_path / "a.rec").write_bytes(datasets.recordio(PICTURES))
    (tmp_path / "a.idx").write_text("".join(f"{n}\t0\n" for n in range(5)))
    assert not walked(tmp_path / "a.rec").incidents
    (tmp_path / "a.idx").write_text("0\t0\n" * 7)
    assert walked(tmp_path / "a.rec").codes == {"corrupt"}


# TFRecord


def test_the_checksum():
    assert crc32c(b"123456789") == 0xE3069283
    generator = np.random.default_rng(1)
    for size in (0, 1, 2047, 2048, 5000, 32_768, 200_001):
        data = generator.bytes(size)
        whole = 0
        for byte in data[:2000]:
            whole = crc32c(bytes((byte,)), whole)
        assert whole == crc32c(data[:2000])
        assert crc32c(data) == crc32c(data[size // 3 :], crc32c(data[: size // 3]))
    assert masked_crcs(data, 8)[77] == masked_crc(data[77:85])


def test_every_value_that_is_no_text():
    one = datasets.example({
        "image/encoded": [picture(1)], "image/class/text": [b"somebody"], "crops": [picture(2), picture(3)], "n": [1],
    })  # fmt: skip
    walk = walked(datasets.framed(one) + datasets.framed(datasets.example({"x": [b"\0\1"]})))
    assert names(walk) == ["0/image/encoded", "0/crops", "0/crops.1", "1/x"]
    assert walk.pictures == [picture(1), picture(2), picture(3)]


def test_a_sequence_example():
    frame = datasets.field(1, datasets.field(1, picture(1)))
    other = datasets.field(1, datasets.field(1, picture(2)))
    lists = datasets.field(
        1, datasets.field(1, b"frames") + datasets.field(2, datasets.field(1, frame) + datasets.field(1, other))
    )
    context = datasets.field(
        1, datasets.field(1, b"id") + datasets.field(2, datasets.field(1, datasets.field(1, b"7")))
    )
    walk = walked(datasets.framed(datasets.field(1, context) + datasets.field(2, lists)))
    assert walk.pictures == [picture(1), picture(2)]


def test_bare_pixels_with_their_size():
    photo = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    data = datasets.framed(
        datasets.example({"image_raw": [photo.tobytes()], "height": [20], "width": [30], "depth": [3]})
    )
    opening = Opening(detect(data), io.BytesIO(data), len(data), "x")
    (member,) = open_container(opening).members()
    assert member.open().read() == picture_file(photo, "HWC").read()


def test_a_record_that_is_no_example():
    walk = walked(datasets.framed(picture(1)) + datasets.framed(b"some text"))
    assert walk.pictures == [picture(1)]


def test_compressed_as_a_whole():
    assert walked(COMPRESS["gzip"](datasets.tfrecord(PICTURES))).pictures == PHOTOS


def test_wrong_checksums_are_told_and_what_is_there_is_read():
    records = [datasets.framed(datasets.example({"i": [picture(n)]})) for n in range(4)]
    broken = records[1][:-1] + bytes((records[1][-1] ^ 1,))
    walk = walked(records[0] + broken + records[2] + records[3])
    assert walk.pictures == [picture(n) for n in range(4)]
    assert walk.root.outcome is Outcome.UNREADABLE
    length = bytes((records[1][0] ^ 1,)) + records[1][1:]
    walk = walked(records[0] + length + records[2] + b"junk" + records[3])
    assert walk.pictures == [picture(n) for n in (0, 2, 3)]


def test_a_cut_record_gives_what_there_is():
    data = datasets.framed(datasets.example({"a": [picture(1)], "b": [picture(2, 5000)]}))
    walk = walked(data[:-1000])
    assert walk.pictures[0] == picture(1)
    assert picture(2, 5000).startswith(walk.pictures[1])
    assert walk.root.outcome is Outcome.PARTIAL


def test_a_length_of_exabytes():
    size = struct.pack("<Q", 1 << 39)
    walk = walked(size + struct.pack("<I", masked_crc(size)) + datasets.example({"a": [picture(1)]}) + bytes(50))
    assert walk.root.outcome is Outcome.PARTIAL
    assert walk.pictures


@pytest.mark.parametrize("body", [b"\x0a" * 5000, b"\x0b" * 100, b"\xff" * 50, bytes(100)])
def test_messages_that_make_no_sense(body):
    assert len(walked(datasets.framed(body)).entries) == 2


# WebDataset


def test_webdataset():
    members = []
    for n in range(3):
        members += [(b"%05d.jpg" % n, picture(n)), (b"%05d.cls" % n, b"7")]
        members.append((b"%05d.json" % n, json.dumps({"name": "x", "id": n}).encode()))
    walk = walked(tar_of(members))
    assert walk.pictures == [picture(n) for n in range(3)]
    assert [e.outcome for e in walk.below(1)] == [None, Outcome.NOT_IMAGE, Outcome.NOT_IMAGE] * 3
