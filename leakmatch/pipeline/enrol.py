"""Enrolment: photos of the protected population become templates and hashes in a gallery.

Whose a photo is, :mod:`leakmatch.pipeline.subjects` says. A photo is known by its SHA-256 within its subject, so
enrolling a folder again adds what is new and repeats nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from leakmatch.errors import StorageError, UsageError
from leakmatch.faces.defects import enrolment_defects, quality_reasons
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.gallery.enrolment import describe_choice, subject_face
from leakmatch.gallery.people import parse_date, today
from leakmatch.gallery.store import Enrolment, Gallery, Photo
from leakmatch.hashing.evidence import require_current
from leakmatch.pipeline.interrupt import deferred_interrupt
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.start import start
from leakmatch.pipeline.subjects import Labelled, label
from leakmatch.pipeline.tasks import FileTask, Sink
from leakmatch.records import LOOKED_AT, Entry, HashBatch, ImageAnalysis, ItemKind, QualityReason
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings

log = logging.getLogger(__name__)

COMMIT_PHOTOS: Final = 128

NO_FACE: Final = "no-face"
NO_SUBJECT: Final = "no-subject"
UNREADABLE: Final = "unreadable"


#: What there is to say about an enrolled photo whose face is not the only one; else it is a ``QualityReason``.
SEVERAL: Final = "several"


@dataclass(frozen=True, slots=True)
class Note:
    """An enrolled photo that needs a look. ``code``: :data:`SEVERAL`, or the reason of a low quality."""

    code: str
    photo: Photo


@dataclass(slots=True)
class EnrolmentReport:
    """What became of the photos offered. ``refused`` and ``notes`` name each one that needs a look.

    ``subjects``: of whom a photo was enrolled. ``erased_before``: those among them whom this gallery had erased.
    ``dated``: how many got a day until which to keep them.
    """

    enrolled: int = 0
    subjects: set[str] = field(default_factory=set)
    erased_before: set[str] = field(default_factory=set)
    dated: int = 0
    known: int = 0
    not_pictures: int = 0
    refused: list[Photo] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms people are enrolled: the gallery's purpose and legal basis in the user's words (empty: not stated,
    or as the gallery has it), and the last day on which to keep who is enrolled, as ``2027-01-31`` (empty: none)."""

    purpose: str = ""
    legal_basis: str = ""
    expires: str = ""


NO_TERMS: Final = Terms()


def enroll(
    gallery: Path,
    sources: Sequence[Path],
    settings: Settings,
    progress: Progress = no_progress,
    *,
    keys: Keys | None = None,
    terms: Terms = NO_TERMS,
) -> EnrolmentReport:
    """Create ``gallery`` or add to it. What was committed before an exception stays; run it again to go on.

    ``keys`` open a gallery that is there; a new one is sealed with them, and is plain where they are ``None``.

    Raises :class:`UsageError` where no photo is found, or ``terms`` are not those of the gallery or give a day that is
    past; :class:`ModelMismatch` where the gallery was made with another model; :class:`IntegrityError` where its hashes
    are of another decode.
    """
    pack = load_pack(settings.pack)
    plan = label(sources)
    _refuse_past(terms.expires, *plan.expires.values())
    runtime = make_ready(pack, settings.engine)
    with closing(start(runtime, settings, plan.inventory, mirrored=True)) as executor, deferred_interrupt() as check:
        sink = _Sink(gallery, keys, pack, plan, terms, progress, check)
        try:
            executor.run(plan.tasks(), sink)
        finally:
            sink.close()
    if not (sink.report.enrolled or sink.report.known or sink.report.refused):
        raise UsageError(f"{', '.join(map(str, sources))}: holds no photo; nothing was enrolled.")
    return sink.report


# What becomes of a photo


def _refuse_past(*dates: str) -> None:
    for date in dates:
        if date and parse_date(date) < today():
            raise UsageError(f"{date} is past. Give the last day on which to keep these people.")


