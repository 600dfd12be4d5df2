"""A plan for another model: whose photos are there to be enrolled again, and who would be lost without them.

Templates of one model cannot be turned into those of another: the photos have to be looked at again, and a gallery does
not hold them. It does know each by its SHA-256, so they can be found in any folder or archive. Nothing is changed here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from leakmatch.errors import IntegrityError, UsageError
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.files import replacing
from leakmatch.gallery.store import Gallery
from leakmatch.hashing.evidence import require_current
from leakmatch.locator import storable
from leakmatch.pipeline.interrupt import deferred_interrupt
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.start import start
from leakmatch.pipeline.subjects import Labelled, label
from leakmatch.pipeline.tasks import FileTask, Sink
from leakmatch.records import Entry
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings


class State(StrEnum):
    """What became of an enrolled photo."""

    FOUND = "found"  # a file with its SHA-256
    IN_ARCHIVE = "in-archive"  # found as well, in a container
    CHANGED = "changed"  # there is another file where it was enrolled from
    GONE = "gone"  # there is no file where it was enrolled from; or it is in none of the sources
    UNKNOWN = "unknown"  # it was imported without its SHA-256, by which alone it could be told


@dataclass(frozen=True, slots=True)
class PhotoPlan:
    """An enrolled photo: ``path`` where it was enrolled from, ``found`` where it is now, ``subject`` whom enrolling the
    sources would take it for (both empty where it was not found). ``hashed``: the gallery has its hashes."""

    subject_id: str
    path: str
    state: State
    found: str = ""
    subject: str = ""
    hashed: bool = False
    file: Path | None = None  #: on disk, for a CSV


@dataclass(frozen=True, slots=True)
class SubjectPlan:
    """A subject: how many photos are enrolled, how many of them were found, how many have hashes."""

    subject_id: str
    name: str
    expires: str
    photos: int
    found: int
    hashed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan. ``templates_stay``: both models are one. ``hashes_stay``: the hashes are of this version.

    ``photos``: every enrolled photo, by subject. ``sources``: empty where only the old places were looked at.
    """

    gallery: str
    model_id: str
    pack: str
    new_model_id: str
    new_pack: str
    sources: tuple[str, ...]
    templates_stay: bool
    hashes_stay: bool
    subjects: tuple[SubjectPlan, ...]
    photos: tuple[PhotoPlan, ...] = field(repr=False)

    @property
    def lost(self) -> list[SubjectPlan]:
        """The subjects of whom no photo was found."""
        return [subject for subject in self.subjects if not subject.found]

    @property
    def found(self) -> int:
        """How many photos were found."""
        return sum(subject.found for subject in self.subjects)

    def labelled(self) -> bool:
        """Whether enrolling the sources as they are gives every photo that was found to its subject."""
        found = [photo for photo in self.photos if photo.found]
        return bool(self.sources and found) and all(photo.subject == photo.subject_id for photo in found)

    def count(self, state: State) -> int:
        """How many photos are in a state."""
        return sum(photo.state is state for photo in self.photos)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **{name: getattr(self, name) for name in _TOLD},
            "people": len(self.subjects),
            "people_lost": len(self.lost),
            "photos": {str(state): self.count(state) for state in State},
            "subjects": [asdict(subject) for subject in self.subjects],
            "enrolled": [
                {
                    "subject_id": photo.subject_id,
                    "path": photo.path,
                    "state": str(photo.state),
                    "found": photo.found or None,
                    "hashed": photo.hashed,
                }
                for photo in self.photos
            ],
        }


_TOLD: Final = (
    "gallery",
    "model_id",
    "pack",
    "new_model_id",
    "new_pack",
    "sources",
    "templates_stay",
    "hashes_stay",
)


def plan(
    path: Path,
    sources: Sequence[Path],
    settings: Settings,
    progress: Progress = no_progress,
    *,
    keys: Keys | None = None,
) -> Plan:
    """What enrolling the people of the gallery at ``path`` for the pack of ``settings`` would take.

    Photos are looked for by SHA-256 in ``sources`` (folders, archives, CSV files, as ``enroll`` takes them, and read by
    the same confined workers); without any, where they were enrolled from. ``keys`` open the gallery.

    Raises :class:`UsageError` for sources that are missing or empty.
    """
    pack = load_pack(settings.pack)
    if not sources:
        with Gallery.open(path, keys=keys, steady=True, action="re-enrol-plan") as gallery:
            return _plan(gallery, pack, (), _where_it_was, progress)
    labelled = label(sources)
    few = replace(settings, workers=1)  # nothing is looked at
    with (
        closing(start(make_ready(pack, settings.engine), few, labelled.inventory, mirrored=False)) as executor,
        deferred_interrupt() as check,
        Gallery.open(path, keys=keys, steady=True, action="re-enrol-plan") as gallery,
    ):
        sink = _Sink(gallery, labelled, progress, check)
        executor.run(labelled.tasks(), sink)
        return _plan(gallery, pack, sources, sink.judge)


#: Given a photo as it was enrolled (subject, path, SHA-256), what became of it.
_Judge = Callable[[str, str, bytes], PhotoPlan]


