"""Zips as they come, and as they are made by those who hope that nobody looks."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import replace

import pytest
from archives import PICTURES, Zipped, picture, walked, zip_of, zipped

from leakmatch.records import Budget, ItemKind, Outcome
from leakmatch.sources.archives.zip import entries as zip_entries
from leakmatch.sources.archives.zip.reader import Zip
from leakmatch.sources.meter import Meter
from leakmatch.sources.opening import Opening

PHOTO = picture(1)
OTHER = picture(2)
GOOD = Zipped(b"good.jpg", OTHER)


# Members that cannot be read, or not as they should


@pytest.mark.parametrize("method", [0, 8])
def test_a_locked_member(method):
    walk = walked(zipped([Zipped(b"locked.jpg", PHOTO, method, flags=1), GOOD]))
    locked = walk.named(b"locked.jpg")
    assert (locked.outcome, locked.kind, locked.sha256) == (Outcome.NEEDS_PASSWORD, ItemKind.OTHER, None)
    assert walk.codes_of(locked) == {"encrypted"}
    assert walk.pictures == [OTHER]
    assert walk.root.outcome is Outcome.WALKED


@pytest.mark.parametrize("method", [1, 6, 97, 1234])
def test_a_method_that_is_not_read(method):
    walk = walked(zipped([Zipped(b"odd.jpg", PHOTO, method), GOOD]))
    assert walk.named(b"odd.jpg").outcome is Outcome.UNREADABLE
    assert str(method) in walk.named(b"odd.jpg").detail
    assert walk.codes == {"unsupported"}
    assert walk.pictures == [OTHER]


@pytest.mark.parametrize("method", [0, 8])
def test_a_wrong_checksum_is_told_and_the_picture_looked_at(method):
    walk = walked(zipped([Zipped(b"x.jpg", PHOTO, method, crc=1), Zipped(b"x.txt", b"text", method, crc=1)]))
    photo, text = walk.below(1)
    assert photo.payload == PHOTO
    assert photo.outcome is None
    assert walk.codes_of(photo) == {"corrupt"}
    assert text.outcome is Outcome.UNREADABLE
    assert text.sha256 is None


@pytest.mark.parametrize(("size", "code"), [(len(PHOTO) + 1, "truncated"), (len(PHOTO) - 1, "corrupt")])
def test_a_wrong_size_is_told_and_the_picture_looked_at(size, code):
    walk = walked(zipped([Zipped(b"x.jpg", PHOTO, 8, size=size), GOOD]))
    assert walk.pictures == [PHOTO, OTHER]
    assert walk.codes_of(walk.named(b"x.jpg")) == {code}


def test_damage_inside_a_member_costs_only_what_follows_in_it():
    data = b"\xff\xd8\xff" + bytes(range(256)) * 400
    archive = bytearray(zipped([Zipped(b"x.jpg", data, 8), GOOD]))
    archive[300] ^= 0xFF
    walk = walked(bytes(archive))
    assert (walk.named(b"x.jpg").payload or b"").startswith(data[:100])
    assert walk.codes_of(walk.named(b"x.jpg"))
    assert walk.named(b"good.jpg").payload == OTHER


def test_names_that_disagree():
    walk = walked(zipped([Zipped(b"holiday.jpg", PHOTO, local_name=b"\x1b[2Jpassport.jpg")]))
    assert walk.members() == [(b"holiday.jpg", PHOTO)]
    (incident,) = walk.incidents
    assert incident.code == "ambiguous"
    assert "passport.jpg" in incident.message
    assert incident.message.isprintable()


def test_a_member_without_a_header_of_its_own():
    walk = walked(zipped([GOOD, Zipped(b"wrong.jpg", b"", header=3), Zipped(b"nowhere.jpg", b"", header=10**6)]))
    assert walk.named(b"good.jpg").payload == OTHER
    for name in (b"wrong.jpg", b"nowhere.jpg"):
        listed, unlisted = [e for e in walk.entries if e.locator.raw == name]
        assert listed.outcome is Outcome.UNREADABLE
        assert unlisted.size == 0  # found by the header that the directory does not point to


def test_a_symbolic_link_is_told_and_what_hides_behind_its_name_looked_at():
    walk = walked(zipped([Zipped(b"link", b"../../etc/passwd", mode=0o120777), Zipped(b"x.jpg", PHOTO, mode=0o120777)]))
    link, photo = walk.below(1)
    assert link.outcome is Outcome.NOT_IMAGE
    assert photo.payload == PHOTO
    assert walk.codes_of(link) == walk.codes_of(photo) == {"link"}


def test_folders_are_left_out_and_data_behind_their_name_is_not():
    walk = walked(zipped([Zipped(b"folder/"), Zipped(b"folder/a.jpg", PHOTO), Zipped(b"not one/", OTHER)]))
    assert walk.members() == [(b"folder/a.jpg", PHOTO), (b"not one/", OTHER)]
    assert not walk.incidents


def test_the_unicode_name_beside_an_old_one():
    raw, name = b"?.jpg", "猫.jpg"
    field = b"\x01" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    extra = struct.pack("<HH", 0x7075, len(field)) + field
    assert walked(zipped([Zipped(raw, PHOTO, extra=extra)])).below(1)[0].locator.name == name
    stale = extra.replace(struct.pack("<I", zlib.crc32(raw)), b"\0\0\0\0")
    assert walked(zipped([Zipped(raw, PHOTO, extra=stale)])).below(1)[0].locator.name == "?.jpg"


def test_declared_utf8_that_is_none():
    walk = walked(zipped([Zipped(b"\xff\xfe.jpg", PHOTO, flags=0x800)]))
    assert walk.members() == [(b"\xff\xfe.jpg", PHOTO)]
    assert walk.below(1)[0].locator.name == "\udcff\udcfe.jpg"


# Where the directory is, and where there is none


@pytest.mark.parametrize("prefix", [b"MZ" + bytes(5000), b"#!/bin/sh\n", b"PK\x03\x04 is how it begins", bytes(70_000)])
@pytest.mark.parametrize("comment", [b"", b"a comment", b"PK\x05\x06" + bytes(30)])
def test_a_self_extractor(prefix, comment):
    walk = walked(zipped([Zipped(name, data, 8) for name, data in PICTURES], prefix, comment))
    assert walk.members() == PICTURES
    assert (walk.root.kind, walk.root.outcome) == (ItemKind.CONTAINER, Outcome.WALKED)


def test_a_self_extractor_whose_offsets_count_from_the_beginning():
    members = [Zipped(b"a.jpg", PHOTO, header=5000), Zipped(b"b.jpg", OTHER, header=5000 + 35 + len(PHOTO))]
    archive = bytearray(zipped(members, b"MZ" + bytes(4998)))
    start = archive.rfind(b"PK\x05\x06") + 16
    archive[start : start + 4] = struct.pack("<I", struct.unpack_from("<I", archive, start)[0] + 5000)
    assert walked(bytes(archive)).pictures == [PHOTO, OTHER]


def test_a_self_extractor_signed_behind_its_end():
    assert walked(zipped([GOOD], b"MZ" + bytes(999)) + b"signature" * 99).pictures == [OTHER]


def test_a_program_is_no_container():
    assert walked(b"MZ" + bytes(2_000_000)).root.outcome is Outcome.NOT_IMAGE


@pytest.mark.parametrize("described", [False, True])
def test_without_a_directory_members_are_found_by_their_headers(described):
    archive = zipped([Zipped(name, data, 8, described=described) for name, data in PICTURES])
    walk = walked(archive[: archive.find(b"PK\x01\x02")])
    assert walk.members() == PICTURES
    assert walk.root.outcome is Outcome.PARTIAL
    assert walk.codes == {"truncated"}


def test_without_a_directory_nested_zips_are_not_taken_apart_twice():
    inner = zip_of(PICTURES)
    for nested in (Zipped(b"in.zip", inner), Zipped(b"in.zip", inner, described=True)):
        archive = zipped([Zipped(b"a.jpg", PHOTO, 8), nested, Zipped(b"b.jpg", OTHER, 8)])
        walk = walked(archive[: archive.rfind(b"PK\x01\x02") - 1])
        assert [e.locator.raw for e in walk.below(1)] == [b"a.jpg", b"in.zip", b"b.jpg"]
        assert walk.members(2) == PICTURES


def test_a_nested_zip_at_the_cut_is_not_taken_apart_twice():
    archive = zipped([Zipped(b"a.jpg", PHOTO, 8), Zipped(b"in.zip", zip_of(PICTURES))])
    walk = walked(archive[: len(archive) // 2])
    assert [e.locator.raw for e in walk.below(1)] == [b"a.jpg", b"in.zip"]
    assert walk.members(2)[0] == PICTURES[0]


def test_a_size_that_leads_nowhere_hides_nothing():
    members = [Zipped(b"a.jpg", PHOTO, stored=10**9, size=10**9), GOOD]
    archive = zipped(members)
    walk = walked(archive[: archive.find(b"PK\x01\x02")])
    assert OTHER in [e.payload for e in walk.below(1)]


def test_descriptors_without_signature():
    archive = zipped([Zipped(name, data, 8, described=True, signed=False) for name, data in PICTURES])
    walk = walked(archive[: archive.find(b"PK\x01\x02")])
    assert walk.members() == PICTURES


@pytest.mark.parametrize("where", range(5))
def test_a_damaged_directory_loses_nothing(where):
    archive = bytearray(zip_of(PICTURES, 8))
    at = [i for i in range(len(archive)) if archive[i : i + 4] == b"PK\x01\x02"][where]
    archive[at + 1] ^= 0xFF
    walk = walked(bytes(archive))
    assert sorted(walk.members()) == sorted(PICTURES)
    assert walk.root.outcome in (Outcome.UNREADABLE, Outcome.PARTIAL)


def test_a_header_that_only_looks_like_one():
    noise = b"PK\x03\x04" + bytes(40) + b"PK\x03\x04" * 3000
    archive = zipped([GOOD], prefix=noise)
    walk = walked(archive[: archive.rfind(b"PK\x01\x02")])
    assert walk.named(b"good.jpg").payload == OTHER


def test_members_that_the_directory_does_not_list():
    members = [Zipped(b"hidden first.jpg", picture(7), listed=False), GOOD, Zipped(b"folder/")]
    members += [Zipped(b"hidden.jpg", PHOTO, 8, listed=False), Zipped(b"b.jpg", picture(3), 8)]
    members += [Zipped(b"hidden last.jpg", picture(8), described=True, listed=False)]
    walk = walked(zipped(members))
    assert walk.members() == [
        (b"good.jpg", OTHER),
        (b"b.jpg", picture(3)),
        (b"hidden first.jpg", picture(7)),
        (b"hidden.jpg", PHOTO),
        (b"hidden last.jpg", picture(8)),
    ]
    assert walk.codes == {"corrupt"}
    assert walk.root.outcome is Outcome.WALKED


def test_an_archive_before_the_archive():
    walk = walked(zip_of([(b"secret.jpg", PHOTO)], 8) + zip_of([(b"holiday.jpg", OTHER)]))
    assert walk.members() == [(b"holiday.jpg", OTHER), (b"secret.jpg", PHOTO)]
    assert walk.codes == {"ambiguous"}


# Two readings


def patched(archive: bytes, at: int, value: int, size: int) -> bytes:
    """A local header (the first) with another value in a field."""
    return archive[:at] + value.to_bytes(size, "little") + archive[at + size :]


@pytest.mark.parametrize(
    ("at", "size", "value", "readings"),
    [
        (8, 2, 0, 2),  # the method: by its own header it is stored
        (18, 4, 100, 2),  # the stored size
        (6, 2, 1, 2),  # by its own header it is locked
        (14, 4, 7, 1),  # the CRC: the same bytes come out
        (22, 4, 7, 1),  # the size
    ],
)
def test_a_member_whose_own_header_contradicts_the_directory_is_read_both_ways(at, size, value, readings):
    archive = zipped([Zipped(b"a.jpg", PHOTO, 8), GOOD])
    walk = walked(patched(archive, at, value, size))
    assert [e.payload for e in walk.below(1)][:2] == [PHOTO, OTHER]
    assert "ambiguous" in walk.codes_of(walk.below(1)[0])
    assert len(walk.below(1)) == 1 + readings
    for second in walk.below(1)[2:]:
        assert second.locator.raw == b"a.jpg"
        assert "ambiguous" in walk.codes_of(second)


def test_what_is_hidden_behind_a_method_that_the_directory_denies():
    """The directory says that it is stored, and so shows garbage; its own header knows better."""
    archive = zipped([Zipped(b"a.jpg", PHOTO, 8), GOOD])
    at = archive.find(b"PK\x01\x02") + 10
    walk = walked(archive[:at] + b"\0\0" + archive[at + 2 :])
    assert [e.payload for e in walk.below(1)] == [None, OTHER, PHOTO]
    assert walk.below(1)[0].outcome is Outcome.UNREADABLE


def test_headers_that_leave_the_sizes_open_contradict_nothing():
    archive = zipped([Zipped(b"a.jpg", PHOTO, 8), GOOD])
    assert not walked(archive[:14] + bytes(12) + archive[26:]).incidents


def test_a_comment_that_hides_another_directory():
    """Two end records; programs that search from the end find one, those that go by the first find the other."""
    inner = zip_of([(b"hidden.jpg", PHOTO)])
    archive = zipped([GOOD, Zipped(b"b.jpg", picture(3), 8)], comment=inner)
    walk = walked(archive)
    assert sorted(walk.members()) == sorted([(b"good.jpg", OTHER), (b"b.jpg", picture(3)), (b"hidden.jpg", PHOTO)])
    assert walk.codes_of(walk.root) == {"ambiguous"}


def test_a_directory_that_shows_into_the_data_of_a_member():
    """The second directory lists what the first has as a part of one stored member."""
    carrier = Zipped(b"carrier.txt", b"text" + zipped([Zipped(b"hidden.jpg", PHOTO, listed=False)])[: 40 + len(PHOTO)])
    archive = zipped([carrier])
    start = 30 + len(b"carrier.txt") + 4
    directory = zipped([Zipped(b"hidden.jpg", PHOTO, header=start)])
    entry = directory[directory.find(b"PK\x01\x02") : directory.rfind(b"PK\x05\x06")]
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(archive), 0)
    walk = walked(archive + entry + end)
    assert PHOTO in [e.payload for e in walk.below(1)]
    assert walk.named(b"carrier.txt").outcome is Outcome.NOT_IMAGE


def test_an_end_record_whose_two_halves_point_to_two_directories():
    hidden = zipped([Zipped(b"hidden.jpg", PHOTO)])
    start, end = hidden.find(b"PK\x01\x02"), hidden.rfind(b"PK\x05\x06")
    # The hidden member and its directory lie before the archive proper, from 0.
    record = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, end - start, start, 0)
    body = zipped([Zipped(b"shown.jpg", OTHER, zip64=True)])
    at64 = body.find(b"PK\x06\x06")
    entry = bytearray(body[body.find(b"PK\x01\x02") : at64])
    entry[-8:] = struct.pack("<Q", end)
    local = body[: body.find(b"PK\x01\x02")]
    place = end + len(local)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(entry), place)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, place + len(entry), 1)
    walk = walked(hidden[:end] + local + bytes(entry) + end64 + locator + record)
    assert sorted(walk.members()) == [(b"hidden.jpg", PHOTO), (b"shown.jpg", OTHER)]
    assert "ambiguous" in walk.codes


def test_a_zip_stored_at_the_end_of_a_zip_is_no_second_directory():
    walk = walked(zip_of([(b"a.jpg", OTHER), (b"in.zip", zip_of(PICTURES))]))
    assert not walk.incidents
    assert walk.members(2) == PICTURES
    assert len(walk.below(1)) == 2


@pytest.mark.parametrize("announced", [0, 1, 9])
def test_a_directory_that_cannot_count(announced):
    walk = walked(zipped([Zipped(name, data) for name, data in PICTURES], announced=announced))
    assert walk.members() == PICTURES
    assert walk.codes == {"corrupt"}


def test_members_in_another_order_than_their_data():
    archive = zip_of(PICTURES, 8)
    start, stop = archive.find(b"PK\x01\x02"), archive.find(b"PK\x05\x06")
    entries = [b"PK\x01\x02" + part for part in archive[start:stop].split(b"PK\x01\x02")[1:]]
    walk = walked(archive[:start] + b"".join(reversed(entries)) + archive[stop:])
    assert sorted(walk.members()) == sorted(PICTURES)
    assert not walk.incidents


def test_members_that_lie_on_top_of_each_other_are_read_and_told():
    walk = walked(
        zipped([Zipped(b"a.jpg", PHOTO), Zipped(b"b.jpg", b"", header=0, stored=len(PHOTO), size=len(PHOTO))])
    )
    assert walk.below(1)[0].payload == PHOTO
    assert "corrupt" in walk.codes


def test_a_bomb_of_overlapping_members_ends(monkeypatch):
    kernel = Zipped(b"kernel", bytes(1_000_000), 8)
    packed = len(zipped([kernel]))
    members = [kernel, *(replace(kernel, name=b"%d" % n, data=b"", header=0) for n in range(200))]
    known = zipfile.ZipFile(io.BytesIO(zipped([kernel]))).infolist()[0]
    truth = {"crc": known.CRC, "size": known.file_size, "stored": known.compress_size}
    members = [kernel, *(replace(member, **truth) for member in members[1:])]
    given: list[int] = []
    count = Meter.add_bytes
    monkeypatch.setattr(Meter, "add_bytes", lambda meter, size: (given.append(size), count(meter, size)))
    walk = walked(zipped(members), Budget(ratio=1000, ratio_floor=packed))
    assert Outcome.OVER_BUDGET in {e.outcome for e in walk.entries}
    assert sum(given) < 30_000_000  # not 200 MB


def test_a_bomb_that_claims_the_whole_file_costs_only_itself():
    """Its size is its own word; the room up to the next member is not."""
    good = [Zipped(b"%d.jpg" % n, picture(n)) for n in range(50)]
    bomb = Zipped(b"bomb", bytes(3_000_000), 12, stored=15_000)
    walk = walked(zipped([*good[:25], bomb, *good[25:]]), Budget(ratio=100, ratio_floor=500_000))
    assert walk.pictures == [member.data for member in good]
    assert walk.named(b"bomb").outcome is Outcome.OVER_BUDGET


def test_a_long_unicode_name_is_cut_like_any_other():
    field = b"\x01" + struct.pack("<I", zlib.crc32(b"a.jpg")) + b"\x01" * 60_000
    walk = walked(zipped([Zipped(b"a.jpg", PHOTO, extra=struct.pack("<HH", 0x7075, len(field)) + field)]))
    assert walk.members() == [(b"a.jpg", PHOTO)]
    assert walk.below(1)[0].locator.name == "\x01" * 4096


# Volumes


def test_the_last_volume_of_a_split_archive():
    members = [Zipped(b"before.jpg", b"", disk=0, size=9, stored=9), Zipped(b"here.jpg", PHOTO, disk=2)]
    walk = walked(zipped(members, disk=2))
    assert walk.below(1)[0].locator.raw == b"before.jpg"
    assert walk.below(1)[0].outcome is Outcome.NEEDS_VOLUME
    assert walk.named(b"here.jpg").payload == PHOTO
    assert walk.root.outcome is Outcome.NEEDS_VOLUME
    assert walk.codes >= {"volume-missing"}


def test_the_first_volume_of_a_split_archive():
    archive = zip_of(PICTURES, 8)
    walk = walked(b"PK\x07\x08" + archive[: archive.find(b"PK\x01\x02") - 100])
    assert walk.root.outcome is Outcome.NEEDS_VOLUME
    assert walk.members()[:4] == PICTURES[:4]


def test_a_split_archive_that_became_one_part():
    archive = zipped([Zipped(name, data, 8) for name, data in PICTURES], prefix=b"PK00")
    assert walked(archive).members() == PICTURES
    assert walked(archive).root.outcome is Outcome.WALKED


# Size


@pytest.mark.parametrize("by_zipfile", [False, True])
def test_more_members_than_the_old_directory_can_count(by_zipfile):
    count = 0x10001
    if by_zipfile:  # with zip64 records for the count
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for n in range(count):
                archive.writestr(zipfile.ZipInfo(str(n)), b"")
        data = file.getvalue()
    else:
        data = zipped([Zipped(b"%d" % n) for n in range(count)])
    archive = Zip(Opening("zip", io.BytesIO(data), len(data), ""))
    assert sum(1 for _ in archive.members()) == count
    assert not archive.notes


def test_a_directory_larger_than_is_read_at_once(monkeypatch):
    monkeypatch.setattr(zip_entries, "_DIRECTORY_BLOCK", 200)
    assert walked(zip_of(PICTURES * 5)).members() == PICTURES * 5
    assert not walked(zip_of(PICTURES * 5)).incidents


@pytest.mark.parametrize(
    "header",
    [
        b"PK\3\4" + b"0" * 22 + b"\4\0\x1c\0" + b"0" * 32,  # a method that there is not
        b"PK\3\4\x14\0\0\0\x0e" + bytes(21),  # no name
    ],
)
def test_a_lone_header_is_a_member_whatever_it_says(header):
    walk = walked(header)
    assert walk.root.outcome is Outcome.PARTIAL
    (member,) = walk.below(1)
    assert member.outcome in (Outcome.UNREADABLE, Outcome.PARTIAL)


def test_a_size_that_no_file_has():
    extra = struct.pack("<HHQQ", 1, 16, 1 << 63, 1 << 63)
    walk = walked(zipped([Zipped(b"x.jpg", PHOTO, size=0xFFFFFFFF, stored=0xFFFFFFFF, extra=extra), GOOD]))
    assert all(0 <= entry.size < 1 << 62 for entry in walk.entries)
