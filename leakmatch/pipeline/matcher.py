"""Joins what was seen with the gallery: templates, file digests, picture and crop hashes. Trusted side only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces.packs import Pack
from leakmatch.gallery.store import FACE, PICTURE, Gallery
from leakmatch.hashing.algorithms import CONTRAST_LEVELS, CONTRAST_SIGNS, INDEXED
from leakmatch.hashing.copies import COPY_DISTANCE, COPY_SCORE, OTHER_DISTANCE, copy_distances, copy_probability
from leakmatch.hashing.evidence import HashIndex, require_current
from leakmatch.matching.approximate import ApproximateIndex
from leakmatch.matching.calibration import Calibration
from leakmatch.matching.join import DECIMALS, TemplateIndex
from leakmatch.matching.policy import score_for
from leakmatch.matching.screen import Each, Rows
from leakmatch.matching.verdict import PictureMatch, Verdict, combine
from leakmatch.pipeline.fused import SubjectTemplates
from leakmatch.records import STORED_BAND, Evidence, ImageAnalysis
from leakmatch.settings import Settings

#: A second's faces against fewer templates take one thread some milliseconds; nobody waits for that.
THREADS_FROM: Final = 200_000

#: A face that scores less with a person is a copy of none of their photos, however many these are.
COPY_OF_ONE: Final = 0.3

Picture = tuple[bytes | None, ImageAnalysis]


@dataclass(slots=True)
class _Block:
    """The valid templates of a batch of pictures, and where each came from."""

    vectors: list[np.ndarray]
    picture: list[int]
    face: list[int]


class _OneAtATime:
    """Templates in a file that several threads may ask for: one of them reads at a time."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lock = Lock()
        self.shape, self.dtype, self.ndim = rows.shape, rows.dtype, rows.ndim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any, /) -> FloatArray:
        with self._lock:
            return self._rows[rows]


def require_searchable(gallery: Gallery, pack: Pack, *, begun: bool = False) -> None:
    """Raise unless ``gallery`` can be searched with the templates and hashes that ``pack`` and this version make.

    :class:`~leakmatch.errors.ModelMismatch`, :class:`~leakmatch.errors.IntegrityError` (hashes of another decode, or
    damage) or :class:`~leakmatch.errors.UsageError` (nobody is enrolled, or somebody is kept beyond their day).
    ``begun``: what was begun while it could be goes on, also beyond that day.
    """
    gallery.require_model(pack.model_id)
    require_current(gallery.hash_algorithms(), str(gallery.path))
    gallery.require_enrolled()
    if not begun:
        gallery.require_in_date()
    gallery.require_sound()


