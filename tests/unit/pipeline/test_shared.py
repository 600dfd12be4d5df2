"""Pictures under two subject ids, against a loop over all pairs of photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from galleries import Shot, gallery_of, people

from leakmatch.gallery.store import PICTURE, Gallery
from leakmatch.hashing.algorithms import DHASH, DHASH_MIRROR, PHASH, PHASH_MIRROR
from leakmatch.hashing.evidence import WHOLE_PICTURE
from leakmatch.pipeline.fused import SubjectTemplates
from leakmatch.pipeline.shared import Shared, shared_pictures


def subjects_of(gallery: Gallery) -> SubjectTemplates:
    return SubjectTemplates(gallery.templates(), gallery.first_enrolments(), None)


def slowly(gallery: Gallery, subjects: SubjectTemplates) -> dict[tuple[int, int], int | None]:
    """For two subjects: ``None`` for a file in common, else the fewest bits, where few enough."""
    hashes = gallery.hashes(PICTURE)
    shots = [(s["subject_id"], photo) for s in gallery.subjects() for photo in gallery.photos(s["subject_id"])]
    row = {gallery.subject_of(int(first)): i for i, first in enumerate(subjects.subject)}
    found: dict[tuple[int, int], int | None] = {}
    for a, one in shots:
        for b, other in shots:
            if row[a] >= row[b]:
                continue
            i, j = (int(np.flatnonzero(hashes[PHASH].enrolment_id == p["enrolment_id"])[0]) for p in (one, other))
            distances = [
                sum(int(np.bitwise_count(hashes[p].bits[i] ^ hashes[q].bits[j]).sum()) for p, q in way)
                for way in (((PHASH, PHASH), (DHASH, DHASH)), ((PHASH, PHASH_MIRROR), (DHASH, DHASH_MIRROR)))
            ]
            key = (row[a], row[b])
            if one["sha256"] == other["sha256"]:
                found[key] = None
            elif min(distances) <= WHOLE_PICTURE.max_distance:
                known = found.get(key, 999)
                found[key] = None if known is None else min(known, *distances)
    return found


def test_it_finds_what_a_loop_finds(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    shots = people(random, 12, 3)
    for copy, of, flips in ((3, 0, 0), (8, 0, 1), (14, 4, 2), (20, 5, 4), (30, 20, 5), (1, 0, 0), (34, 22, None)):
        if flips is None:
            shots[copy] = replace(shots[copy], content=shots[of].content)
            continue
        bits = shots[of].bits if shots[of].bits is not None else random.integers(0, 256, 8, np.uint8)
        shots[of] = replace(shots[of], bits=bits)
        flipped = np.unpackbits(bits)
        flipped[random.permutation(64)[:flips]] ^= 1
        shots[copy] = replace(shots[copy], bits=np.packbits(flipped))
    with gallery_of(tmp_path / "a.gallery", shots) as gallery:
        subjects = subjects_of(gallery)
        found = shared_pictures(gallery, subjects)
        assert {pair: one.distance for pair, one in found.items()} == slowly(gallery, subjects)
        assert {one.distance for one in found.values()} >= {None, 0, 2, 4, 8}
        for (a, b), one in found.items():
            owners = [gallery.subject_of(int(subjects.subject[row])) for row in (a, b)]
            assert [gallery.subject_of(enrolment) for enrolment in one.enrolments] == owners


def test_nothing_in_common(tmp_path: Path) -> None:
    with gallery_of(tmp_path / "a.gallery", people(np.random.default_rng(0), 5, 2)) as gallery:
        assert shared_pictures(gallery, subjects_of(gallery)) == {}


def test_templates_without_hashes(tmp_path: Path) -> None:
    with gallery_of(tmp_path / "a.gallery", []) as gallery:
        shot = people(np.random.default_rng(0), 1)[0]
        from leakmatch.gallery.store import Enrolment, Photo

        photos = [Photo(subject, f"{subject}.npz", b"\1" * 32, "", "", 0.5) for subject in ("a", "b")]
        gallery.add([Enrolment(photo, shot.vector, (), ()) for photo in photos], [], {})
        assert shared_pictures(gallery, subjects_of(gallery)) == {(0, 1): Shared((1, 2), None)}


def test_rows_and_photos_of_subjects_who_came_in_turns(tmp_path: Path) -> None:
    shots = people(np.random.default_rng(0), 3, 2)
    order = [0, 2, 1, 4, 3, 5]
    with gallery_of(tmp_path / "a.gallery", [shots[i] for i in order]) as gallery:
        subjects = subjects_of(gallery)
        enrolments, rows = subjects.by_enrolment()
        assert [gallery.subject_of(int(subjects.subject[row])) for row in rows] == [shots[i].subject for i in order]
        vectors, owner, ids = subjects.of_photos(np.array([2, 0]))
        assert [gallery.subject_of(int(i)) for i in ids] == ["p0002"] * 2 + ["p0000"] * 2
        assert owner.tolist() == [0, 0, 1, 1]
        assert np.array_equal(vectors, gallery.templates()[np.searchsorted(enrolments, ids)])
        assert isinstance(shots[0], Shot)
