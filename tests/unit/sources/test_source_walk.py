"""The walk itself: files that are no containers, nesting, progress, and what its errors are called."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest
import zstandard
from archives import (
    COMPRESS,
    PICTURES,
    Zipped,
    compress,
    is_picture,
    pax,
    picture,
    tar_member,
    tar_of,
    walked,
    zip_of,
    zipped,
)

from leakmatch.errors import ItemError
from leakmatch.locator import SOURCE, Locator
from leakmatch.pipeline.channel import Message
from leakmatch.pipeline.wire import entry_fields, incident_fields, read_entry, read_incident
from leakmatch.records import Budget, Entry, Incident, ItemKind, Outcome
from leakmatch.sources.guard import reading
from leakmatch.sources.walk import DEEPEST, walk

PHOTO = picture(1)
ROOT = Locator.root(SOURCE, "x", b"x", 0)


# Files that are no containers


def test_a_picture():
    found = walked(PHOTO)
    (entry,) = found.entries
    assert entry == Entry(entry.locator, 0, ItemKind.IMAGE, len(PHOTO), hashlib.sha256(PHOTO).digest(), None, "", PHOTO)
    assert not found.incidents


def test_a_text_and_nothing():
    for data, detail in ((b"hello", ""), (b"", "empty")):
        (entry,) = walked(data).entries
        assert (entry.kind, entry.outcome, entry.detail) == (ItemKind.OTHER, Outcome.NOT_IMAGE, detail)
        assert (entry.size, entry.sha256) == (len(data), hashlib.sha256(data).digest())


def test_a_picture_that_is_not_wanted_is_not_read():
    (entry,) = walked(PHOTO, wanted=lambda _: False).entries
    assert (entry.kind, entry.outcome, entry.payload, entry.sha256) == (ItemKind.IMAGE, None, None, None)


def test_a_file_that_is_not_there_is_a_row(tmp_path):
    incident, entry = walk(tmp_path / "gone", ROOT, Budget(), is_picture)
    assert isinstance(entry, Entry)
    assert (entry.position, entry.outcome, entry.size) == (0, Outcome.UNREADABLE, 0)
    assert isinstance(incident, Incident)
    assert incident.code == "io-error"


@pytest.mark.parametrize("size", [36_863, 36_864, 36_865, 65_536, 200_000])
def test_sizes_around_those_that_are_read_at_once(size):
    data = picture(1, size - 3)
    assert walked(data).pictures == [data]
    assert walked(zip_of([(b"a", data)], 8)).pictures == [data]
    text = b"x" * size
    assert walked(text).root.sha256 == hashlib.sha256(text).digest()


# Nesting


def nested(levels: int, innermost: bytes = PHOTO) -> bytes:
    for _ in range(levels):
        innermost = COMPRESS["gzip"](innermost)
    return innermost


def test_as_deep_as_can_be():
    budget = Budget(depth=1000)
    assert walked(nested(DEEPEST), budget).pictures == [PHOTO]
    deeper = walked(nested(DEEPEST + 5), budget)
    assert len(deeper.entries) == DEEPEST + 1
    assert deeper.entries[-1].outcome is Outcome.OVER_BUDGET
    assert {e.outcome for e in deeper.entries[:-1]} == {Outcome.WALKED}


def test_deep_without_room_to_hold_anything():
    """Each level then reads through all levels around it, and at some depth the stack ends before the budget does."""
    assert walked(nested(32), Budget(depth=1000, buffer_bytes=1)).pictures == [PHOTO]
    deeper = walked(nested(DEEPEST), Budget(depth=1000, buffer_bytes=1))
    assert deeper.pictures == [PHOTO] or "over-budget" in deeper.codes


def test_zips_in_zips_as_deep_as_can_be_from_a_deep_stack():
    data = PHOTO
    for level in range(DEEPEST):
        data = zipped([Zipped(b"%d" % level, data, 8)])

    def deep(calls: int) -> object:
        return deep(calls - 1) if calls else walked(data, Budget(depth=1000)).pictures

    assert sys.getrecursionlimit() == 1000
    assert deep(200) == [PHOTO]


def test_a_limit_reached_inside_ends_every_level_once():
    inner = zip_of([(b"%d.jpg" % n, picture(n)) for n in range(50)])
    middle = zip_of([(b"before.jpg", picture(60)), (b"inner.zip", inner), (b"after.jpg", picture(61))])
    links = b"".join(tar_member(b"link %d" % n, b"", b"2") for n in range(5))
    data = links + tar_member(b"middle.zip", middle) + tar_member(b"last.jpg", PHOTO) + bytes(1024)
    whole = walked(data)
    for limit in (1, 100, 20_000, 40_000, 45_000):
        found = walked(data, Budget(bytes=limit))
        assert [e.locator for e in found.entries] == [e.locator for e in whole.entries[: len(found.entries)]]
        assert found.root.outcome is Outcome.OVER_BUDGET
        cut = found.entries[-1]
        around = {link.name for link in cut.locator.chain()} - {cut.locator.name}
        ended = {e.locator.name for e in found.entries if e.kind is ItemKind.CONTAINER}
        assert around <= ended


def test_a_container_at_its_limit_leaves_its_neighbours_alone():
    """A zip whose members each keep to the ratio, but not their sum."""
    one = Zipped(b"a", bytes(90_000), 8)
    packed = len(compress(8, one.data))
    truth = {"crc": zlib.crc32(one.data), "size": 90_000, "stored": packed}
    many = zipped([one, *(Zipped(b"b%d" % n, b"", 8, header=0, **truth) for n in range(100))])
    assert 1000 * packed > 90_000
    found = walked(
        zip_of([(b"good 1.jpg", PHOTO), (b"many.zip", many), (b"good 2.jpg", PHOTO)]),
        Budget(ratio=1000, ratio_floor=200_000),
    )
    assert found.pictures == [PHOTO, PHOTO]
    assert Outcome.OVER_BUDGET in {e.outcome for e in found.entries}


# Progress


def test_progress_goes_from_the_beginning_to_the_end(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of([(b"%d.jpg" % n, picture(n, 100_000)) for n in range(10)], 8))
    told: list[int] = []
    found = list(walk(path, ROOT, Budget(), is_picture, progress=told.append))
    assert max(told) == path.stat().st_size
    assert min(told) < 300_000
    assert len(told) > len(found)


def test_progress_is_told_while_a_held_container_is_read(tmp_path):
    """It is the sign of life: the file on disk is long read when a small archive in it still expands."""
    path = tmp_path / "a.gz"
    path.write_bytes(COMPRESS["gzip"](COMPRESS["xz"](bytes(5_000_000))))
    told: list[int] = []
    list(walk(path, ROOT, Budget(), is_picture, progress=told.append))
    assert told.count(path.stat().st_size) > 50


# Memory


def peak(path: Path) -> int:
    tracemalloc.start()
    count = sum(1 for _ in walk(path, ROOT, Budget(), is_picture))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count > 3000
    return most


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_memory_does_not_grow_with_members(tmp_path, pack):
    few, many = tmp_path / "few", tmp_path / "many"
    few.write_bytes(pack([(b"%05d.txt" % n, b"x") for n in range(4000)]))
    many.write_bytes(pack([(b"%05d.txt" % n, b"x") for n in range(8000)]))
    assert peak(many) < peak(few) + 2_500_000  # a zip's directory is read by blocks of 4 MiB


# Names in frames


def test_rows_of_the_deepest_and_longest_names_fit_in_a_frame():
    data, name = PHOTO, b"\xff" * 60_000
    for _ in range(Budget().depth):
        data = tar_member(b"x", data)
        data = pax({"path": name}) + data + bytes(1024)
    found = walked(data)
    assert found.pictures == [PHOTO]
    for entry in found.entries:
        assert read_entry(Message("entry", entry_fields(entry))).locator == entry.locator
    for incident in found.incidents:
        assert read_incident(Message("incident", incident_fields(incident))) == incident


# Errors


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (EOFError(), "partial", "truncated"),
        (zlib.error("bad"), "unreadable", "corrupt"),
        (lzma.LZMAError("bad"), "unreadable", "corrupt"),
        (zstandard.ZstdError("bad"), "unreadable", "corrupt"),
        (struct.error("bad"), "unreadable", "corrupt"),
        (ValueError("bad"), "unreadable", "corrupt"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "bad"), "unreadable", "corrupt"),
        (OverflowError("bad"), "unreadable", "corrupt"),
        (IndexError("bad"), "unreadable", "corrupt"),
        (KeyError("bad"), "unreadable", "corrupt"),
        (OSError("bzip2 knows no number"), "unreadable", "corrupt"),
        (OSError(5, "Input/output error"), "unreadable", "io-error"),
        (PermissionError(13, "Permission denied"), "unreadable", "no-permission"),
        (MemoryError(), "over-budget", "over-budget"),
        (RecursionError("too deep"), "over-budget", "over-budget"),
        (ItemError("needs-volume", "volume-missing", "as it is"), "needs-volume", "volume-missing"),
    ],
)
def test_every_failure_to_read_is_an_outcome(error, outcome, code):
    with pytest.raises(ItemError) as caught, reading("the thing"):
        raise error
    assert (caught.value.outcome, caught.value.code) == (outcome, code)
    assert str(caught.value) == "as it is" or str(caught.value).startswith("the thing")
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


class OfALibrary(Exception):
    """A class that no table names."""


@pytest.mark.parametrize("thrown", [OfALibrary("odd"), SystemError("odd"), AssertionError("odd")])
def test_what_a_library_raises_is_mapped_whatever_its_class(thrown):
    """An assertion counts where it was made: here it is not one of LeakMatch."""
    message = rf"the data is damaged \({type(thrown).__name__}: odd\)"
    with pytest.raises(ItemError, match=message) as caught, reading("the data"):
        raise thrown
    assert (caught.value.outcome, caught.value.code) == ("unreadable", "corrupt")


def test_what_is_no_failure_to_read_is_left_alone():
    with pytest.raises(KeyboardInterrupt), reading("it"):
        raise KeyboardInterrupt
    for thrown in ("AssertionError", "StopIteration"):
        with pytest.raises(Exception, match="ours") as caught, reading("it"):
            exec(f"raise {thrown}('ours')", {"__name__": "leakmatch.sources.anything"})
        assert type(caught.value).__name__ == thrown
    assert bz2  # its errors carry no number


def test_the_order_of_what_is_found():
    """Incidents of a member stand before its row, and a container's row behind its members."""
    with_note = zipped([Zipped(b"a.jpg", PHOTO, crc=1), Zipped(b"b.jpg", PHOTO)])
    found = walked(with_note)
    assert [e.locator.name for e in found.entries] == ["source", "a.jpg", "b.jpg"]
    assert len(PICTURES) == 5


