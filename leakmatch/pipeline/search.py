"""A quick look: who is in these photos? No case is written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from leakmatch.case.decisions import Judge
from leakmatch.case.rows import Candidate, Key, Totals
from leakmatch.faces.packs import load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.gallery.store import Gallery
from leakmatch.matching.verdict import Verdict
from leakmatch.pipeline.calibrate import calibration_for
from leakmatch.pipeline.matcher import Matcher, require_searchable
from leakmatch.pipeline.second_look import Face, is_near, look_again
from leakmatch.pipeline.start import start, take_inventory
from leakmatch.pipeline.tasks import Executor, FileTask, Sink
from leakmatch.records import Entry, ImageAnalysis, Outcome
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings


@dataclass(slots=True)
class SearchResult:
    """Rows of candidates, and of photos that could not be looked at or hold no face, in the order given."""

    candidates: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    faces: int = 0
    photos: int = 0
    approximate: dict[str, Any] | None = None  #: what was measured of an approximate search; ``None``: exact


def search(photos: Sequence[Path], gallery: Path, settings: Settings, *, keys: Keys | None = None) -> SearchResult:
    """Candidates for every face in ``photos`` (files, folders or archives), strongest first within a face.

    ``keys`` open a sealed gallery.
    """
    pack = load_pack(settings.pack)
    inventory = take_inventory(photos)
    runtime = make_ready(pack, settings.engine)
    with (
        closing(start(runtime, settings, inventory, mirrored=False)) as executor,
        Gallery.open(gallery, keys=keys, steady=True, action="search") as opened,
    ):
        require_searchable(opened, pack)
        calibration = calibration_for(opened, pack, settings)
        matcher = Matcher(opened, calibration, settings)
        names = opened.names()
        sink = _Sink()
        tasks = (
            FileTask(number, file.path, file.locator, file.size)
            for number, file in enumerate(inventory.files)
            if file.outcome is None
        )
        executor.run(tasks, sink)
        seen = [sink.seen[key] for key in sorted(sink.seen)]
        flat = [(path, entry, analysis) for path, entry, analyses in seen for analysis in analyses]
        candidates = [
            [Candidate(Key(0, number), **asdict(verdict)) for verdict in found]
            for number, found in enumerate(matcher.match([(entry.sha256, analysis) for _, entry, analysis in flat]))
        ]
        resolution = 0.0 if calibration is None else calibration.resolution
        totals = Totals(matcher.searches, len(flat), matcher.people, matcher.photos, resolution)
        judge = Judge(totals, settings.expected_false, settings.expected_false, settings.threshold)
        _look_again(candidates, [analysis for _, _, analysis in flat], judge, executor, matcher)
    result = SearchResult(photos=len(sink.seen), approximate=matcher.approximate())
    result.problems = [
        {"path": file.locator.path, "outcome": str(file.outcome), "detail": file.detail}
        for file in inventory.files
        if file.outcome is not None
    ]
    for (path, _, analysis), found in zip(flat, candidates, strict=True):
        result.faces += len(analysis.faces)
        shown = path if not analysis.frame else f"{path} (frame {analysis.frame})"
        if analysis.outcome is not Outcome.DONE:
            detail = analysis.detail or ("no face was found" if analysis.outcome is Outcome.NO_FACE else "")
            result.problems.append({"path": shown, "outcome": str(analysis.outcome), "detail": detail})
        for candidate in found:
            row = _row(candidate, analysis, judge)
            result.candidates.append({"path": shown, "name": names.get(candidate.subject_id, ""), **row})
    result.problems += sink.problems
    return result


def _look_again(
    candidates: list[list[Candidate]],
    analyses: Sequence[ImageAnalysis],
    judge: Judge,
    executor: Executor,
    matcher: Matcher,
) -> None:
    """Take second looks as a scan does; what they find replaces what was found, picture by picture in
    ``candidates``."""
    faces = [
        Face(best.key, best.face, analyses[number].crops[best.face], tuple(c for c in found if c.face == best.face))
        for number, found in enumerate(candidates)
        for best in found
        if best.rank == 1 and best.face is not None and is_near(best, judge)
    ]

    def done(face: Face, verdicts: list[Verdict]) -> None:
        found = candidates[face.key.position]
        found[:] = [c for c in found if c.face != face.face] + [Candidate(face.key, **asdict(v)) for v in verdicts]
        found.sort(key=lambda c: (c.face is None, c.face or 0, c.rank))

    look_again(faces, executor, matcher, done)


class _Sink(Sink):
    """Keeps everything: a search is small."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], tuple[str, Entry, Sequence[ImageAnalysis]]] = {}
        self.problems: list[dict[str, Any]] = []

    def found(self, task: FileTask, entry: Entry) -> bool:
        """Look at every picture."""
        if entry.outcome is not None and entry.outcome is not Outcome.WALKED:
            self._problem(entry, str(entry.outcome), entry.detail)
        return entry.outcome is None

    def _problem(self, entry: Entry, outcome: str, detail: str) -> None:
        self.problems.append({"path": entry.locator.path, "outcome": outcome, "detail": detail})

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        """Keep the analyses."""
        self.seen[task.file, entry.position] = (entry.locator.path, entry, analyses)

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        """Name the photo as quarantined."""
        self._problem(entry, str(Outcome.QUARANTINED), message)


def _row(candidate: Candidate, analysis: ImageAnalysis, judge: Judge) -> dict[str, Any]:
    face = candidate.face
    return {
        "face": face,
        "box": None if face is None else [round(float(v), 2) for v in analysis.faces.boxes[face]],
        "subject_id": candidate.subject_id,
        "rank": candidate.rank,
        "score": candidate.score,
        "expected_false": judge.expected_false(candidate),
        **dict(zip(("expected_false_low", "expected_false_high"), judge.interval(candidate), strict=True)),
        "extrapolated": judge.extrapolated(candidate),
        "evidence": str(candidate.evidence),
        "hash_distance": candidate.hash_distance,
        "looks": candidate.looks,
        "decision": str(judge.decision(candidate)),
    }
