"""Locked zips: which password opens what, and what is told of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from archives import PASSWORD, PASSWORDS, PICTURES, Zipped, picture, walked, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.errors import ItemError
from leakmatch.records import Outcome
from leakmatch.sources.archives.zip import crypto as zip_crypto
from leakmatch.sources.archives.zip import locks as zip_locks
from leakmatch.sources.archives.zip.crypto import (
    by_libarchive,
    by_reference,
    readings,
    traditional_encrypt,
    traditional_keys,
)

PHOTO = picture(1, 9000)
LOCKS = [{"aes": 0}, {"aes": 128}, {"aes": 192, "aes_version": 1}, {"aes": 256}, {"aes": 0, "described": True}]
CORPORA = Path(__file__).parents[5] / "shared" / "corpora" / "libarchive"


def locked(password: bytes = PASSWORD, name: bytes = b"a.jpg", data: bytes = PHOTO, method: int = 8, **how) -> Zipped:
    return Zipped(name, data, method, password=password, **how)


@pytest.mark.parametrize("method", [0, 8, 12, 14, 93, 95, 98, 9])
@pytest.mark.parametrize("how", LOCKS)
def test_a_password_of_the_list_opens_it_and_its_line_is_told(method, how):
    walk = walked(zipped([locked(method=method, **how), Zipped(b"open.jpg", picture(2))]))
    assert walk.pictures == [PHOTO, picture(2)]
    (incident,) = walk.incidents
    assert (incident.locator, incident.code) == (walk.root.locator, "password")
    assert f"line {len(PASSWORDS)} " in incident.message
    assert PASSWORD.decode() not in incident.message


@pytest.mark.parametrize("how", LOCKS)
@pytest.mark.parametrize("passwords", [(), (b"wrong",), tuple(b"wrong %d" % n for n in range(2000))])
def test_without_the_password_it_stays_locked(how, passwords):
    if how["aes"] and len(passwords) > 1:
        passwords = passwords[:50]
    walk = walked(zipped([locked(**how), Zipped(b"open.jpg", picture(2))]), passwords=passwords)
    assert walk.named(b"a.jpg").outcome is Outcome.NEEDS_PASSWORD
    assert walk.named(b"open.jpg").payload == picture(2)
    assert walk.codes == {"encrypted"}
    assert walk.root.outcome is Outcome.WALKED
    assert bool(passwords) == ("of the password list" in walk.named(b"a.jpg").detail)


def test_several_passwords_in_one_archive():
    """The traditional cipher's check is one byte: many of a long list pass it on any member."""
    lines = tuple(b"%d" % n for n in range(600))
    members = [locked(lines[n * 97 % 600], b"%d.jpg" % n, picture(n, 2000), method=n % 2 * 8) for n in range(12)]
    members += [locked(lines[n * 7], b"%d.jpg" % n, picture(n), aes=256) for n in range(12, 15)]
    walk = walked(zipped(members), passwords=lines)
    assert walk.pictures == [member.data for member in members]
    assert len([i for i in walk.incidents if i.code == "password"]) == len(members)


@pytest.mark.parametrize("encoding", ["utf-8", "cp437", "gbk", "latin-1"])
@pytest.mark.parametrize("how", LOCKS[:2])
def test_a_password_in_the_encoding_of_another_system(encoding, how):
    word = "密码" if encoding == "gbk" else "größe"
    walk = walked(zipped([locked(word.encode(encoding), **how)]), passwords=[b"x", word.encode()])
    assert walk.pictures == [PHOTO]
    assert "line 2 " in walk.incidents[0].message


def test_readings_of_a_password():
    assert readings(b"plain") == [b"plain"]
    assert readings(b"\xff\xfe") == [b"\xff\xfe"]
    assert readings("ö".encode()) == ["ö".encode(), b"\x94", b"\xf6"]


def test_a_list_that_is_too_long_for_every_member(monkeypatch):
    monkeypatch.setattr(zip_locks, "_MOST_TRIES", 500)
    members = [locked(b"unknown %d" % n, b"%d.jpg" % n, picture(n)) for n in range(5)] + [locked(b"known")]
    walk = walked(zipped(members), passwords=[b"known", *(b"%d" % n for n in range(300))])
    assert "too long" in walk.below(1)[4].detail
    assert walk.below(1)[5].outcome is Outcome.NEEDS_PASSWORD
    walk = walked(zipped(members[::-1]), passwords=[b"known", *(b"%d" % n for n in range(300))])
    assert walk.below(1)[0].payload == PHOTO