def _plan(
    gallery: Gallery, pack: Pack, sources: Sequence[Path], judge: _Judge, progress: Progress = no_progress
) -> Plan:
    subjects, photos, there = {}, [], 0
    info = gallery.info()
    for subject in gallery.subjects():
        subjects[subject["subject_id"]] = SubjectPlan(
            subject["subject_id"], subject["name"], subject["expires"] or "", subject["enrolled"], 0, 0
        )
    for subject_id, path, sha256, hashed in _enrolled(gallery):
        photo = judge(subject_id, path, sha256) if sha256 else PhotoPlan(subject_id, path, State.UNKNOWN)
        photo = replace(photo, hashed=hashed)
        photos.append(photo)
        there += bool(photo.found)
        done = len(photos)
        progress(read=done, total=info["templates"], items=done, faces=there, candidates=done - there)
        known = subjects[subject_id]
        subjects[subject_id] = replace(known, found=known.found + bool(photo.found), hashed=known.hashed + hashed)
    return Plan(
        gallery=str(gallery.path),
        model_id=gallery.model_id,
        pack=info["pack"],
        new_model_id=pack.model_id,
        new_pack=pack.name,
        sources=tuple(map(str, sources)),
        templates_stay=gallery.model_id == pack.model_id,
        hashes_stay=_are_current(gallery),
        subjects=tuple(subject for subject in subjects.values() if subject.photos),
        photos=tuple(sorted(photos, key=lambda photo: photo.subject_id)),
    )


def _enrolled(gallery: Gallery) -> Iterator[tuple[str, str, bytes | None, bool]]:
    """Of every enrolled photo the subject, where it was enrolled from, its SHA-256, and whether it has hashes."""
    hashed = "EXISTS (SELECT 1 FROM hashes h WHERE h.photo = p.photo)"
    for subject_id, path, sha256, has in gallery.template_rows(f"p.subject_id, p.path, p.sha256, {hashed}"):
        yield subject_id, path, sha256, bool(has)


def _are_current(gallery: Gallery) -> bool:
    try:
        require_current(gallery.hash_algorithms(), str(gallery.path))
    except IntegrityError:
        return False
    return True


# Where it was


def _where_it_was(subject_id: str, path: str, sha256: bytes) -> PhotoPlan:
    """Whether the file is still there. It is hashed, not opened as a picture."""
    file = Path(path)
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            return PhotoPlan(subject_id, path, State.GONE)
        with file.open("rb") as stream:
            same = hashlib.file_digest(stream, "sha256").digest() == sha256
    except (OSError, ValueError):
        return PhotoPlan(subject_id, path, State.GONE)
    if not same:
        return PhotoPlan(subject_id, path, State.CHANGED)
    return PhotoPlan(subject_id, path, State.FOUND, found=path, file=file)


# In sources


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a photo is: for the user, whom it would be enrolled for, and on disk if it is no member of a container."""

    path: str
    subject: str
    file: Path | None


class _Sink(Sink):
    """Notes where each photo of the gallery is. Of several places the right folder, then a file, is preferred."""

    def __init__(
        self, gallery: Gallery, labelled: Labelled, progress: Progress, check_interrupt: Callable[[], None]
    ) -> None:
        self._labelled = labelled
        self._progress, self._check_interrupt = progress, check_interrupt
        self._wanted = {sha256 for _, _, sha256, _ in _enrolled(gallery) if sha256}
        self._places: dict[bytes, list[_Place]] = {}
        self._total = sum(file.size for file in labelled.inventory.files)
        self._read = self._items = 0

    def found(self, task: FileTask, entry: Entry) -> bool:
        """Nothing needs to be looked at: the bytes say enough."""
        self._items += 1
        if entry.sha256 in self._wanted:
            file = task.path if entry.locator.parent is None else None
            subject = self._labelled.subject(task, entry.locator)
            places = self._places.setdefault(entry.sha256, [])
            if not any(place.subject == subject and (place.file or file is None) for place in places):
                places.append(_Place(self._labelled.path(task, entry.locator), subject, file))
        return False

    def finished(self, task: FileTask, entries: int) -> None:
        """Count the file as read."""
        self._read += task.size

    def tick(self) -> None:
        """Tell how far it is; stop where the user wants to."""
        self._check_interrupt()
        self._progress(read=self._read, total=self._total, items=self._items, faces=len(self._places), candidates=0)

    def judge(self, subject_id: str, path: str, sha256: bytes) -> PhotoPlan:
        """What was found of a photo."""
        places = self._places.get(sha256)
        if not places:
            return PhotoPlan(subject_id, path, State.GONE)
        best = min(places, key=lambda place: (place.subject != subject_id, place.file is None))
        on_disk = next((place.file for place in places if place.file is not None), None)
        state = State.IN_ARCHIVE if on_disk is None else State.FOUND
        return PhotoPlan(subject_id, path, state, found=best.path, subject=best.subject, file=best.file or on_disk)


# What to do


def write_csv(made: Plan, target: Path) -> tuple[int, int]:
    """The photos that were found on disk, as ``enroll`` takes them; how many, and how many others were found.

    These are in archives, or a CSV cannot name them: a path or subject that begins or ends with a blank, a path that is
    no text. The file is readable by its owner only. Raises :class:`UsageError` where there are none.
    """
    people = {subject.subject_id: subject for subject in made.subjects}
    rows = []
    for photo in made.photos:
        if photo.file is None:
            continue
        path = str(photo.file.absolute())
        if storable(path) == path and all(text == text.strip() for text in (path, photo.subject_id)):
            subject = people[photo.subject_id]
            rows.append((photo.subject_id, path, subject.name, subject.expires))
    if not rows:
        raise UsageError(f"{target}: no photo was found on disk, so there is nothing to write into it.")
    with replacing(target) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(("subject_id", "path", "name", "expires"))
        writer.writerows(rows)
        text.detach()
    return len(rows), made.found - len(rows)


def new_name(gallery: Path, pack: str) -> Path:
    """What the new gallery may be called: no file of that name is there."""
    base = gallery.with_name(f"{gallery.stem}-{pack}{gallery.suffix}")
    number = 1
    found = base
    while found.exists():
        number += 1
        found = base.with_stem(f"{base.stem}-{number}")
    return found