class _Sink(Sink):
    """Judges photos in the order they were found, whichever worker was faster."""

    def __init__(
        self,
        path: Path,
        keys: Keys | None,
        pack: Pack,
        plan: Labelled,
        terms: Terms,
        progress: Progress,
        check_interrupt: Callable[[], None],
    ) -> None:
        self.report = EnrolmentReport()
        self._path, self._keys, self._terms = path, keys, terms
        self._pack = pack
        self._plan = plan
        self._progress = progress
        self._check_interrupt = check_interrupt
        self._gallery = _opened(path, keys, pack, terms)
        self._order: deque[tuple[int, int]] = deque()
        self._results: dict[tuple[int, int], Callable[[], None]] = {}
        self._offered: set[tuple[str, bytes]] = set()
        self._dated: set[str] = set()
        self._may_tidy = True
        self._enrolments: list[Enrolment] = []
        self._refused: list[Photo] = []
        self._total = sum(file.size for file in plan.inventory.files)
        self._read = self._items = 0
        for row, why in plan.missing:
            self._refuse(Photo(row.subject_id, str(row.path), None, UNREADABLE, why, 0.0))
        for number, file in enumerate(plan.inventory.files):
            if file.outcome is not None and file.outcome not in LOOKED_AT:
                task = FileTask(number, file.path, file.locator, file.size)
                self._refuse(self._photo(task, file.entry(), UNREADABLE, file.detail))

    def close(self) -> None:
        """Commit what is judged and close the gallery."""
        try:
            self._flush()
        finally:
            if self._gallery is not None:
                self._gallery.close()

    def found(self, task: FileTask, entry: Entry) -> bool:
        """Whether this is a photo that was not offered before."""
        self._items += 1
        if entry.outcome is not None:
            if entry.outcome not in LOOKED_AT:
                self._refuse(self._photo(task, entry, UNREADABLE, entry.detail or str(entry.outcome)))
            elif entry.kind is ItemKind.OTHER:
                self.report.not_pictures += 1
            return False
        subject = self._plan.subject(task, entry.locator)
        if not subject:
            detail = "lies in no folder; put each subject's photos into a folder named for the subject"
            self._refuse(self._photo(task, entry, NO_SUBJECT, detail))
            return False
        if entry.sha256 is not None and self._seen(subject, entry.sha256):
            return False
        self._order.append((task.file, entry.position))
        return True

    def _seen(self, subject: str, sha256: bytes) -> bool:
        if (subject, sha256) in self._offered:
            self.report.known += 1
            return True
        self._offered.add((subject, sha256))
        known = self._gallery.known(subject, sha256) if self._gallery is not None else None
        if known is None or known.refusal == UNREADABLE:  # which may have been for want of memory or time
            return False
        if known.refusal:
            self.report.refused.append(known)
        else:
            self.report.known += 1
        return True

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        """Judge the photo when its turn comes. Of an animation, the first frame counts."""
        first = replace(analyses[0], crops=())  # a slow photo holds up all that come behind it
        self._results[task.file, entry.position] = lambda: self._judge(task, entry, first)
        self._judge_in_order()

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        """Refuse the photo when its turn comes."""
        photo = self._photo(task, entry, UNREADABLE, message)
        self._results[task.file, entry.position] = lambda: self._refuse(photo)
        self._judge_in_order()

    def finished(self, task: FileTask, entries: int) -> None:
        """Count the file as read."""
        self._read += task.size

    def tick(self) -> None:
        """Commit if enough has come together; end here if the user wants to stop."""
        self._check_interrupt()
        if len(self._enrolments) + len(self._refused) >= COMMIT_PHOTOS:
            self._flush()
        self._progress(
            read=self._read,
            total=self._total,
            items=self._items,
            faces=self.report.enrolled,
            candidates=len(self.report.refused),
        )

    def _judge_in_order(self) -> None:
        while self._order and self._order[0] in self._results:
            self._results.pop(self._order.popleft())()

    def _judge(self, task: FileTask, entry: Entry, analysis: ImageAnalysis) -> None:
        refusal, detail, taken = judge(analysis)
        if refusal or analysis.templates is None:
            self._refuse(self._photo(task, entry, refusal, detail))
            return
        quality = analysis.templates.quality[taken]
        reason = quality_reasons(analysis.faces.landmarks[[taken]], quality[None])[0]
        detail = "; ".join(filter(None, [_LOW_QUALITY.get(reason), detail]))
        photo = self._photo(task, entry, "", detail, float(quality))
        self._enrolments.append(
            Enrolment(
                photo,
                analysis.templates.vectors[taken],
                analysis.picture_hashes,
                tuple(_row(batch, taken) for batch in analysis.face_hashes),
            )
        )
        self.report.enrolled += 1
        self.report.subjects.add(photo.subject_id)
        if detail:
            self.report.notes.append(Note(reason or SEVERAL, photo))

    def _photo(self, task: FileTask, entry: Entry, refusal: str, detail: str, quality: float = 0.0) -> Photo:
        subject, path = self._plan.subject(task, entry.locator), self._plan.path(task, entry.locator)
        return Photo(subject, path, entry.sha256, refusal, detail, quality)

    def _refuse(self, photo: Photo) -> None:
        self._refused.append(photo)
        self.report.refused.append(photo)

    def _flush(self) -> None:
        if not self._enrolments and not self._refused:
            return
        if self._gallery is None:
            self._gallery = Gallery.create(
                self._path,
                self._pack.name,
                self._pack.model_id,
                self._pack.embedder.dimension,
                keys=self._keys,
                purpose=self._terms.purpose,
                legal_basis=self._terms.legal_basis,
            )
        stored = [photo for photo in self._refused if photo.subject_id]
        enrolled = {enrolment.photo.subject_id for enrolment in self._enrolments}
        self.report.erased_before.update(self._gallery.people.erased_before(enrolled))
        dates = {subject: self._plan.expires.get(subject, self._terms.expires) for subject in enrolled}
        self._gallery.add(self._enrolments, stored, dict(self._plan.names), dates)
        self._dated.update(subject for subject, date in dates.items() if date)
        self.report.dated = len(self._dated)
        self._enrolments, self._refused = [], []
        self._tidy(self._gallery)

    def _tidy(self, gallery: Gallery) -> None:
        """Small commits leave much that is superseded in the file. That it cannot be rewritten ends nothing."""
        try:
            if self._may_tidy:
                gallery.tidy()
        except StorageError as error:
            self._may_tidy = False
            log.warning("%s: was not compacted (%s)", self._path, error)