class Matcher:
    """Compares pictures with one gallery. ``searches`` is the number of faces compared before (on resume).

    Each face is compared once with each of ``people`` enrolled, from ``photos``:
    :class:`~leakmatch.pipeline.fused.SubjectTemplates`.

    ``threads`` share the join with a large gallery. A scan waits for its join, and the analysers soon wait for the
    scan; while they do, their cores are free for it.

    How many searches a scan will make is not known before its end, so a candidate is kept while it is expected at
    most 1,000 times the accepted number of false candidates *in the searches made so far*. The expectation only grows:
    what is dropped now would be dropped at the end as well, and the case is pruned to the final figure then.

    ``approximate``: what :meth:`approximate` said when the scan was interrupted.
    """

    def __init__(
        self,
        gallery: Gallery,
        calibration: Calibration | None,
        settings: Settings,
        searches: int = 0,
        approximate: Mapping[str, Any] | None = None,
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        self.model_id = gallery.model_id
        self.searches = searches
        normalisation = None if calibration is None else calibration.normalisation
        templates = gallery.templates()
        self.photos = len(templates)
        self._subjects = SubjectTemplates(templates, gallery.first_enrolments(), normalisation)
        self.people = len(self._subjects)
        rows: Rows = self._subjects
        each: Each = map
        if threads is not None and self.people >= THREADS_FROM:
            rows, each = _OneAtATime(self._subjects), threads.map
        self._index: TemplateIndex | ApproximateIndex
        if settings.approximate:
            self._index = ApproximateIndex(
                rows, self._subjects.subject, each=each, start=settings.approximate_from, before=approximate
            )
        else:
            self._index = TemplateIndex(rows, self._subjects.subject, each=each)
        self._gallery = gallery
        self._pictures = HashIndex.of_pictures(gallery.hashes(PICTURE, INDEXED))
        self._crops = HashIndex.of_faces(gallery.hashes(FACE, INDEXED))
        self._calibration = calibration
        self._settings = settings

    def floor(self) -> float:
        """The lowest score worth keeping after the searches made so far."""
        if self._settings.threshold is not None:
            return self._settings.threshold
        if self._calibration is None:
            raise ValueError("neither a calibration nor a threshold")
        return score_for(self._calibration, STORED_BAND * self._settings.expected_false, self.searches * self.people)

    def approximate(self) -> dict[str, Any] | None:
        """What was measured of an approximate search, as JSON values; ``None`` where the search is exact."""
        return self._index.record() if isinstance(self._index, ApproximateIndex) else None

    def match(self, pictures: Sequence[Picture]) -> list[list[Verdict]]:
        """The candidates of each picture, in the order given."""
        faces = self._faces([analysis for _, analysis in pictures])
        by_picture = self._picture_matches(pictures)
        return [
            combine(verdicts, self._with_copies(matches, analysis, verdicts))
            for (_, analysis), verdicts, matches in zip(pictures, faces, by_picture, strict=True)
        ]

    def same_file(self, sha256: bytes | None) -> list[Verdict]:
        """The candidates of an item that was not looked at: subjects of whom it is an enrolled photo."""
        return combine([], self._same_file(sha256))

    def _same_file(self, sha256: bytes | None) -> list[PictureMatch]:
        return [
            PictureMatch(None, self._gallery.subject_of(enrolment), enrolment, Evidence.SAME_FILE, None, 0.0)
            for enrolment in self._gallery.enrolled_as(sha256 or b"")
        ]

    def _faces(self, analyses: Sequence[ImageAnalysis]) -> list[list[Verdict]]:
        block = _Block([], [], [])
        for i, analysis in enumerate(analyses):
            if analysis.templates is None:
                continue
            if analysis.templates.model_id != self.model_id:
                raise ValueError("a worker embedded with another model than the gallery's")
            for face in np.flatnonzero(analysis.templates.valid):
                block.vectors.append(analysis.templates.vectors[face])
                block.picture.append(i)
                block.face.append(int(face))
        found: list[list[Verdict]] = [[] for _ in analyses]
        self.searches += len(block.vectors)
        if block.vectors:
            for probe, verdict in self.compare(np.stack(block.vectors), block.face):
                found[block.picture[probe]].append(verdict)
        return found

    def compare(self, probes: FloatArray, faces: Sequence[int], looks: int = 1) -> Iterator[tuple[int, Verdict]]:
        """Everybody whom one of ``probes`` float32[P,D] may be, with the row of the probe; ``faces``: their numbers.

        It counts no search. ``looks``: how often the faces were looked at.
        """
        comparable = self._subjects.normalised(probes)
        pairs = self._index.join(comparable, self.floor())
        chances = self._chances(pairs.score)
        for k, chance in enumerate(chances):
            probe, first = int(pairs.probe_index[k]), int(pairs.enrolment_id[k])
            score = round(float(pairs.score[k]), DECIMALS)
            enrolment = self._subjects.closest(first, comparable[probe])
            yield probe, Verdict(faces[probe], self._gallery.subject_of(first), enrolment, score, *chance, looks=looks)

    def _chances(self, scores: FloatArray) -> Iterable[tuple[float | None, float | None, float | None]]:
        """Of each score the chance that two people reach it, and its 95 % interval."""
        if self._calibration is None:
            return [(None, None, None)] * len(scores)
        columns = (self._calibration.fmr(scores), *self._calibration.interval(scores))
        return zip(*(column.tolist() for column in columns), strict=True)

    def _with_copies(
        self, matches: Sequence[PictureMatch], analysis: ImageAnalysis, verdicts: Sequence[Verdict]
    ) -> list[PictureMatch]:
        """``matches`` by file and hash, less those of crops that contrast maps overrule, and the faces that these
        find."""
        rarest = 0.0 if self._calibration is None else self._calibration.resolution
        nearest: dict[int, int] = {}
        found: list[PictureMatch] = []
        for verdict, enrolment, distance in self.copy_distances(analysis, verdicts):
            if distance is None:
                continue
            nearest[enrolment] = min(distance, nearest.get(enrolment, distance))
            if distance <= COPY_DISTANCE:
                chance = copy_probability(distance, None if verdict.chance is None else max(verdict.chance, rarest))
                subject = verdict.subject_id
                found.append(PictureMatch(verdict.face, subject, enrolment, Evidence.SAME_PICTURE, distance, chance))
        kept = (m for m in matches if m.face is None or nearest.get(m.enrolment, 0) <= OTHER_DISTANCE)
        return [*found, *kept]

    def copy_distances(
        self, analysis: ImageAnalysis, verdicts: Sequence[Verdict]
    ) -> Iterator[tuple[Verdict, int, int | None]]:
        """Each enrolled photo whose template is near enough to a face for a copy, and how far its contrast map is.

        The distance is ``None`` where the maps were not compared (:func:`~leakmatch.hashing.copies.copy_distances`).
        """
        maps = next((batch.bits for batch in analysis.face_hashes if batch.algorithm == CONTRAST_LEVELS), None)
        if maps is None or analysis.templates is None:
            return
        near: dict[int, list[tuple[Verdict, int, ByteArray]]] = {}
        for verdict in verdicts:
            if verdict.face is None or verdict.score is None or verdict.score < COPY_OF_ONE:
                continue
            enrolments, vectors = self._subjects.photos(verdict.enrolment)
            scores = vectors @ analysis.templates.vectors[verdict.face]
            for enrolment in enrolments[scores >= COPY_SCORE].tolist():
                signs = self._gallery.hash_of(enrolment, FACE, CONTRAST_SIGNS)
                if signs is not None:
                    near.setdefault(verdict.face, []).append((verdict, enrolment, signs))
        for face, photos in near.items():
            distances = copy_distances(maps[face], np.stack([signs for _, _, signs in photos]))
            for (verdict, enrolment, _), distance in zip(photos, distances, strict=True):
                yield verdict, enrolment, distance

    def _picture_matches(self, pictures: Sequence[Picture]) -> Iterator[list[PictureMatch]]:
        whole = self._pictures.matches([analysis.picture_hashes for _, analysis in pictures])
        crops = self._crops.matches([analysis.face_hashes for _, analysis in pictures])
        for i, (sha256, _) in enumerate(pictures):
            matches = self._same_file(sha256)
            for hit in whole[i]:
                subject = self._gallery.subject_of(hit.enrolment_id)
                matches.append(
                    PictureMatch(None, subject, hit.enrolment_id, Evidence.SAME_PICTURE, hit.distance, hit.chance)
                )
            for hit in crops[i]:
                subject = self._gallery.subject_of(hit.enrolment_id)
                matches.append(
                    PictureMatch(hit.row, subject, hit.enrolment_id, Evidence.SAME_PICTURE, hit.distance, hit.chance)
                )
            yield matches
