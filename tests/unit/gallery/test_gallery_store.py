"""The gallery: what goes in comes out, twice is once, removed is gone, damage is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leakmatch.errors import IntegrityError, ModelMismatch, UsageError
from leakmatch.gallery.enrolment import describe_choice, subject_face
from leakmatch.gallery.store import FACE, PICTURE, Enrolment, Gallery, Photo
from leakmatch.records import FaceBatch, HashBatch

MODEL = "sha256:00/fp32/test"


def enrolment(subject: str, seed: int, quality: float = 0.5) -> Enrolment:
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=16).astype(np.float32)
    hashes = tuple(
        HashBatch(name, rng.integers(0, 256, (1, 8), np.uint8), np.ones(1, np.float32), np.zeros(1, np.int32))
        for name in ("phash/1", "dhash/1")
    )
    photo = Photo(subject, f"{subject}/{seed}.jpg", bytes([seed]) * 32, "", "", quality)
    return Enrolment(photo, vector / np.linalg.norm(vector), hashes, hashes)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.create(tmp_path / "a.gallery", "test", MODEL, 16)
    refused = Photo("bob", "bob/9.jpg", bytes([9]) * 32, "no-face", "no face was found", 0.0)
    gallery.add([enrolment("bob", 1), enrolment("anna", 2), enrolment("bob", 3)], [refused], {"bob": "Robert"})
    return gallery


def test_what_was_added_is_there_after_opening_again(gallery: Gallery) -> None:
    gallery.close()
    with Gallery.open(gallery.path) as opened:
        opened.verify()
        info = opened.info()
        templates = opened.templates()
        assert (info["subjects"], info["templates"], info["photos_refused"]) == (2, 3, 1)
        assert [opened.subject_of(int(photo)) for photo in templates.enrolment_id] == ["bob", "anna", "bob"]
        assert np.array_equal(templates[1:2][0], enrolment("anna", 2).vector)
        assert np.array_equal(templates[np.array([2, 0])], templates[:][[2, 0]])
        assert [len(part) for part in templates.parts()] == [3]
        assert opened.hashes(PICTURE).keys() == {"phash/1", "dhash/1"}
        assert np.array_equal(opened.hashes(FACE)["phash/1"].bits[2], enrolment("bob", 3).face_hashes[0].bits[0])
        assert opened.hashes(FACE, {"dhash/1", "other/1"}).keys() == {"dhash/1"}
        stored = opened.hash_of(int(templates.enrolment_id[2]), FACE, "phash/1")
        assert stored is not None
        assert np.array_equal(stored, enrolment("bob", 3).face_hashes[0].bits[0])
        assert opened.hash_of(int(templates.enrolment_id[2]), FACE, "other/1") is None
        assert opened.enrolled_as(bytes([3]) * 32) == [int(templates.enrolment_id[2])]
        assert opened.enrolled_as(bytes([9]) * 32) == []
        assert opened.names() == {"bob": "Robert"}
        assert [s["enrolled"] for s in opened.subjects()] == [1, 2]
        known = opened.known("bob", bytes([9]) * 32)
        assert known is not None
        assert known.refusal == "no-face"
        assert opened.known("anna", bytes([9]) * 32) is None


def test_the_same_photo_twice_for_a_subject_is_refused_as_a_whole(gallery: Gallery) -> None:
    with pytest.raises(Exception, match="UNIQUE"):
        gallery.add([enrolment("carl", 7), enrolment("bob", 3)], [], {})
    assert gallery.info()["subjects"] == 2
    gallery.verify()


def test_a_removed_subject_leaves_no_byte_of_its_template(gallery: Gallery) -> None:
    needle = enrolment("anna", 2).vector.tobytes()
    assert needle in gallery.path.read_bytes()
    assert gallery.remove("anna").photos == 1
    gallery.verify()
    assert needle not in gallery.path.read_bytes()
    assert {gallery.subject_of(int(photo)) for photo in gallery.templates().enrolment_id} == {"bob"}
    with pytest.raises(UsageError, match="anna"):
        gallery.remove("anna")


def test_an_enrolment_id_is_never_given_twice(gallery: Gallery) -> None:
    last = int(gallery.templates().enrolment_id.max())
    gallery.remove("bob")
    gallery.add([enrolment("carl", 7)], [], {})
    assert int(gallery.templates().enrolment_id.max()) > last


def test_another_model_is_refused(gallery: Gallery) -> None:
    gallery.require_model(MODEL)
    with pytest.raises(ModelMismatch, match="Use the pack"):
        gallery.require_model("sha256:11/fp32/test")


def test_the_digest_is_that_of_the_content(gallery: Gallery) -> None:
    before = gallery.digest
    gallery.add([enrolment("carl", 7)], [], {})
    assert gallery.digest != before
    gallery.remove("carl")
    assert gallery.digest != before, "the highest enrolment id was raised, and is content"


@pytest.mark.parametrize("needle", ["Robert", "no face was found"])
def test_a_changed_byte_is_found(gallery: Gallery, needle: str) -> None:
    gallery.close()
    data = bytearray(gallery.path.read_bytes())
    data[data.index(needle.encode())] ^= 1
    gallery.path.write_bytes(bytes(data))
    with Gallery.open(gallery.path) as opened, pytest.raises(IntegrityError):
        opened.verify()


def test_a_damaged_template_is_not_searched_with(gallery: Gallery) -> None:
    gallery.close()
    data = bytearray(gallery.path.read_bytes())
    at = data.index(enrolment("anna", 2).vector.tobytes())
    data[at : at + 64] = b"\x7f" * 64
    gallery.path.write_bytes(bytes(data))
    with Gallery.open(gallery.path) as opened, pytest.raises(IntegrityError, match="template"):
        opened.templates()[:]


def test_an_empty_gallery_has_empty_arrays(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "b.gallery", "test", MODEL, 16) as empty:
        assert empty.templates()[:].shape == (0, 16)
        assert empty.hashes(PICTURE) == {}
        empty.verify()


def faces(*boxes: tuple[float, float, float, float]) -> FaceBatch:
    n = len(boxes)
    return FaceBatch(
        np.zeros(n, np.int32), np.array(boxes, np.float32), np.zeros((n, 5, 2), np.float32), np.ones(n, np.float32)
    )


def test_the_subject_is_the_large_central_face() -> None:
    alike = faces((0, 0, 100, 100), (150, 150, 250, 250))
    assert subject_face(alike, 400, 400) == 1
    far_larger = faces((0, 0, 300, 300), (190, 190, 210, 210))
    assert subject_face(far_larger, 400, 400) == 0
    assert describe_choice(alike, 1) == "2 faces; the one at [150, 150, 250, 250] was taken as the subject's"
    assert describe_choice(faces((0, 0, 1, 1)), 0) == ""


def test_a_steady_reader_lets_no_writer_in(gallery: Gallery) -> None:
    gallery.close()
    with Gallery.open(gallery.path, steady=True), Gallery.open(gallery.path, steady=True) as second:
        assert second.info()["templates"] == 3
        with pytest.raises(UsageError, match="in use by another LeakMatch process"):
            Gallery.open(gallery.path, writable=True)
    with (
        Gallery.open(gallery.path, writable=True) as writer,
        pytest.raises(UsageError, match="in use by another LeakMatch process"),
    ):
        Gallery.open(writer.path, steady=True)


def test_a_template_that_is_gone_is_told(gallery: Gallery) -> None:
    templates = gallery.templates()
    gallery.remove("anna")
    for rows in (slice(0, 3), np.array([1])):
        with pytest.raises(IntegrityError, match="template"):
            templates[rows]
    with pytest.raises(IntegrityError, match="no enrolment 3"):
        gallery.subject_of(3)


def test_a_calibration_is_kept_until_it_is_taken_out(gallery: Gallery) -> None:
    assert gallery.calibration() is None
    before, enrolled = gallery.digest, gallery.enrolled_state()
    gallery.put_calibration(b'{"a": 1}')
    gallery.put_calibration(b'{"b": "\xc3\xa4"}')
    assert gallery.calibration() == b'{"b": "\xc3\xa4"}'
    assert gallery.digest != before, "a case must not go on with another one"
    assert gallery.enrolled_state() == enrolled == [3, 4]
    gallery.verify()
    gallery.put_calibration(None)
    gallery.put_calibration(None)
    assert gallery.calibration() is None
    assert gallery.digest == before
    gallery.verify()


def test_the_same_file_under_several_subjects(gallery: Gallery) -> None:
    assert list(gallery.same_files()) == []
    gallery.add([enrolment("carl", 2), enrolment("dora", 2), enrolment("emil", 9)], [], {})
    files = [[gallery.path_of(photo) for photo in pair] for pair in gallery.same_files()]
    assert files == [["anna/2.jpg", "carl/2.jpg"], ["anna/2.jpg", "dora/2.jpg"], ["carl/2.jpg", "dora/2.jpg"]]