@pytest.mark.parametrize("flags", [0x41, 0x2041])
def test_strong_encryption_is_told(flags):
    walk = walked(zipped([Zipped(b"a.jpg", PHOTO, 8, flags=flags)]))
    assert walk.below(1)[0].outcome is Outcome.NEEDS_PASSWORD
    assert "PKWARE" in walk.below(1)[0].detail


def test_aes_that_does_not_say_how():
    walk = walked(zipped([Zipped(b"a.jpg", PHOTO, 99, flags=1)]))
    assert walk.below(1)[0].outcome is Outcome.UNREADABLE


@pytest.mark.parametrize("how", LOCKS)
@pytest.mark.parametrize("method", [0, 8])
def test_damage_in_a_locked_member_is_told(how, method):
    archive = bytearray(zipped([locked(method=method, **how), Zipped(b"open.jpg", picture(2))]))
    archive[7000] ^= 1
    walk = walked(bytes(archive))
    photo = walk.named(b"a.jpg")
    assert walk.codes_of(photo) <= {"corrupt", "truncated", "encrypted"}
    assert walk.codes_of(photo)
    assert walk.named(b"open.jpg").payload == picture(2)


def test_what_is_left_of_a_damaged_member_is_looked_at():
    for how in LOCKS:
        archive = bytearray(zipped([locked(data=b"\xff\xd8\xff" + b"%d " * 20_000, **how), locked(**how)]))
        archive[-1500 if how["aes"] else 300] ^= 1
        walk = walked(bytes(archive))
        assert len(walk.below(1)) == 2


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(LOCKS), st.sampled_from([0, 8, 98]), st.data())
def test_any_truncation_or_damage_ends_in_rows(how, method, data):
    archive = zipped([locked(name=name, data=photo, method=method, **how) for name, photo in PICTURES])
    at = data.draw(st.integers(0, len(archive) - 1))
    if data.draw(st.booleans()):
        walk = walked(archive[:at])
    else:
        walk = walked(archive[:at] + bytes((data.draw(st.integers(0, 255)),)) + archive[at + 1 :])
    originals = {photo for _, photo in PICTURES}
    for entry in walk.below(1):
        sound = entry.payload in originals or entry.outcome is Outcome.NOT_IMAGE
        assert sound or walk.codes_of(entry) or walk.root.outcome is not Outcome.WALKED


# The cipher


@given(
    st.binary(max_size=200_000),
    st.binary(min_size=1, max_size=20).filter(lambda p: 0 not in p),
    st.binary(min_size=12, max_size=12),
)
@settings(max_examples=30, deadline=None)
def test_libarchive_and_the_reference_give_the_same(data, password, header):
    pytest.importorskip("leakmatch.sources.archives.libarchive.binding").library()
    member, _ = traditional_encrypt(traditional_keys(password), header + data)
    plain = b"".join(by_reference(io.BytesIO(member), password))
    assert plain == data
    assert b"".join(by_libarchive(io.BytesIO(member), len(data), password)) == plain
    cut = len(member) * 2 // 3
    given_back = b""
    try:
        for block in by_libarchive(io.BytesIO(member[:cut]), len(data), password):
            given_back += block
    except ItemError:
        pass
    assert given_back == data[: max(cut - 12, 0)]


def test_without_libarchive_the_reference_is_used(monkeypatch):
    monkeypatch.setattr(zip_crypto, "_has_libarchive", lambda: False)
    assert walked(zipped([locked(aes=0)])).pictures == [PHOTO]


# Samples of others


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the shared samples are not beside the repository")
@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("libarchive/test/test_read_format_zip_traditional_encryption_data.zip", 2),
        ("libarchive/test/test_read_format_zip_winzip_aes128.zip", 1),
        ("libarchive/test/test_read_format_zip_winzip_aes256.zip", 1),
        ("libarchive/test/test_read_format_zip_winzip_aes256_stored.zip", 1),
        *(
            (f"libarchive/test/test_read_format_zip_winzip_aes256_large{m}.zip", 4)
            for m in ("", "_bzip2", "_lzma", "_ppmd", "_xz", "_zstd")
        ),
        ("unzip/test/test_encrypted.zip", 1),
    ],
)
def test_samples(name, members):
    walk = walked(CORPORA / name, passwords=[b"wrong", b"password", b"12345678"])
    assert len(walk.below(1)) == members
    assert {entry.outcome for entry in walk.below(1)} == {Outcome.NOT_IMAGE}
    assert walk.codes == {"password"}