@pytest.mark.parametrize("stored", [range(1, 4), range(1, 8), range(2, 30)])
@pytest.mark.parametrize("limit", [1500, 2500, 4000])
def test_what_is_passed_over_counts_so_that_a_limit_is_met_at_the_same_place(stored, limit):
    """A walk that goes on where another was stopped ends every item as that would have."""
    inner = zip_of([(b"%d" % n, picture(n)) for n in range(20, 25)])
    data = zip_of([(b"%d" % n, picture(n)) for n in range(9)] + [(b"inner.zip", inner)], method=8)
    budget = Budget(bytes=limit)
    whole = walked(data, budget)
    again = walked(data, budget, lambda position: position not in stored)
    assert Outcome.OVER_BUDGET in {entry.outcome for entry in whole.entries}
    assert [(e.locator, e.members, e.position) for e in whole.entries] == [
        (e.locator, e.members, e.position) for e in again.entries
    ]
    left = [n for n in range(len(whole.entries)) if n not in stored]
    assert [whole.entries[n] for n in left] == [again.entries[n] for n in left]


def test_a_size_that_is_too_good_to_be_true_is_checked():
    """Passed over unread it would use up the budget of its neighbours."""
    members = [Zipped(b"0", picture(0), method=8, size=1 << 40, zip64=True), Zipped(b"1", picture(1))]
    data, budget = zipped(members), Budget(bytes=1 << 30)
    whole, again = walked(data, budget), walked(data, budget, lambda position: position != 1)
    assert whole.entries[2].payload == again.entries[2].payload == picture(1)
