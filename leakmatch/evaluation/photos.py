"""What every protocol begins with: each photo it asks for, looked at once, as its subject's face or as a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from leakmatch.arrays import FloatArray
from leakmatch.faces.defects import eye_distances
from leakmatch.gallery.enrolment import subject_face
from leakmatch.locator import SEPARATOR, SOURCE, Locator, printable
from leakmatch.pipeline.enrol import judge
from leakmatch.pipeline.progress import Progress
from leakmatch.pipeline.start import Inventory
from leakmatch.pipeline.tasks import FileTask, Sink
from leakmatch.records import LOOKED_AT, Entry, ImageAnalysis, Outcome


@dataclass(frozen=True, slots=True)
class Face:
    """The subject's face in a photo (:func:`leakmatch.gallery.enrolment.subject_face`).

    ``plain`` float32[D]: the template of a probe. ``mirrored`` float32[D]: that of a gallery, where both were made.
    ``eye_distance`` in pixels of the photo, ``sharpness`` as :func:`leakmatch.faces.quality.sharpness` has it.
    """

    plain: FloatArray
    mirrored: FloatArray | None = None
    eye_distance: float = 0.0
    sharpness: float = 0.0


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo. Without a ``face`` it is a failure to acquire, ``detail`` says why; so does ``refusal``, where
    enrolment would refuse it."""

    path: str
    outcome: Outcome
    detail: str = ""
    face: Face | None = None
    refusal: str = ""
    jpeg_quality: int | None = None
    sha256: bytes | None = None

    @property
    def read(self) -> bool:
        """Whether all of it could be looked at, with a face in it or not."""
        return self.outcome in LOOKED_AT


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that could not be used: why."""

    path: str
    outcome: Outcome
    detail: str


_STREAMS: Final = frozenset({"gzip", "bzip2", "xz", "lzma", "zstd"})


def inside(locator: Locator) -> str:
    """The path by which a table names an item: that of the export, but a tar.gz is named as if it were a tar."""
    links = list(locator.chain())
    if links[0].kind == SOURCE and len(links) > 1:
        links = links[1:]
        while len(links) > 1 and links[0].kind in _STREAMS:
            links = links[1:]
    return plain_path(SEPARATOR.join(link.name for link in links))


def plain_path(path: str) -> str:
    """A path as a table may write it, as :func:`inside` does."""
    return printable(path).removeprefix("./")


class PhotoSink(Sink):
    """Keeps what is seen in every photo asked for, by its path; of two with one path the first counts.

    ``asked``: the path of an item, or empty for an item that is not asked for; it is told of every item, also of those
    that cannot be read. ``total``: how many photos will be asked for, where that is known; else progress is by bytes.
    """

    def __init__(
        self,
        asked: Callable[[FileTask, Entry], str],
        model_id: str,
        inventory: Inventory,
        progress: Progress,
        total: int | None = None,
    ) -> None:
        self.photos: dict[str, Photo] = {}
        self._asked, self._model_id, self._progress, self._total = asked, model_id, progress, total
        self._bytes = sum(file.size for file in inventory.files)
        self._paths: dict[tuple[int, int], str] = {}  # of photos that are being looked at
        self._taken: set[str] = set()
        self._faces = 0
        self._read = 0
        self._reached: dict[int, int] = {}  # bytes of files that are being read
        for number, file in enumerate(inventory.files):
            if file.outcome is not None:
                self.found(FileTask(number, file.path, file.locator, file.size), file.entry())

    def found(self, task: FileTask, entry: Entry) -> bool:
        """Whether this is a picture that is asked for."""
        path = self._asked(task, entry)
        if not path or path in self._taken:
            return False
        self._taken.add(path)
        self._paths[task.file, entry.position] = path
        if entry.outcome is not None:
            self._keep(task, entry, outcome=entry.outcome, detail=entry.detail)
        return entry.outcome is None

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        """Keep the subject's face. Of an animation, the first frame counts."""
        analysis, templates = analyses[0], analyses[0].templates
        refused, why, _ = judge(analysis)
        detail, face = analysis.detail, None
        if templates is None or not len(analysis.faces):
            detail = detail or "no face was found"
        else:
            if templates.model_id != self._model_id:
                raise ValueError("a worker embedded with another model than the pack's")
            taken = subject_face(analysis.faces, analysis.width, analysis.height)
            face = _face(analysis, taken)
            detail = detail if face else "no template could be made of the face"
        self._keep(
            task,
            entry,
            outcome=analysis.outcome,
            detail=detail,
            face=face,
            refusal=why if refused else "",
            jpeg_quality=analysis.jpeg_quality,
        )

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        """The photo is a failure to acquire."""
        self._keep(task, entry, outcome=Outcome.QUARANTINED, detail=message)

    def _keep(
        self,
        task: FileTask,
        entry: Entry,
        *,
        outcome: Outcome,
        detail: str,
        face: Face | None = None,
        refusal: str = "",
        jpeg_quality: int | None = None,
    ) -> None:
        path = self._paths.pop((task.file, entry.position))
        self.photos[path] = Photo(path, outcome, detail, face, refusal, jpeg_quality, entry.sha256)
        self._faces += face is not None

    def read(self, task: FileTask, position: int) -> None:
        """Note how far the reader is."""
        self._read += position - self._reached.get(task.file, 0)
        self._reached[task.file] = position

    def finished(self, task: FileTask, entries: int) -> None:
        """The file was read to its end."""
        self._read += task.size - self._reached.pop(task.file, 0)

    def tick(self) -> None:
        """Tell how much is done."""
        done = len(self.photos)
        read, total = (self._read, self._bytes) if self._total is None else (done, self._total)
        self._progress(read=read, total=total, items=done, faces=self._faces, candidates=done - self._faces)


def _face(analysis: ImageAnalysis, taken: int) -> Face | None:
    templates, plain = analysis.templates, analysis.plain
    if templates is None or not templates.valid[taken]:
        return None
    if plain is None or analysis.sharpness is None:
        return Face(templates.vectors[taken])
    if not plain.valid[taken]:
        return None
    eyes = float(eye_distances(analysis.faces.landmarks[taken : taken + 1])[0])
    return Face(plain.vectors[taken], templates.vectors[taken], eyes, float(analysis.sharpness[taken]))


def failures(photos: Iterable[Photo]) -> tuple[Failure, ...]:
    """The failures to acquire among ``photos``, by path."""
    found = (Failure(photo.path, photo.outcome, photo.detail) for photo in photos if photo.face is None)
    return tuple(sorted(found, key=lambda failure: failure.path))
