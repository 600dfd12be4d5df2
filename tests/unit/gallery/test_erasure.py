"""Erasure: after a removal and compaction nothing of the person is in the file or beside it, and the others all are."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from galleries import Shot, add, pack, people
from sealed_files import key_in
from traces import folder_bytes, forms_of, found, traces_of, unsealed

from leakmatch.gallery.rows import PICTURE, Enrolment, Photo
from leakmatch.gallery.store import Gallery
from leakmatch.records import HashBatch
from leakmatch.sealed.keys import Keys

REMOVED = "kx71-zyra-removed"


@pytest.fixture(params=["sealed", "plain"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Keys | None:
    return key_in(tmp_path) if request.param == "sealed" else None


def digest_of(number: int) -> bytes:
    return np.random.default_rng(number).bytes(32)


def enrolment(subject: str, number: int) -> Enrolment:
    """A photo whose template, hashes and digest nobody else has."""
    random = np.random.default_rng(number)
    vector = random.normal(size=128)
    hashes = tuple(
        HashBatch(name, random.integers(0, 256, (1, 32), np.uint8), np.ones(1, np.float32), np.zeros(1, np.int32))
        for name in ("one/1", "two/1")
    )
    photo = Photo(subject, f"folder-of-{subject}/{number}.jpg", digest_of(number), "", "", 0.5)
    return Enrolment(photo, (vector / np.linalg.norm(vector)).astype(np.float32), hashes, hashes[:1])


def needles(subject: str, numbers: list[int], name: str) -> set[bytes]:
    """All that there could be of a person, in windows."""
    made = [enrolment(subject, number) for number in numbers]
    data = [form for one in made for form in forms_of(one.vector)]
    data += [batch.bits[0].tobytes() for one in made for batch in one.picture_hashes]
    data += [digest_of(number) for number in numbers]
    data += [text.encode() for text in (subject, name, f"folder-of-{subject}") if text]
    return set().union(*map(traces_of, data))


def gallery_with(path: Path, keys: Keys | None) -> Gallery:
    """Sixty people in several commits; one of them, with five photos and a refused one, is to be removed."""
    default = pack()
    gallery = Gallery.create(path, default.name, default.model_id, 128, keys=keys)
    for commit in range(6):
        batch = [enrolment(f"other-{commit}-{i}", 1000 + 10 * commit + i) for i in range(10)]
        mine = [enrolment(REMOVED, commit)] if commit else []
        refused = [Photo(REMOVED, f"folder-of-{REMOVED}/no.jpg", digest_of(77), "no-face", "no face was found", 0.0)]
        gallery.add(batch + mine, [] if commit else refused, {REMOVED: "Zyra Quell-Removed", "other-0-0": "Ann"})
    return gallery


def test_nothing_of_a_removed_subject_is_left(tmp_path: Path, keys: Keys | None) -> None:
    path = tmp_path / "galleries" / "a.gallery"
    wanted = needles(REMOVED, [1, 2, 3, 4, 5, 77], "Zyra Quell-Removed")
    other = needles("other-3-3", [1033], "")
    with gallery_with(path, keys) as gallery:
        gallery.put_calibration(f'{{"left_out": [{{"a": "{REMOVED}"}}]}}'.encode())
        gallery.people.expire({REMOVED: "2020-01-01"})
        before = {who["subject_id"]: gallery.photos(who["subject_id"]) for who in gallery.people}
        if keys is None:
            assert found(wanted, path.read_bytes())
        else:
            assert found(wanted, unsealed(path, keys)), "the search finds what is there"
        old = os.open(path, os.O_RDONLY)
        erasure = gallery.remove(REMOVED, "asked for it")
        assert gallery.left_in_file() == 1
        gallery.compact()
        assert gallery.left_in_file() == 0

    assert (erasure.photos, erasure.templates, erasure.hashes) == (6, 5, 15)
    assert os.fstat(old).st_size == 0, "who has the old file open reads nothing any more"
    os.close(old)
    assert found(wanted, folder_bytes(path.parent)) == set()
    if keys is not None:
        assert found(wanted, unsealed(path, keys)) == set()
        assert found(other, path.read_bytes()) == set(), "and of nobody else in the clear"
    assert len(found(other, path.read_bytes() if keys is None else unsealed(path, keys))) > 100, "the search can find"

    with Gallery.open(path, keys=keys) as gallery:
        gallery.verify()
        left = {who["subject_id"]: gallery.photos(who["subject_id"]) for who in gallery.people}
        del before[REMOVED]
        assert left == before
        templates = gallery.templates()
        whose = [gallery.subject_of(int(photo)) for photo in templates.enrolment_id]
        vectors = templates[:]
        for commit in range(6):
            for i in range(10):
                subject, number = f"other-{commit}-{i}", 1000 + 10 * commit + i
                assert whose[int(np.argmax(vectors @ enrolment(subject, number).vector))] == subject
        assert gallery.hashes(PICTURE)["one/1"].bits.shape == (60, 32)
        assert gallery.calibration() is None


def test_the_record_holds_nothing_of_a_face_or_a_name(tmp_path: Path, keys: Keys | None) -> None:
    path = tmp_path / "galleries" / "a.gallery"
    with gallery_with(path, keys) as gallery:
        gallery.remove(REMOVED, "asked for it")
        gallery.compact()
        told = repr([asdict(erasure) for erasure in gallery.people.erasures()] + list(gallery.log())).encode()
        assert found(needles(REMOVED, [1, 2, 3, 4, 5, 77], "Zyra Quell-Removed"), told) == set()
        (record,) = gallery.people.erasures(REMOVED)
        assert (record.number, record.scope, record.reason) == (1, "subject", "asked for it")
        assert gallery.people.erasures("somebody else") == []
    with Gallery.create(tmp_path / "b.gallery", "test", "m", 16) as elsewhere:
        assert elsewhere.people.reference(REMOVED) != record.subject, "it says nothing without this gallery"


def test_a_single_photo_goes_without_a_trace_and_the_others_stay(tmp_path: Path, keys: Keys | None) -> None:
    path = tmp_path / "galleries" / "a.gallery"
    with gallery_with(path, keys) as gallery:
        (third,) = (photo["enrolment_id"] for photo in gallery.photos(REMOVED) if photo["path"].endswith("/3.jpg"))
        (erasure,) = gallery.people.erase({REMOVED: [third]})
        gallery.compact()
        assert (erasure.scope, erasure.photos, erasure.templates, erasure.hashes) == ("enrolments", 1, 1, 3)
        assert [photo["path"][-5] for photo in gallery.photos(REMOVED)] == ["o", "1", "2", "4", "5"]
        gallery.verify()
    content = path.read_bytes() if keys is None else unsealed(path, keys)
    data = [*forms_of(enrolment(REMOVED, 3).vector), digest_of(3)]
    assert found(set().union(*map(traces_of, data)), content) == set()
    assert found(traces_of(digest_of(2)), content)


def _live(gallery: Gallery) -> int:
    assert gallery._database.sealed is not None
    return gallery._database.sealed.live


def test_small_commits_do_not_blow_up_a_sealed_file(tmp_path: Path) -> None:
    keys, random = key_in(tmp_path), np.random.default_rng(0)
    shots = people(random, 2_000)
    default = pack()
    with Gallery.create(tmp_path / "a.gallery", default.name, default.model_id, 128, keys=keys) as gallery:
        rewritten = 0
        for start in range(0, len(shots), 20):
            add(gallery, [Shot(s.subject, s.vector, s.content + (s.content * 7919 << 40)) for s in shots[start:][:20]])
            rewritten += gallery.tidy()
        gallery.verify()
        size, live = gallery.path.stat().st_size, _live(gallery)
    assert rewritten >= 2
    assert size <= 2 * live + (5 << 20)
