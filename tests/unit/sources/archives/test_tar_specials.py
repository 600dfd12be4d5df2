"""Tars of every age, whole and damaged."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile

import pytest
from archives import END_OF_TAR, PICTURES, padded, pax, picture, tar_header, tar_member, tar_of, walked

from leakmatch.records import Budget, Outcome
from leakmatch.sources.archives.tar.headers import MAX_EXTENSION, number

PHOTO = picture(1)
OTHER = picture(2, 3000)
GOOD = tar_member(b"good.jpg", OTHER)


def whole(*parts: bytes) -> bytes:
    return b"".join(parts) + END_OF_TAR


# Headers


@pytest.mark.parametrize("kind", [b"\0", b"0", b"7", b"D", b"Z"])
@pytest.mark.parametrize("magic", [b"", b"ustar\x0000", b"ustar  \0"])
def test_kinds_that_have_data(kind, magic):
    walk = walked(whole(tar_member(b"a.jpg", PHOTO, kind, magic), GOOD))
    assert walk.members() == [(b"a.jpg", PHOTO), (b"good.jpg", OTHER)]
    assert not walk.incidents


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6", b"V"])
@pytest.mark.parametrize("size", [0, 4000])
def test_kinds_that_have_none(kind, size):
    walk = walked(whole(tar_header(b"special", size, kind), GOOD))
    special, good = walk.below(1)
    assert (special.outcome, special.size) == (Outcome.NOT_IMAGE, 0)
    assert walk.codes_of(special) == {"link"}
    assert good.payload == OTHER
    assert walk.root.outcome is Outcome.WALKED


@pytest.mark.parametrize("kind", [b"1", b"2", b"5", b"V"])
def test_data_where_there_should_be_none_is_looked_at(kind):
    walk = walked(whole(tar_member(b"hidden.jpg", PHOTO, kind), GOOD))
    assert walk.members() == [(b"hidden.jpg", PHOTO), (b"good.jpg", OTHER)]
    assert walk.codes_of(walk.named(b"hidden.jpg")) == {"link"}


def test_folders_are_left_out():
    parts = (tar_header(b"new/", 0, b"5"), tar_header(b"old/", 0, b"\0", b""), tar_header(b"with size", 512, b"5"))
    walk = walked(whole(*parts, GOOD))
    assert walk.members() == [(b"good.jpg", OTHER)]
    assert not walk.incidents


def test_the_rest_of_a_member_from_an_earlier_volume():
    walk = walked(whole(tar_member(b"rest.jpg", b"...", b"M"), GOOD))
    assert walk.codes_of(walk.named(b"rest.jpg")) == {"volume-missing"}
    assert walk.named(b"good.jpg").payload == OTHER


def test_a_prefix_only_where_the_format_has_one():
    header = bytearray(tar_header(b"name.jpg", 0))
    header[345:351] = b"folder"
    for magic, name in ((b"ustar\x0000", b"folder/name.jpg"), (b"ustar  \0", b"name.jpg")):
        header[257:265] = magic
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        assert walked(whole(bytes(header))).below(1)[0].locator.raw == name


@pytest.mark.parametrize(
    ("field", "size"),
    [
        (b"00000000644\0", 0o644),
        (b"        644 ", 0o644),
        (b"644\0garbage!", 0o644),
        (b"000000000644", 0o644),
        (b"\x80" + (5000).to_bytes(11, "big"), 5000),
        (b"\0" * 12, 0),
    ],
)
def test_sizes_as_they_are_written(field, size):
    assert number(field) == size
    data = b"\xff\xd8\xff".ljust(size, b"x")[:size]
    walk = walked(whole(tar_header(b"a.jpg", field) + padded(data), GOOD))
    assert [e.size for e in walk.below(1)] == [size, len(OTHER)]


@pytest.mark.parametrize("field", [b"\xff" * 12, b"-0000000001\0", b"not a number", b"99999999999\0"])
def test_a_size_that_is_none_costs_only_its_member(field):
    walk = walked(whole(tar_header(b"a.jpg", field), padded(PHOTO), GOOD))
    assert walk.members() == [(b"good.jpg", OTHER)]
    assert walk.root.outcome is Outcome.UNREADABLE
    assert walk.codes_of(walk.root) == {"corrupt"}


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\xff" * 11])
def test_a_size_beyond_the_end(size):
    walk = walked(whole(tar_header(b"a.jpg", size), padded(PHOTO)))
    (photo,) = walk.below(1)
    assert (photo.payload or b"").startswith(PHOTO)
    assert walk.codes_of(photo) <= {"truncated", "corrupt"}
    assert walk.root.outcome in (Outcome.PARTIAL, Outcome.UNREADABLE)


def test_fields_that_nobody_needs_may_be_garbage():
    header = bytearray(tar_header(b"a.jpg", len(PHOTO)))
    header[100:124] = header[136:148] * 2
    header[136:148] = b"last summer!"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    walk = walked(whole(bytes(header), padded(PHOTO), GOOD))
    assert walk.pictures == [PHOTO, OTHER]
    assert not walk.incidents


# Extensions


def test_pax_records():
    long = "ордер/".encode() * 60 + b"x.jpg"
    parts = [
        pax({"mtime": b"1", "path": long, "SCHILY.xattr.user.x": bytes(range(256))}),
        tar_member(b"short", PHOTO),
        pax({"size": b"%d" % len(PHOTO)}),
        tar_header(b"sized.jpg", 0) + padded(PHOTO),
        pax({"path": b"\xff\xfe.jpg", "hdrcharset": b"BINARY"}),
        tar_member(b"x", OTHER),
        pax({}),
        tar_member(b"plain.jpg", PHOTO),
    ]
    walk = walked(whole(*parts))
    assert walk.members() == [(long, PHOTO), (b"sized.jpg", PHOTO), (b"\xff\xfe.jpg", OTHER), (b"plain.jpg", PHOTO)]
    assert not walk.incidents


def test_global_records_hold_for_all_that_follow_unless_they_have_their_own():
    parts = [
        pax({"comment": b"0123456789abcdef", "path": b"global.jpg"}, b"g"),
        tar_member(b"a", PHOTO),
        pax({"path": b"own.jpg"}),
        tar_member(b"b", OTHER),
    ]
    walk = walked(whole(*parts))
    assert walk.members() == [(b"global.jpg", PHOTO), (b"own.jpg", OTHER)]
    assert not walk.incidents
    assert [e.outcome for e in walked(whole(pax({"comment": b"x"}, b"g"))).entries] == [Outcome.WALKED]


def test_gnu_long_names():
    long = b"d" * 300 + b"/x.jpg"
    parts = [tar_member(b"././@LongLink", long + b"\0", b"L"), tar_member(b"short", PHOTO)]
    link = [tar_member(b"././@LongLink", long + b"\0", b"K"), tar_header(b"link", 0, b"2")]
    walk = walked(whole(*parts, *link, GOOD))
    assert [e.locator.raw for e in walk.below(1)] == [long, b"link", b"good.jpg"]


@pytest.mark.parametrize("size", [MAX_EXTENSION + 1, 7 << 30])
@pytest.mark.parametrize("kind", [b"L", b"x", b"g"])
def test_extensions_that_would_fill_the_memory(kind, size):
    walk = walked(whole(tar_header(b"big", size, kind), tar_member(b"a.jpg", PHOTO)))
    assert walk.pictures == [PHOTO]
    assert walk.codes_of(walk.root) == {"corrupt"}


def test_global_records_that_would_fill_the_memory():
    parts = [pax({f"GNU.sparse.{n}": b"x" * 30_000}, b"g") for n in range(9)]
    walk = walked(whole(*parts, GOOD))
    assert walk.pictures == [OTHER]
    assert walk.codes == {"corrupt"}


@pytest.mark.parametrize(
    "text", [b"no length\n", b"5 a=b", b"0 a=b\n", b"99999999999999999999999 a=b\n", b"-5 a=b\n", b"2 "]
)
def test_damaged_pax_records_cost_only_their_member(text):
    walk = walked(whole(tar_member(b"pax", text, b"x"), tar_member(b"a.jpg", PHOTO), GOOD))
    assert (b"good.jpg", OTHER) in walk.members()


def test_an_extension_with_nothing_behind_it():
    walk = walked(whole(GOOD, pax({"path": b"x"})))
    assert walk.pictures == [OTHER]
    assert walk.root.outcome is Outcome.UNREADABLE


# Damage, and the end


def test_reading_goes_on_behind_a_damaged_header():
    archive = bytearray(tar_of(PICTURES))
    archive[archive.find(b"0/photo 2")] ^= 0xFF
    walk = walked(bytes(archive))
    assert walk.members() == [member for member in PICTURES if b"photo 2" not in member[0]]
    assert walk.root.outcome is Outcome.UNREADABLE
    assert walk.codes == {"corrupt"}


def test_reading_goes_on_behind_an_end_mark():
    walk = walked(tar_of(PICTURES) + bytes(512 * 300) + tar_of([(b"second.jpg", PHOTO)]))
    assert walk.members() == [*PICTURES, (b"second.jpg", PHOTO)]
    assert walk.root.outcome is Outcome.WALKED
    assert walk.codes == {"corrupt"}


def test_zeros_behind_the_end_are_nothing_to_tell():
    for zeros in (512, 1024, 10_240, 1_000_000, 700):
        assert not walked(GOOD + bytes(zeros)).incidents


def test_what_lies_behind_the_end_mark_is_told():
    walk = walked(tar_of(PICTURES) + b"PK\x03\x04 or so")
    assert walk.members()[: len(PICTURES)] == PICTURES
    assert walk.codes_of(walk.root) == {"ambiguous"}


def test_no_end_mark():
    walk = walked(GOOD + tar_member(b"a.jpg", PHOTO))
    assert walk.pictures == [OTHER, PHOTO]
    assert walk.root.outcome is Outcome.PARTIAL
    assert walk.codes == {"truncated"}


# Sparse files


def old_sparse(name: bytes, data: bytes, size: int, extents: list[tuple[int, int]]) -> bytes:
    """As GNU tar wrote them, with blocks of further extents where the header has no room for all."""
    header = bytearray(tar_header(name, len(data), b"S", b"ustar  \0"))
    numbers = b"".join(b"%011o\0%011o\0" % extent for extent in extents)
    header[386 : 386 + min(len(numbers), 96)] = numbers[:96]
    header[482] = len(extents) > 4
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more = b""
    for start in range(4, len(extents), 21):
        block = numbers[24 * start : 24 * (start + 21)].ljust(504, b"\0")
        more += block + bytes([start + 21 < len(extents)]) + bytes(7)
    return bytes(header) + more + padded(data)


@pytest.mark.parametrize("count", [1, 4, 5, 25, 30, 60])
def test_old_gnu_sparse_files(count):
    extents = [(n * 1000, 512) for n in range(count)]
    data = PHOTO[:512].ljust(512, b"x") + b"y" * 512 * (count - 1)
    expected = b"".join(data[512 * n : 512 * n + 512].ljust(1000, b"\0") for n in range(count))
    walk = walked(whole(old_sparse(b"a.jpg", data, 1000 * count, extents), GOOD))
    assert walk.members() == [(b"a.jpg", expected), (b"good.jpg", OTHER)]
    assert not walk.incidents


DATA = PHOTO[:300] + b"z" * 100
REAL = PHOTO[:300] + bytes(700) + b"z" * 100 + bytes(900)
PAX_SPARSE = {
    "0.1": pax({"GNU.sparse.size": b"2000", "GNU.sparse.name": b"a.jpg", "GNU.sparse.map": b"0,300,1000,100"})
    + tar_member(b"x", DATA),
    "1.0": pax(
        {
            "GNU.sparse.major": b"1",
            "GNU.sparse.minor": b"0",
            "GNU.sparse.name": b"a.jpg",
            "GNU.sparse.realsize": b"2000",
        }
    )
    + tar_member(b"x", b"2\n0\n300\n1000\n100\n".ljust(512, b"\0") + DATA),
}


@pytest.mark.parametrize("version", PAX_SPARSE)
def test_sparse_files_of_pax(version):
    walk = walked(whole(PAX_SPARSE[version], GOOD))
    assert walk.members() == [(b"a.jpg", REAL), (b"good.jpg", OTHER)]
    assert not walk.incidents


def test_sparse_files_of_the_first_pax_version():
    records = b""
    for key, value in [("size", 2000), ("offset", 0), ("numbytes", 300), ("offset", 1000), ("numbytes", 100)]:
        records += pax({f"GNU.sparse.{key}": b"%d" % value})[512:].rstrip(b"\0")
    walk = walked(whole(tar_member(b"pax", records, b"x"), tar_member(b"a.jpg", DATA), GOOD))
    assert walk.members() == [(b"a.jpg", REAL), (b"good.jpg", OTHER)]


@pytest.mark.parametrize(
    "broken",
    [
        pax({"GNU.sparse.size": b"2000", "GNU.sparse.map": b"0,300,100,100"}),
        pax({"GNU.sparse.size": b"2000", "GNU.sparse.map": b"0,-300"}),
        pax({"GNU.sparse.size": b"2000", "GNU.sparse.map": b"0,3000"}),
        pax({"GNU.sparse.size": b"-1"}),
        pax({"GNU.sparse.size": b"9" * 30}),
        pax({"GNU.sparse.major": b"1", "GNU.sparse.realsize": b"2000"}),
    ],
)
def test_broken_maps_cost_only_their_member(broken):
    walk = walked(whole(broken, tar_member(b"x", b"no map"), GOOD))
    assert walk.named(b"good.jpg").payload == OTHER
    assert walk.incidents


def test_a_sparse_file_of_exabytes_is_a_bomb():
    records = pax({"GNU.sparse.size": b"8" * 18, "GNU.sparse.map": b"0,400"})
    walk = walked(whole(records, tar_member(b"a.jpg", DATA), GOOD), Budget(ratio=10, ratio_floor=10_000))
    assert walk.named(b"a.jpg").outcome is Outcome.OVER_BUDGET
    assert walk.named(b"good.jpg").payload == OTHER
    assert walk.root.outcome is Outcome.WALKED


def test_an_endless_map_of_an_old_sparse_file():
    header = bytearray(old_sparse(b"a", b"", 10, [(0, 0)] * 5)[:512])
    block = (b"%011o\0%011o\0" % (1, 0)) * 21 + b"\1" + bytes(7)
    walk = walked(whole(bytes(header), block * 2100, GOOD))
    assert walk.pictures == [OTHER]
    assert walk.codes == {"corrupt"}


# Other writers


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
@pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_gnu_tar(tmp_path, format):
    folder = tmp_path / "in" / "a folder"
    folder.mkdir(parents=True)
    for name, data in PICTURES:
        (folder / name.decode().replace("/", " ")).write_bytes(data)
    with (folder / "sparse.jpg").open("wb") as file:
        file.write(PHOTO)
        file.seek(3 << 20)
        file.write(OTHER)
    (folder / "link").symlink_to("0 photo 0.jpg")
    arguments = ["tar", "-c", "--format", format, *(["-S"] if format in ("gnu", "posix") else []), "in"]
    data = subprocess.run(arguments, cwd=tmp_path, check=True, capture_output=True).stdout
    walk = walked(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        listed = [info for info in archive.getmembers() if not info.isdir()]
        expected = [(info.name.encode(), archive.extractfile(info).read() if info.isfile() else b"") for info in listed]
    assert walk.members() == expected
    assert walk.root.outcome is Outcome.WALKED
