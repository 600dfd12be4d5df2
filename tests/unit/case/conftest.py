"""Cases for tests, written through the store as a scan does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from leakmatch.case.batch import Batch
from leakmatch.case.rows import Candidate, Key, SourceRow
from leakmatch.case.store import Case
from leakmatch.locator import FILE, SOURCE, Locator
from leakmatch.records import (
    Entry,
    Evidence,
    FaceBatch,
    HashBatch,
    ImageAnalysis,
    Incident,
    ItemKind,
    Outcome,
    QualityReason,
    TemplateBatch,
)

HOSTILE = '<script>alert("x")</script>\u202egnp.\x1b[31m\n.jpg'

RUN: dict[str, Any] = {
    "case_id": "c0ffee",
    "version": "0.1.0",
    "started": "2026-03-01T12:00:00Z",
    "gallery": {
        "id": "9a11e47",
        "path": "people.gallery",
        "digest": "ab" * 32,
        "subjects": 4,
        "enrolled": 4,
        "templates": 4,
        "pictures": 4,
    },
    "pack": {
        "name": "opencv-zoo",
        "version": "1",
        "licence": "MIT AND Apache-2.0",
        "model_id": "0ba9fbfa:fp32:1",
        "detector_sha256": "8f" * 32,
        "embedder_sha256": "0b" * 32,
        "calibration_sha256": "ca" * 32,
        "calibration": {"dataset": "a test set", "people": 100, "photos": 300, "pairs": 44000},
    },
    "settings": {"workers": 2, "threshold": None, "budget": {"depth": 16, "ratio": 1000.0}},
    "expected_false": 1.0,
    "threshold": None,
    "machine": {"platform": "Linux", "python": "3.11.7", "cores": 2, "versions": {"numpy": "2.4.6"}},
    "isolation": True,
}


def crop(seed: int) -> bytes:
    """A 112x112 JPEG of soft noise, in place of a face."""
    noise = np.random.default_rng(seed).integers(40, 220, (7, 7, 3), dtype=np.uint8)
    done, data = cv2.imencode(".jpg", cv2.resize(noise, (112, 112), interpolation=cv2.INTER_CUBIC))
    assert done
    return data.tobytes()


def analysis(
    faces: int = 1, frame: int = 0, outcome: Outcome = Outcome.DONE, detail: str = "", **changes: Any
) -> ImageAnalysis:
    """What a worker says about a picture of 640x480 with this many faces, 100x120 pixels each."""
    corners = np.array([[10.126 + 110 * i, 20, 110.126 + 110 * i, 140] for i in range(faces)], dtype=np.float32)
    points = np.arange(10 * faces, dtype=np.float32).reshape(faces, 5, 2)
    vectors = np.zeros((faces, 8), dtype=np.float32)
    vectors[:, 0] = 1
    return ImageAnalysis(
        frame=frame,
        outcome=outcome,
        detail=detail,
        width=changes.get("width", 640),
        height=480,
        picture_hashes=(),
        faces=FaceBatch(
            np.zeros(faces, dtype=np.int32), corners.reshape(faces, 4), points, np.full(faces, 0.91234, np.float32)
        ),
        templates=TemplateBatch(vectors, np.full(faces, 0.5, np.float32), np.ones(faces, dtype=np.bool_), model_id="m"),
        face_hashes=(
            HashBatch(
                "phash",
                np.zeros((faces, 8), dtype=np.uint8),
                np.ones(faces, dtype=np.float32),
                np.arange(faces, dtype=np.int32),
            ),
        ),
        crops=tuple(crop(i) for i in range(faces)),
        incidents=changes.get("incidents", ()),
    )


class Writer:
    """Writes a case item by item. Positions are given out in walk order, per source file."""

    def __init__(self, path: Path, sources: Iterable[str], files: Iterable[tuple[int, str]], **changes: Any) -> None:
        self.sources = list(sources)
        self.roots = [
            Locator.root(SOURCE if name.startswith("/") else FILE, name.lstrip("/"), name.lstrip("/").encode(), source)
            for source, name in files
        ]
        rows = [SourceRow(i, root.ordinal, root, 1000 + i, 1) for i, root in enumerate(self.roots)]
        self.case = Case.create(path, RUN | {"sources": self.sources} | changes, rows)
        self.batch = Batch()
        self.positions = [0] * len(rows)

    def entry(
        self, file: int, locator: Locator, kind: ItemKind, outcome: Outcome | None, data: bytes | None = None
    ) -> Entry:
        """The next entry of a file; before the first member of one, the file itself."""
        if locator.parent is not None and not self.positions[file]:
            self.plain(file, self.roots[file], Outcome.WALKED, ItemKind.CONTAINER)
        position, self.positions[file] = self.positions[file], self.positions[file] + 1
        digest = sha256(locator.to_json().encode() if data is None else data).digest()
        return Entry(locator, position, kind, 5000, digest, outcome)

    def plain(
        self,
        file: int,
        locator: Locator,
        outcome: Outcome,
        kind: ItemKind = ItemKind.IMAGE,
        detail: str = "",
    ) -> None:
        """An item that is not looked at."""
        self.batch.add_entry(file, self.entry(file, locator, kind, outcome), outcome, detail)

    def picture(
        self, file: int, locator: Locator, candidates: Iterable[dict[str, Any]] = (), *frames: ImageAnalysis
    ) -> tuple[Entry, Key]:
        """A picture with its frames (one with one face, unless told), and candidates as keywords."""
        entry = self.entry(file, locator, ItemKind.IMAGE, None)
        keys = [
            self.batch.add_analysis(file, entry, frame, [QualityReason.BLURRED] * len(frame.faces))
            for frame in frames or (analysis(),)
        ]
        found: dict[Key, list[Candidate]] = {}
        for told in candidates:
            key = keys[told.pop("frame", 0)]
            defaults: dict[str, Any] = {"face": 0, "enrolment": 1, "rank": 1, "score": 0.5, "chance": 1e-9}
            defaults |= {"evidence": Evidence.SAME_FACE, "looks": 1}
            chance = told.get("chance", defaults["chance"])
            limits = (None, None) if chance is None else (chance / 2, 3 * chance)
            defaults |= dict(zip(("chance_low", "chance_high"), limits, strict=True))
            candidate = Candidate(key=key, **(defaults | told))
            found.setdefault(key, []).append(candidate)
        for key, group in found.items():
            faces = {c.face for c in group if c.face is not None}
            self.batch.add_candidates(group, {face: crop(hash((key, face)) % 999) for face in faces})
        return entry, keys[0]

    def duplicate(self, file: int, locator: Locator, original: tuple[Entry, Key]) -> None:
        """Another item with the same bytes."""
        entry, key = original
        copy = self.entry(file, locator, ItemKind.IMAGE, None)
        copy = Entry(copy.locator, copy.position, copy.kind, copy.size, entry.sha256, None)
        self.batch.add_entry(file, copy, Outcome.DUPLICATE, "", primary=key)

    def incident(self, file: int, locator: Locator, code: str, message: str, stage: str = "sources") -> None:
        """Something to know about an item."""
        self.batch.add_incident(file, Incident(locator, stage, code, message))

    def close(self, finished: bool = True) -> None:
        """Commit; record the end unless told otherwise."""
        if finished:
            for file, entries in enumerate(self.positions):
                self.batch.add_finished_file(file, sha256(str(file).encode()).digest(), entries)
        self.case.write(self.batch)
        if finished:
            self.case.finish({"finished": "2026-03-01T12:34:56Z", "resumed": 1})
        self.case.close()


def write_sample(path: Path, finished: bool = True, **changes: Any) -> Path:
    """A small case with something of everything.

    File 0 is an archive: a picture with two faces and three candidates, a nested zip with a hostile name in it, an
    animation with a candidate in its second frame, a locked and a broken member, a text. File 1 and 2 are in a
    folder: copies of the picture and of the animation.
    """
    w = Writer(path, ["seized.zip", "photos"], [(0, "/seized.zip"), (1, "copy.jpg"), (1, "copy.gif")], **changes)
    zip_ = w.roots[0]
    nested = zip_.child("zip", "inner.zip", b"inner.zip")
    w.plain(0, zip_, Outcome.WALKED, ItemKind.CONTAINER)
    photo = w.picture(
        0,
        zip_.child("zip", "photo.jpg", b"photo.jpg"),
        [
            {"subject_id": "ada", "score": 0.61234, "chance": 1e-9},  # expected_false 6 * 4 * 1e-9
            {"subject_id": "bob", "score": 0.3, "chance": 2.0, "rank": 2},  # 48: review
            {"subject_id": "cy", "face": 1, "score": 0.2, "chance": 20.0},  # 480: weak
            {
                "subject_id": "ada",
                "face": None,
                "score": None,
                "chance": None,
                "evidence": Evidence.SAME_PICTURE,
                "hash_distance": 4,
                "picture_chance": 1e-6,
            },
        ],
        analysis(faces=2),
    )
    w.plain(0, nested, Outcome.WALKED, ItemKind.CONTAINER)
    w.picture(0, nested.child("zip", HOSTILE, HOSTILE.encode()), [{"subject_id": "=cmd|'/c calc'!A1", "chance": 0.1}])
    w.plain(0, nested.child("zip", "note.txt", b"note.txt"), Outcome.NOT_IMAGE, ItemKind.OTHER)
    w.plain(0, nested.child("zip", "bad.jpg", b"bad.jpg"), Outcome.UNREADABLE, detail="no picture in it")
    w.incident(0, nested.child("zip", "bad.jpg", b"bad.jpg"), "corrupt", "no picture\nin it")
    animation = w.picture(
        0,
        zip_.child("zip", "a.gif", b"a.gif"),
        [{"subject_id": "bob", "frame": 1, "score": 0.7, "evidence": Evidence.SAME_PICTURE, "picture_chance": 0.0}],
        analysis(),
        analysis(frame=1),
    )
    w.plain(0, zip_.child("zip", "locked.jpg", b"\xff.jpg"), Outcome.NEEDS_PASSWORD, detail="a password is needed")
    w.duplicate(1, w.roots[1], photo)
    w.duplicate(2, w.roots[2], animation)
    w.close(finished)
    return path


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A finished case; see ``write_sample``."""
    return write_sample(tmp_path / "sample.case")


@pytest.fixture
def case(sample: Path) -> Iterator[Case]:
    """The same, open for reading."""
    with Case.open(sample) as opened:
        yield opened


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    """This module, for tests that write cases of their own."""
    return sys.modules[__name__]
