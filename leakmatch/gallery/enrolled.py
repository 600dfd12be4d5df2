"""What is enrolled in a gallery besides the templates themselves: hashes, files, and whose they are."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

import numpy as np

from leakmatch.arrays import ByteArray, LongArray
from leakmatch.database import Row, Store
from leakmatch.errors import IntegrityError
from leakmatch.gallery.hashes import stored_hashes
from leakmatch.gallery.rows import Hashes


class Enrolled(Store):
    """The questions that matching asks of a gallery. Nothing is changed."""

    def first_enrolments(self) -> LongArray:
        """For each of :meth:`templates` the first enrolment of its subject: int64[N]."""
        rows = self._database.select(
            """SELECT f.first FROM photos p
               JOIN (SELECT subject_id, min(photo) AS first FROM photos WHERE refusal = '' GROUP BY subject_id) f
               USING (subject_id) WHERE p.refusal = '' ORDER BY p.photo"""
        )
        return np.fromiter((first for (first,) in rows), np.int64)

    def hash_algorithms(self) -> set[str]:
        """The algorithms of all hashes in the gallery."""
        return {algorithm for (algorithm,) in self._database.select("SELECT DISTINCT algorithm FROM hashes")}

    def hashes(self, scope: str, algorithms: Collection[str] | None = None) -> dict[str, Hashes]:
        """Every hash of a scope (``PICTURE`` or ``FACE``), by algorithm: of ``algorithms``, or of all."""
        return stored_hashes(self._database, scope, algorithms)

    def hash_of(self, enrolment_id: int, scope: str, algorithm: str) -> ByteArray | None:
        """The hash of one enrolled photo, uint8[B/8]; ``None`` where it has none, as imported templates."""
        bits = self._database.one(
            "SELECT bits FROM hashes WHERE photo = ? AND scope = ? AND algorithm = ?", (enrolment_id, scope, algorithm)
        )
        return None if bits is None else np.frombuffer(bits, np.uint8)

    def enrolled_as(self, sha256: bytes) -> list[int]:
        """The enrolment ids of the photo with these bytes: none, one, or one for each subject it was enrolled for."""
        rows = self._database.select("SELECT photo FROM photos WHERE sha256 = ? AND refusal = '' ORDER BY 1", (sha256,))
        return [photo for (photo,) in rows]

    def same_files(self) -> Iterator[tuple[int, int]]:
        """Pairs of enrolment ids, the lower first, of photos with the same bytes: they are of two subjects."""
        yield from self._database.select(
            """SELECT a.photo, b.photo FROM photos a JOIN photos b ON a.sha256 = b.sha256 AND a.photo < b.photo
               WHERE a.refusal = '' AND b.refusal = '' ORDER BY 1, 2"""
        )

    def equal_templates(self) -> int:
        """The number of templates that are, to the last bit, that of an earlier enrolment of another subject."""
        seen: dict[bytes, str] = {}
        found = 0
        for vector, subject_id in self.template_rows("t.vector, p.subject_id"):
            found += seen.setdefault(hashlib.sha256(vector).digest(), subject_id) != subject_id
        return found

    def path_of(self, enrolment_id: int) -> str:
        """Where an enrolled photo was enrolled from."""
        return str(self._database.one("SELECT path FROM photos WHERE photo = ?", (enrolment_id,)))

    def subject_of(self, enrolment_id: int) -> str:
        """The subject id of an enrolled photo. Raises :class:`IntegrityError` where there is none of this id."""
        subject_id = self._database.one("SELECT subject_id FROM photos WHERE photo = ?", (enrolment_id,))
        if subject_id is None:
            raise IntegrityError(f"{self.path}: there is no enrolment {enrolment_id}. Restore the gallery from a copy.")
        return str(subject_id)

    def enrolled_state(self) -> list[int]:
        """The number of templates, and the last enrolment id among them: equal where the same photos are enrolled.

        An id is never given twice, so whatever is taken out and added again, the two differ.
        """
        return list(next(self._database.select("SELECT count(*), coalesce(max(photo), 0) FROM templates")))

    def template_rows(self, columns: str) -> Iterator[Row]:
        """``columns`` (SQL; ``p`` a photo, ``s`` its subject) of every template, by enrolment id."""
        return self._database.select(
            f"""SELECT {columns} FROM templates t JOIN photos p USING (photo) JOIN subjects s USING (subject_id)
                ORDER BY t.photo"""
        )
