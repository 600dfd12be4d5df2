"""The second look: faces near a decision are embedded again, together with their mirror image.

To average a template with that of the mirrored face takes two more embeddings, three times the cost of the first; done
for every face it would make a scan half as long again. So only faces near the bands get it, from the 112-pixel crop
that a case keeps of them anyway: their best candidate lies between a tenth of what is accepted and the end of the
review band. Held-out people are missed as rarely as with all faces looked at again, or all that are stored
(docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from leakmatch.arrays import BoolArray
from leakmatch.case.decisions import Judge
from leakmatch.case.rows import Candidate, Key
from leakmatch.case.store import Case
from leakmatch.locator import Locator
from leakmatch.matching.verdict import PictureMatch, Verdict, combine
from leakmatch.pipeline.matcher import Matcher
from leakmatch.pipeline.tasks import Executor, FileTask, Sink
from leakmatch.records import REVIEW_BAND, Entry, Evidence, ImageAnalysis, ItemKind
from leakmatch.settings import Settings

#: From this share of what is accepted to this multiple of it a second look may change how a face is decided.
NEAR: Final = (0.1, REVIEW_BAND)

_COMMIT_FACES: Final = 64


@dataclass(frozen=True, slots=True)
class Face:
    """A face to look at again: its candidates so far, and the JPEG of its crop."""

    key: Key
    face: int
    crop: bytes
    candidates: tuple[Candidate, ...]


def is_near(candidate: Candidate, judge: Judge) -> bool:
    """Whether a second look may change how the best candidate of a face is decided."""
    expected = judge.expected_false(candidate)
    return judge.threshold is None and expected is not None and bool(near(expected, judge.accepted))


def near(expected: ArrayLike, accepted: float) -> BoolArray:
    """Whether figures ``expected``, of any shape, lie in :data:`NEAR` of what is ``accepted``."""
    figures, (low, high) = np.asarray(expected, np.float64), NEAR
    return np.asarray((figures >= low * accepted) & (figures <= high * accepted))


def look_again(
    faces: Iterable[Face], executor: Executor, matcher: Matcher, done: Callable[[Face, list[Verdict]], None]
) -> None:
    """Embed each face again and compare it anew; ``done`` gets each face with its candidates as they are now.

    A crop that cannot be looked at again (two workers were lost over it) keeps the candidates it has.
    """
    sink = _Sink(matcher, done)
    executor.look_again(sink.requests(faces), sink)


def _again(face: Face, found: Sequence[Verdict]) -> list[Verdict]:
    """The candidates of a face by its new scores, with the evidence of pictures as it was."""
    pictures = [
        PictureMatch(c.face, c.subject_id, c.enrolment, c.evidence, c.hash_distance, c.picture_chance or 0.0)
        for c in face.candidates
        if c.evidence is not Evidence.SAME_FACE
    ]
    return combine(found, pictures)


#: The place of a crop, which is in no file.
_NO_FILE: Final = FileTask(-1, Path(), Locator.root("crop", "", b"", 0), 0)


class _Sink(Sink):
    """Takes the analyses of crops; each has the number of its face as the position of its entry."""

    def __init__(self, matcher: Matcher, done: Callable[[Face, list[Verdict]], None]) -> None:
        self._matcher = matcher
        self._done = done
        self._open: dict[int, Face] = {}

    def requests(self, faces: Iterable[Face]) -> Iterator[tuple[FileTask, Entry, bytes]]:
        """What to hand to the workers, one after the other."""
        for number, face in enumerate(faces):
            self._open[number] = face
            yield _NO_FILE, Entry(_NO_FILE.root, number, ItemKind.FRAME, len(face.crop), None, None), face.crop

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        """Compare the face anew."""
        face, templates = self._open.pop(entry.position), analyses[0].templates
        if templates is None or len(templates) != 1 or not templates.valid[0]:
            return
        found = [verdict for _, verdict in self._matcher.compare(templates.vectors, [face.face], looks=2)]
        self._done(face, _again(face, found))

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        """The face keeps the candidates it has."""
        self._open.pop(entry.position)

    def found(self, task: FileTask, entry: Entry) -> bool:
        """Nothing is walked."""
        return False


class SecondLooks:
    """The second looks of a scan: after the walk, and committed as they come, so that they too can be interrupted."""

    def __init__(
        self,
        case: Case,
        matcher: Matcher,
        settings: Settings,
        check_interrupt: Callable[[], None],
        progress: Callable[[int], None],
    ) -> None:
        """``progress`` is told how many faces were looked at again so far."""
        self._progress = progress
        self._looked = 0
        self._case = case
        self._matcher = matcher
        self._judge = Judge(case.totals(), settings.expected_false, settings.expected_false, settings.threshold)
        self._check_interrupt = check_interrupt
        self._seen: list[tuple[Key, int]] = []
        self._found: list[Candidate] = []

    def run(self, executor: Executor) -> None:
        """Look again at every face near a decision that was not looked at again before."""
        best = (c for c in self._case.candidates() if c.rank == 1)
        wanted = {(*c.key, c.face) for c in best if c.face is not None and is_near(c, self._judge)}
        look_again(self._faces(sorted(wanted - self._case.second_looks())), executor, self._matcher, self._done)
        self._flush()

    def _faces(self, places: Iterable[tuple[int, int, int, int]]) -> Iterator[Face]:
        for *place, face in places:
            key = Key(*place)
            crop = self._case.crop(key, face)
            if crop is not None:
                yield Face(key, face, crop, tuple(self._case.candidates_of(key, face)))

    def _done(self, face: Face, verdicts: list[Verdict]) -> None:
        self._seen.append((face.key, face.face))
        self._found += [Candidate(face.key, **asdict(verdict)) for verdict in verdicts]
        self._looked += 1
        self._progress(self._looked)
        if len(self._seen) >= _COMMIT_FACES:
            self._flush()
            self._check_interrupt()

    def _flush(self) -> None:
        self._case.write_second_looks(self._seen, self._found)
        self._seen, self._found = [], []