def _opened(path: Path, keys: Keys | None, pack: Pack, terms: Terms) -> Gallery | None:
    """The gallery to add to; ``None`` where it is still to be made: the key for it is asked for now."""
    if not path.exists():
        if keys is not None:
            keys.secret(str(path), new=True)
        return None
    gallery = Gallery.open(path, keys=keys, writable=True, action="enroll")
    try:
        gallery.require_model(pack.model_id)
        gallery.require_terms(terms.purpose, terms.legal_basis)
        require_current(gallery.hash_algorithms(), str(path))
    except BaseException:
        gallery.close()
        raise
    return gallery


def judge(analysis: ImageAnalysis) -> tuple[str, str, int]:
    """Whether a photo can be enrolled: the refusal (empty for none), what there is to say, and the subject's face."""
    templates, faces = analysis.templates, analysis.faces
    if analysis.outcome not in LOOKED_AT:
        return UNREADABLE, analysis.detail or str(analysis.outcome), 0
    if templates is None or not len(faces):
        return NO_FACE, "no face was found", 0
    taken = subject_face(faces, analysis.width, analysis.height)
    choice = describe_choice(faces, taken)
    defect = enrolment_defects(faces, templates)[taken]
    if defect or not templates.valid[taken]:
        said = "; ".join(filter(None, [_DEFECTS.get(defect, "no template could be made"), choice]))
        return defect or UNREADABLE, said, taken
    return "", choice, taken


_LOW_QUALITY: Final = {
    QualityReason.SMALL: "small: the face has few pixels",
    QualityReason.BLURRED: "blurred: the face has little detail",
    QualityReason.TURNED: "turned: the head is turned to the side",
}

_DEFECTS: Final = {
    "too-small": "the face is too small for a reliable template",
    "too-blurred": "the face is too blurred for a reliable template",
}


def _row(batch: HashBatch, row: int) -> HashBatch:
    """One row of a batch of hashes."""
    part = slice(row, row + 1)
    return HashBatch(batch.algorithm, batch.bits[part], batch.quality[part], batch.image_index[part])
