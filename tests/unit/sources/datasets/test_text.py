"""Pictures in base64 in every kind of text, and texts that are left alone."""

from __future__ import annotations

import base64
import email.message
import json

import datasets
import pytest
from archives import COMPRESS, PICTURES, picture, tar_of, walked, zip_of

from leakmatch.records import Outcome
from leakmatch.sources.datasets.signatures import is_picture

PHOTOS = [data for _, data in PICTURES]
TEXT = base64.b64encode(picture(1)).decode()


def names(walk):
    return [e.locator.name for e in walk.below(1)]


def test_ms_celeb():
    lines = b"".join(
        b"m.0%d\t%d\thttp://example.org/a.jpg\tFaceId-0\tAAAAAJmZ2T4=\t%b\n" % (n, n, base64.b64encode(data))
        for n, data in enumerate(PHOTOS)
    )
    walk = walked(lines)
    assert walk.pictures == PHOTOS
    assert names(walk) == [f"m.0{n}/{n + 1}" for n in range(5)]
    assert walk.root.outcome is Outcome.WALKED
    assert not walk.incidents


@pytest.mark.parametrize("separator", [",", ";", "|", " ", "\t"])
def test_other_separators_and_one_column(separator):
    text = f'name{separator}photo\r\nsomebody{separator}{TEXT}\r\nsomebody{separator}"{TEXT}"\r\n'
    assert walked(text.encode()).pictures == [picture(1)] * 2
    assert walked((TEXT + "\n" + TEXT).encode()).pictures == [picture(1)] * 2


def test_json_at_any_depth():
    value = {"people": [{"name": "x", "photos": [{"a": {"b": [TEXT]}}, "data:image/jpeg;base64," + TEXT]}]}
    for indent in (None, 2):
        walk = walked(json.dumps(value, indent=indent).encode())
        assert walk.pictures == [picture(1)] * 2
    escaped = json.dumps(value).replace("/", "\\/").replace("+", "\\u002b").replace("=", "\\u003d")
    assert walked(escaped.encode()).pictures == [picture(1)] * 2
    assert names(walked(json.dumps({"photo": TEXT}).encode() + b"\n" + json.dumps({"photo": TEXT}).encode())) == [
        "1/photo",
        "2/photo",
    ]


def test_wrapped_lines_of_mail_and_vcard():
    message = email.message.EmailMessage()
    message.set_content("hello")
    message.add_attachment(picture(1, 5000), maintype="image", subtype="jpeg", filename="a.jpg")
    message.add_attachment(picture(2, 5000), maintype="image", subtype="jpeg", filename="b.jpg")
    assert walked(message.as_bytes()).pictures == [picture(1, 5000), picture(2, 5000)]
    wrapped = "\r\n ".join(TEXT[at : at + 74] for at in range(0, len(TEXT), 74))
    assert walked(f"BEGIN:VCARD\r\nPHOTO;ENCODING=b;TYPE=JPEG:{wrapped}\r\nN:x\r\nEND:VCARD\r\n".encode()).pictures == [
        picture(1)
    ]


def test_web_pages_and_the_other_alphabet():
    page = f"<html><img src='data:image/jpeg;base64,{TEXT}'><p>{'x ' * 100}</html>"
    assert walked(page.encode()).pictures == [picture(1)]
    safe = base64.urlsafe_b64encode(picture(1)).decode().rstrip("=")
    assert walked(f"a\t{safe}\n".encode()).pictures == [picture(1)]


def test_a_picture_that_comes_late():
    text = ("a line without a picture\n" * 100_000 + f"late\t{TEXT}\n").encode()
    walk = walked(text)
    assert walk.pictures == [picture(1)]
    assert names(walk) == ["late/100001"]
    assert walked(zip_of([(b"a.txt", text)], 8)).pictures == [picture(1)]
    assert walked(datasets.tsv([(b"x", picture(1, 400_000)), (b"y", picture(2, 3_000_000))])).pictures == [
        picture(1, 400_000),
        picture(2, 3_000_000),
    ]


def test_two_in_a_line_have_names_of_their_own():
    walk = walked(f"x\t{TEXT}\t{TEXT}\n".encode())
    assert names(walk) == ["x/1", "x/1.2"]


@pytest.mark.parametrize(
    "text",
    [
        b"plain text, nothing else. " * 500,
        b'{"name": "x", "id": 7}\n' * 500,
        b"a\tb\tc\n" * 500,
        base64.b64encode(bytes(5000)),
        base64.b64encode(b"some other thing " * 500),
        b"/9j/ is how a JPEG begins in base64, iVBORw0KGgo a PNG.\n" * 20,
        b"Qk12345678901234567890123456789012345678901234567890123456789012345678901234567890\n",
        b"x" * 40 + TEXT.encode(),
        b"\\u003d" + b"\t/9j/" + b"\\u003d" * 20,
        b"\0" + TEXT.encode(),
        "id,photo\n1,\n".encode("utf-16"),
        b"",
    ],
)
def test_texts_that_are_left_alone(text):
    walk = walked(text)
    assert (walk.root.outcome, len(walk.entries)) == (Outcome.NOT_IMAGE, 1)


def test_cut_and_damaged_values():
    text = f"x\t{TEXT}\ny\t{TEXT}\n".encode()
    for cut in range(80, len(text), 7):
        walk = walked(text[:cut])
        assert all(picture(1).startswith(found or b"") for found in walk.pictures)
    damaged = text.replace(TEXT[200:202].encode(), b"\x7f!", 1)
    walk = walked(damaged)
    assert walk.codes == {"corrupt"}
    assert walk.pictures[-1] == picture(1)


def test_the_sidecars_of_other_sets_stay_what_they_are():
    walk = walked(tar_of([(b"a.jpg", picture(1)), (b"a.json", b'{"a": 1}'), (b"a.txt", b"x")]))
    assert [e.outcome for e in walk.below(1)] == [None, Outcome.NOT_IMAGE, Outcome.NOT_IMAGE]


def test_what_is_taken_for_a_picture():
    for head in (
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"II*\0",
        b"\0\0\0\x1cftypheic",
        b"\0\0\0\x1cftypavif",
    ):
        text = base64.b64encode(head + bytes(100))
        assert is_picture(head)
        assert len(walked(b"x\t" + text).entries) == 2
    assert not is_picture(b"BM, a text")
    assert not is_picture(b"")


@pytest.mark.parametrize("kind", ["zip", "gzip", "wrapped"])
def test_archives_in_base64(kind):
    archive = zip_of(PICTURES, 8) if kind == "zip" else COMPRESS["gzip"](tar_of(PICTURES))
    if kind == "wrapped":
        message = email.message.EmailMessage()
        message.set_content("hello")
        message.add_attachment(archive, maintype="application", subtype="zip", filename="a.zip")
        text = message.as_bytes()
    else:
        text = b"a line\n" * 10_000 + b"x\t" + base64.b64encode(archive) + b"\n"
    walk = walked(text)
    assert walk.pictures == PHOTOS
    assert walk.root.format == "text"


def test_the_first_bytes_of_archives_in_base64():
    for head in (b"PK\3\4\x2d\0\0\0\x08\0", b"7z\xbc\xaf\x27\x1c\0\4", b"Rar!\x1a\x07\1\0", b"\x1f\x8b\x08\0"):
        walk = walked(b"x\t" + base64.b64encode(head + bytes(100)) + b"\n")
        assert len(walk.below(1)) == 1
    assert not walked(b"x\t" + base64.b64encode(b"\x1f\x8b\x08\xff" + bytes(100)) + b"\n").below(1)
