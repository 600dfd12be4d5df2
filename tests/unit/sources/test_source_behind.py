"""Archives behind pictures and other things that are none: both are read."""

from __future__ import annotations

import io
import random

import py7zr
import pytest
from archives import COMPRESS, PICTURES, Zipped, picture, tar_of, walked, zip_of, zipped
from hypothesis import given
from hypothesis import strategies as st

from leakmatch.records import Budget, ItemKind, Outcome
from leakmatch.sources.behind import Behind
from leakmatch.sources.streams import CHUNK
from leakmatch.sources.walk import Before

PHOTO = picture(1, 70_000)


def sevenzip_of(members) -> bytes:
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(data, name.decode())
    return file.getvalue()


ARCHIVES = {"zip": zip_of(PICTURES, 8), "tar": tar_of(PICTURES), "7z": sevenzip_of(PICTURES)}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_behind_a_picture(kind):
    walk = walked(PHOTO + ARCHIVES[kind])
    assert (walk.root.kind, walk.root.payload) == (ItemKind.IMAGE, PHOTO + ARCHIVES[kind])
    (archive,) = walk.below(1)
    assert (archive.locator.kind, archive.locator.name) == ("appended", f"{kind} at {len(PHOTO)}")
    assert (archive.kind, archive.outcome, archive.size) == (ItemKind.CONTAINER, Outcome.WALKED, len(ARCHIVES[kind]))
    assert walk.members(2) == PICTURES
    assert walk.codes == {"ambiguous"}
    assert walk.codes_of(walk.root) == {"ambiguous"}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_in_containers_and_whatever_is_wanted(kind):
    packed = COMPRESS["gzip"](tar_of([(b"a.jpg", picture(2)), (b"b.jpg", PHOTO + ARCHIVES[kind]), (b"c", picture(3))]))
    whole = walked(packed)
    assert whole.members(4) == PICTURES
    carrier = whole.named(b"b.jpg").position
    for unwanted in range(len(whole.entries)):
        walk = walked(packed, wanted=lambda p: p != unwanted, before=Before(carriers=frozenset({carrier})))  # noqa: B023
        assert [e.locator for e in walk.entries] == [e.locator for e in whole.entries]
        others = [e for e in walk.entries if e.position != unwanted]
        assert others == [e for e in whole.entries if e.position != unwanted]
    assert walked(packed, Budget(buffer_bytes=1)) == whole


def test_offsets_that_count_from_the_beginning_of_the_picture():
    members = [Zipped(b"a.jpg", picture(5), header=len(PHOTO)), Zipped(b"b.txt", b"x", header=len(PHOTO) + 35 + 303)]
    archive = bytearray(zipped(members))
    start = archive.rfind(b"PK\x05\x06") + 16
    archive[start : start + 4] = (int.from_bytes(archive[start : start + 4], "little") + len(PHOTO)).to_bytes(
        4, "little"
    )
    walk = walked(PHOTO + bytes(archive))
    assert walk.codes == {"ambiguous"}
    assert walk.named(b"a.jpg").payload == picture(5)


def test_several_kinds_behind_each_other():
    walk = walked(PHOTO + ARCHIVES["7z"] + ARCHIVES["zip"])
    archive = ARCHIVES["7z"]
    assert [e.locator.name for e in walk.below(1)] == [f"7z at {len(PHOTO)}"]
    assert [e.locator.name for e in walk.below(2)][-1] == f"data at {len(archive)}"
    assert [e.payload for e in walk.entries if e.payload][1:] == [
        data for _, data in PICTURES if data[:2] == b"\xff\xd8"
    ] * 2


@pytest.mark.parametrize("head", [b"GIF89a" + bytes(50), b"RIFF\x24\0\0\0WAVEfmt ", b"<html>"])
def test_what_only_its_end_says_is_a_zip(head):
    assert walked(head + ARCHIVES["zip"]).members() == PICTURES


