"""The gallery as it is compared: one template for each subject, the mean of those of its photos.

The mean of several templates varies less than each of them, and one comparison a person is one chance of a false
candidate, not several. Held-out people are missed a third less often than by the best of several scores
(docs/evaluation.md). Photos keep their templates in the gallery; nothing here is stored.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import FloatArray, LongArray
from leakmatch.gallery.templates import PART, StoredTemplates
from leakmatch.matching.normalisation import Normalisation, unit

_SPARSE: Final = 4  # photos that lie scattered over more rows than this for each are read one by one


class SubjectTemplates:
    """A matrix float32[S,D] of rows of about unit norm, read from the gallery by parts
    (:class:`~leakmatch.matching.screen.Rows`).

    ``subject`` int64[S], ascending: the subject's first enrolment, which stands for it. ``normalisation`` is applied to
    each photo's template before the mean; ``None`` compares them as they are.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)
    ndim: int = 2

    def __init__(self, stored: StoredTemplates, first: LongArray, normalisation: Normalisation | None) -> None:
        """``first`` int64[N]: for each stored template the first enrolment of its subject."""
        self._stored = stored
        self._first = first
        self._normalisation = normalisation
        self._row = np.argsort(first, kind="stable")  # rows of ``stored``, subject by subject
        self.subject, self._start = np.unique(first[self._row], return_index=True)
        self._end = np.append(self._start[1:], len(first))
        self.shape: tuple[int, ...] = (len(self.subject), stored.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | LongArray) -> FloatArray:
        wanted = np.arange(len(self))[rows]
        means = np.empty((len(wanted), self.shape[1]), np.float32)
        for begin in range(0, len(wanted), PART):
            part = wanted[begin : begin + PART]
            vectors, counts = self._photos(part)
            if (counts > 1).any():
                sums = np.add.reduceat(vectors.astype(np.float64), np.cumsum(counts) - counts, axis=0)
                vectors = self.mean_of(sums, counts)
            means[begin : begin + PART] = vectors
        return means

    def closest(self, subject: int, probe: FloatArray) -> int:
        """The enrolment of ``subject`` (its first) that is most like the normalised ``probe`` float32[D]."""
        row = int(np.searchsorted(self.subject, subject))
        if self._end[row] - self._start[row] == 1:
            return subject
        vectors, _ = self._photos(np.array([row]))
        best = int(np.argmax(vectors @ probe))
        return int(self._stored.enrolment_id[self._row[self._start[row] + best]])

    def mean_of(self, sums: NDArray[np.float64], counts: LongArray) -> FloatArray:
        """Mean templates float32[K,D], from the ``sums`` float64[K,D] of ``counts`` int64[K] normalised photos each."""
        return unit(sums) if self._normalisation is None else self._normalisation.mean_template(sums, counts)

    def photos(self, enrolment: int) -> tuple[LongArray, FloatArray]:
        """The enrolments int64[P] of the subject whose ``enrolment`` is, and their templates float32[P,D] as stored."""
        first = self._first[np.searchsorted(self._stored.enrolment_id, enrolment)]
        row = int(np.searchsorted(self.subject, first))
        rows = self._row[self._start[row] : self._end[row]]
        return self._stored.enrolment_id[rows], self._read(rows)

    def of_photos(self, rows: LongArray) -> tuple[FloatArray, LongArray, LongArray]:
        """The photos of the subjects in ``rows`` int64[K], subject by subject.

        Normalised templates float32[N,D], the subject of each as its place in ``rows`` int64[N], enrolment ids
        int64[N].
        """
        vectors, counts = self._photos(rows)
        return vectors, np.repeat(np.arange(len(rows)), counts), self._stored.enrolment_id[self._stored_rows(rows)]

    def by_enrolment(self) -> tuple[LongArray, LongArray]:
        """Every enrolment id int64[N], ascending, and the row int64[N] of its subject."""
        subject = np.empty(len(self._row), np.int64)
        subject[self._row] = np.repeat(np.arange(len(self)), self._end - self._start)
        return self._stored.enrolment_id, subject

    def normalised(self, probes: FloatArray) -> FloatArray:
        """``probes`` float32[P,D] as they are compared."""
        return probes if self._normalisation is None else self._normalisation.apply(probes)

    def _photos(self, subjects: LongArray) -> tuple[FloatArray, LongArray]:
        """Normalised templates of the photos of the subjects in these rows, and how many photos each has."""
        counts = self._end[subjects] - self._start[subjects]
        return self.normalised(self._read(self._stored_rows(subjects))), counts

    def _stored_rows(self, subjects: LongArray) -> LongArray:
        counts = self._end[subjects] - self._start[subjects]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows: LongArray = self._row[np.repeat(self._start[subjects], counts) + within]
        return rows

    def _read(self, rows: LongArray) -> FloatArray:
        if not len(rows):
            return np.empty((0, self.shape[1]), np.float32)
        low, high = int(rows.min()), int(rows.max()) + 1
        if high - low > _SPARSE * len(rows):
            return self._stored[rows]
        return self._stored[low:high][rows - low]