def test_a_pdf_that_is_a_zip_as_well():
    walk = walked(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + ARCHIVES["zip"])
    (archive,) = [e for e in walk.below(1) if e.locator.kind == "appended"]
    found = [(e.locator.raw, e.payload) for e in walk.below(2) if e.locator.parent == archive.locator]
    assert found == PICTURES


def test_a_video_with_a_zip_behind_it():
    box = (24).to_bytes(4, "big") + b"ftypisom\0\0\2\0isomiso2"
    walk = walked(box + (8).to_bytes(4, "big") + b"free" + ARCHIVES["zip"])
    assert walk.root.kind is ItemKind.CONTAINER
    assert walk.members(2) == PICTURES


def test_behind_what_is_nothing_known():
    walk = walked(b"\x01some data" * 99 + ARCHIVES["7z"])
    assert (walk.root.kind, walk.root.outcome) == (ItemKind.OTHER, Outcome.NOT_IMAGE)
    assert walk.members(2) == PICTURES


def test_a_bomb_behind_a_picture_costs_only_itself():
    bomb = PHOTO + zip_of([(b"bomb", bytes(3_000_000))], 12)
    good = [(b"%d.jpg" % n, picture(n)) for n in range(50)]
    walk = walked(zip_of([*good, (b"bomb.jpg", bomb), *good]), Budget(ratio=10, ratio_floor=100_000))
    assert [e.payload for e in walk.below(1) if e.payload] == [d for _, d in good] + [bomb] + [d for _, d in good]
    assert Outcome.OVER_BUDGET in {e.outcome for e in walk.below(3)}


def test_an_archive_that_is_cut_off():
    walk = walked(PHOTO + ARCHIVES["zip"][:1500])
    assert walk.members(2)[0] == PICTURES[0]
    assert walk.below(1)[0].outcome is Outcome.PARTIAL


def test_what_only_looks_like_an_archive():
    noise = random.Random(1).randbytes(500)
    looks = [
        b"PK\x03\x04",
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\x07\x00",
        b"Rar!\x1a\x07\x01\x00",
        bytes(257) + b"ustar\0",
    ]
    walk = walked(PHOTO + b"".join(look + noise for look in looks * 5))
    assert len(walk.entries) == 1
    assert not walk.incidents


@given(st.binary(max_size=3000), st.sampled_from(sorted(ARCHIVES)), st.lists(st.integers(1, 3 * CHUNK), max_size=5))
def test_however_the_bytes_come(before, kind, sizes):
    data = b"\xff\xd8\xff" + before + bytes(CHUNK) + ARCHIVES[kind] + bytes(100)
    whole = Behind()
    whole.feed(data)
    pieces = Behind()
    at = 0
    for size in [*sizes, len(data)]:
        pieces.feed(data[at : at + size])
        at += size
    assert pieces.end() == whole.end()
    assert dict(whole.found)[kind] == len(data) - 100 - len(ARCHIVES[kind])


def test_a_zip_known_by_its_end_only_is_opened_once():
    """It begins where what carries it begins, and would be found in itself without end."""
    walk = walked(PHOTO + zip_of([(b"a.jpg", picture(2))]).replace(b"PK\3\4", b"XXXX"))
    (found,) = walk.below(1)
    assert found.locator.name == "zip at 0"
    assert walk.named(b"a.jpg").detail == "its own header is missing"


@pytest.mark.parametrize("thing", [PHOTO, b"nothing at all " * 999])
def test_a_limit_met_behind_what_is_no_container(thing):
    """The row of the thing itself was given before; the limit is told beside it, and nothing is lost."""
    walk = walked(thing + zip_of(PICTURES, 8), Budget(bytes=100))
    assert "over-budget" in walk.codes_of(walk.root)
    assert walk.below(1)[0].outcome is Outcome.OVER_BUDGET
    nested = walked(zip_of([(b"thing", thing + zip_of(PICTURES, 8)), (b"b.jpg", picture(7))]), Budget(members=2))
    assert nested.root.outcome is Outcome.OVER_BUDGET
