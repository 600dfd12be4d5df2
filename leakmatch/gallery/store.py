"""The gallery: one file with the templates and hashes of the protected population.

It is the truth; an index is derived from it and can be thrown away.
Source photos are not stored. A photo is known by its SHA-256 within its subject, so that enrolling the same folder
again repeats nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray, LongArray
from leakmatch.database import Database, Row, Store
from leakmatch.errors import IntegrityError, ModelMismatch, UsageError
from leakmatch.gallery.access import entry
from leakmatch.gallery.keyring import Keyring
from leakmatch.gallery.templates import PART, StoredTemplates
from leakmatch.records import HashBatch
from leakmatch.sealed.keys import Keys

APPLICATION_ID: Final = 0x4C4D4741  # "LMGA"
VERSION: Final = 1

SCHEMA: Final = (
    "CREATE TABLE subjects (subject_id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE photos (
        photo INTEGER PRIMARY KEY,      -- the enrolment id
        subject_id TEXT NOT NULL,
        path TEXT NOT NULL,             -- where it was enrolled from, printable
        sha256 BLOB,
        refusal TEXT NOT NULL,          -- reason code; empty where a template was made
        detail TEXT NOT NULL,
        quality REAL NOT NULL
    )""",
    "CREATE UNIQUE INDEX photos_by_sha256 ON photos (sha256, subject_id)",
    "CREATE INDEX photos_by_subject ON photos (subject_id)",
    "CREATE TABLE templates (photo INTEGER PRIMARY KEY, vector BLOB NOT NULL)",  # float32[D], little-endian
    """CREATE TABLE hashes (
        photo INTEGER NOT NULL,
        scope TEXT NOT NULL,            -- picture, face
        algorithm TEXT NOT NULL,
        bits BLOB NOT NULL,
        quality REAL NOT NULL,
        PRIMARY KEY (photo, scope, algorithm)
    ) WITHOUT ROWID""",
)

PICTURE: Final = "picture"
FACE: Final = "face"


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo that was offered for enrolment. ``refusal`` is empty where a template was made."""

    subject_id: str
    path: str
    sha256: bytes | None
    refusal: str
    detail: str
    quality: float


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An accepted photo: its template float32[D] and its hashes (one row per batch)."""

    photo: Photo
    vector: FloatArray
    picture_hashes: tuple[HashBatch, ...]
    face_hashes: tuple[HashBatch, ...]


@dataclass(frozen=True, slots=True)
class Hashes:
    """All hashes of one scope and algorithm.

    ``bits`` uint8[M,B/8], ``quality`` float32[M], ``enrolment_id`` int64[M].
    """

    bits: ByteArray
    quality: FloatArray
    enrolment_id: LongArray


class Gallery(Store):
    """Templates and hashes of the protected population in one file.

    >>> with Gallery.open("school.gallery") as gallery:  # doctest: +SKIP
    ...     print(gallery.info()["subjects"])
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        about = database.get("gallery")
        if not isinstance(about, dict) or not {"id", "model_id", "dimension"} <= about.keys():
            database.close()
            raise IntegrityError(f"{database.path}: the gallery's description is damaged. Restore it from a copy.")
        self._about: dict[str, Any] = about

    @classmethod
    def create(cls, path: Path, pack: str, model_id: str, dimension: int, *, keys: Keys | None = None) -> Gallery:
        """Create an empty gallery for templates of one model, sealed with ``keys``, or plain where there are none.

        The file must not exist.
        """
        about = {
            "id": secrets.token_hex(16),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "pack": pack,
            "model_id": model_id,
            "dimension": dimension,
        }

        def fill(new: Database) -> None:
            new.put("gallery", about)
            new.note(entry("create", gallery=about["id"], sealed=keys is not None))

        return cls(Database.create(path, APPLICATION_ID, VERSION, SCHEMA, fill, keys))

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        keys: Keys | None = None,
        writable: bool = False,
        steady: bool = False,
        action: str = "open",
        **detail: Any,
    ) -> Gallery:
        """Open an existing gallery; ``keys`` open a sealed one. ``action`` and ``detail`` (JSON values) go to its log.

        ``steady``: nobody can change it until it is closed, and nobody is changing it.
        """
        database = Database.open(
            Path(path), APPLICATION_ID, VERSION, "gallery", keys=keys, writable=writable, steady=steady, noted=True
        )
        gallery = cls(database)
        try:
            database.note_opening(entry(action, **detail))
        except BaseException:
            gallery.close()
            raise
        return gallery

    # What it is

    @property
    def id(self) -> str:
        """A random identity, given when the gallery was created."""
        return str(self._about["id"])

    @property
    def model_id(self) -> str:
        """The model, precision and recipe of every template in it."""
        return str(self._about["model_id"])

    @property
    def dimension(self) -> int:
        """The length of a template."""
        return int(self._about["dimension"])

    def require_model(self, model_id: str) -> None:
        """Raise :class:`ModelMismatch` unless templates of this model may be compared with the gallery's."""
        if model_id != self.model_id:
            raise ModelMismatch(
                f"{self.path}: enrolled with the model {self.model_id}, not with {model_id}. "
                f"Use the pack it was made with ({self._about['pack']}), or enrol again."
            )

    def require_enrolled(self) -> None:
        """Raise :class:`UsageError` for a gallery in which nobody could be found."""
        if not self._database.one("SELECT count(*) FROM templates"):
            raise UsageError(f"{self.path}: nobody is enrolled in this gallery, so nobody could be found.")

    def info(self) -> dict[str, Any]:
        """Counts and identity, as JSON values."""
        return {
            **self._about,
            "subjects": self._database.one("SELECT count(*) FROM subjects"),
            "enrolled": self._database.one("SELECT count(DISTINCT subject_id) FROM photos WHERE refusal = ''"),
            "templates": self._database.one("SELECT count(*) FROM templates"),
            "photos_enrolled": self._database.one("SELECT count(*) FROM photos WHERE refusal = ''"),
            "photos_refused": self._database.one("SELECT count(*) FROM photos WHERE refusal <> ''"),
            "digest": self.digest,
            "sealed": self.sealed,
            "bytes": self.path.stat().st_size,
        }

    @property
    def sealed(self) -> bool:
        """Whether it is encrypted."""
        return self._database.sealed is not None

    def note(self, action: str, **detail: Any) -> None:
        """Add to the log what is being done; ``detail``: JSON values."""
        self._database.note_opening(entry(action, **detail))

    def log(self) -> Iterator[dict[str, Any]]:
        """The log (:mod:`leakmatch.gallery.access`), from its beginning. Raises :class:`IntegrityError`."""
        return self._database.notes()

    # Keys and space

    @property
    def keyring(self) -> Keyring:
        """The keys that open it. Raises :class:`UsageError` where it is not sealed."""
        return Keyring(self._database)

    def compact(self) -> None:
        """Rewrite the file without what was removed or superseded. A sealed one gets a new data key."""
        self._database.compact(entry("compact"))

    def seal(self, keys: Keys) -> None:
        """Rewrite the file so that ``keys``, and no others, open it, under a new master key."""
        self._database.compact(entry("seal" if not self.sealed else "rotate-keys"), keys)

    def subjects(self) -> Iterator[dict[str, Any]]:
        """Each subject with the number of its enrolled and refused photos, by subject id."""
        for subject_id, name, enrolled, refused in self._database.select(
            """SELECT s.subject_id, s.name, count(p.photo) FILTER (WHERE p.refusal = ''),
                      count(p.photo) FILTER (WHERE p.refusal <> '')
               FROM subjects s LEFT JOIN photos p USING (subject_id) GROUP BY s.subject_id ORDER BY s.subject_id"""
        ):
            yield {"subject_id": subject_id, "name": name, "enrolled": enrolled, "refused": refused}

    def photos(self, subject_id: str) -> list[dict[str, Any]]:
        """The photos of one subject. Raises :class:`UsageError` for an unknown one."""
        if self._database.one("SELECT 1 FROM subjects WHERE subject_id = ?", (subject_id,)) is None:
            raise UsageError(f"{self.path}: there is no subject {subject_id!r}. `leakmatch gallery list` shows them.")
        return [
            {
                "enrolment_id": photo,
                "path": path,
                "sha256": sha256.hex() if sha256 else None,
                "refusal": refusal or None,
                "detail": detail,
                "quality": round(quality, 4),
            }
            for photo, path, sha256, refusal, detail, quality in self._database.select(
                """SELECT photo, path, sha256, refusal, detail, quality FROM photos WHERE subject_id = ?
                   ORDER BY photo""",
                (subject_id,),
            )
        ]

    # What matching needs

    def templates(self) -> StoredTemplates:
        """Every template, as a matrix to be read by parts."""
        return StoredTemplates(self._database, self.dimension)

    def first_enrolments(self) -> LongArray:
        """For each of :meth:`templates` the first enrolment of its subject: int64[N]."""
        rows = self._database.select(
            """SELECT f.first FROM templates t JOIN photos p USING (photo)
               JOIN (SELECT subject_id, min(photo) AS first FROM photos WHERE refusal = '' GROUP BY subject_id) f
               USING (subject_id) ORDER BY t.photo"""
        )
        return np.fromiter((first for (first,) in rows), np.int64)

    def hash_algorithms(self) -> set[str]:
        """The algorithms of all hashes in the gallery."""
        return {algorithm for (algorithm,) in self._database.select("SELECT DISTINCT algorithm FROM hashes")}

    def hashes(self, scope: str, algorithms: Collection[str] | None = None) -> dict[str, Hashes]:
        """Every hash of a scope (``PICTURE`` or ``FACE``), by algorithm: of ``algorithms``, or of all."""
        counts = self._database.select("SELECT algorithm, count(*) FROM hashes WHERE scope = ? GROUP BY 1", (scope,))
        return {
            algorithm: self._hashes(scope, algorithm, count)
            for algorithm, count in list(counts)
            if algorithms is None or algorithm in algorithms
        }

    def hash_of(self, enrolment_id: int, scope: str, algorithm: str) -> ByteArray | None:
        """The hash of one enrolled photo, uint8[B/8]; ``None`` where it has none, as imported templates."""
        bits = self._database.one(
            "SELECT bits FROM hashes WHERE photo = ? AND scope = ? AND algorithm = ?", (enrolment_id, scope, algorithm)
        )
        return None if bits is None else np.frombuffer(bits, np.uint8)

    def _hashes(self, scope: str, algorithm: str, count: int) -> Hashes:
        rows = self._database.select(
            "SELECT bits, quality, photo FROM hashes WHERE scope = ? AND algorithm = ? ORDER BY photo",
            (scope, algorithm),
        )
        bits: list[ByteArray] = []
        quality, photo = np.empty(count, np.float32), np.empty(count, np.int64)
        done = 0
        while part := list(itertools.islice(rows, PART)):  # as Python objects, all at once would take a lot of memory
            bits.append(np.frombuffer(b"".join(row[0] for row in part), np.uint8).reshape(len(part), -1))
            quality[done : done + len(part)] = [row[1] for row in part]
            photo[done : done + len(part)] = [row[2] for row in part]
            done += len(part)
        return Hashes(np.concatenate(bits), quality, photo)

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

    def names(self) -> dict[str, str]:
        """The name of every subject that has one."""
        return dict(self._database.select("SELECT subject_id, name FROM subjects WHERE name <> ''"))

    def calibration(self) -> bytes | None:
        """The calibration that was made of the people in this gallery; ``None`` where none was."""
        content = self._database.get("calibration")
        return None if content is None else str(content).encode()

    def put_calibration(self, content: bytes | None) -> None:
        """Keep a calibration in the place of the one before; ``None`` keeps none."""
        with self._database.transaction():
            if content is None:
                self._database.delete("meta", "key = 'calibration'")
            else:
                self._database.put("calibration", content.decode())

    def enrolled_state(self) -> list[int]:
        """The number of templates, and the last enrolment id among them: equal where the same photos are enrolled.

        An id is never given twice, so whatever is taken out and added again, the two differ.
        """
        return list(next(self._database.select("SELECT count(*), coalesce(max(photo), 0) FROM templates")))

    # Enrolment

    def known(self, subject_id: str, sha256: bytes) -> Photo | None:
        """The photo with these bytes if it was offered for this subject before."""
        rows = self._database.select(
            "SELECT subject_id, path, sha256, refusal, detail, quality FROM photos WHERE sha256 = ? AND subject_id = ?",
            (sha256, subject_id),
        )
        return next((Photo(*row) for row in rows), None)

    def add(self, enrolments: list[Enrolment], refused: list[Photo], names: dict[str, str]) -> None:
        """Commit accepted and refused photos, and the names of their subjects. All of it or nothing."""
        database = self._database
        with database.transaction():
            subjects = {photo.subject_id for photo in refused} | {e.photo.subject_id for e in enrolments}
            for subject_id in sorted(subjects):
                self._put_subject(subject_id, names.get(subject_id, ""))
            photo = self._last_photo()
            for offered in refused:
                if not self._listed(offered):
                    photo += 1
                    database.insert("photos", [_photo_row(photo, offered)])
            for enrolment in enrolments:
                photo += 1
                database.delete(  # an earlier refusal of the same photo
                    "photos",
                    "subject_id = ? AND refusal <> '' AND (sha256 = ? OR sha256 IS NULL AND path = ?)",
                    (enrolment.photo.subject_id, enrolment.photo.sha256, enrolment.photo.path),
                )
                database.insert("photos", [_photo_row(photo, enrolment.photo)])
                database.insert("templates", [(photo, enrolment.vector.astype("<f4").tobytes())])
                for scope, batches in ((PICTURE, enrolment.picture_hashes), (FACE, enrolment.face_hashes)):
                    database.insert(
                        "hashes",
                        [(photo, scope, b.algorithm, b.bits[0].tobytes(), float(b.quality[0])) for b in batches],
                    )
            database.put("last_photo", photo)  # so that an enrolment id is never given twice

    def was_imported(self, sha256: str) -> bool:
        """Whether the template file with this SHA-256 (hexadecimal) was imported before."""
        return sha256 in (self._database.get("imported") or [])

    def add_templates(self, parts: Iterable[tuple[list[Photo], FloatArray, dict[str, str]]], file_sha256: str) -> int:
        """Commit templates that were made elsewhere, all or nothing; returns how many were new.

        Each part: the photos they were made from, ``vectors`` float32[N,D] of unit norm, and names by subject id. They
        have no hashes. A photo that its subject has already is left out. ``file_sha256`` is remembered.
        """
        database, added = self._database, 0
        with database.transaction(), database.large_cache():
            photo = self._last_photo()
            for photos, vectors, names in parts:
                self._put_subjects({p.subject_id for p in photos}, names)
                keep = self._new_photos(photos)
                numbers = range(photo + 1, photo + 1 + len(keep))
                database.insert("photos", [_photo_row(n, photos[i]) for n, i in zip(numbers, keep, strict=True)])
                blobs = vectors.astype("<f4", copy=False)
                database.insert("templates", [(n, blobs[i].tobytes()) for n, i in zip(numbers, keep, strict=True)])
                photo += len(keep)
                added += len(keep)
            database.put("last_photo", photo)
            database.put("imported", [*(database.get("imported") or []), file_sha256])
        return added

    def _new_photos(self, photos: list[Photo]) -> list[int]:
        """The positions of the photos that their subject does not have; earlier refusals of them are taken out."""
        seen: set[tuple[str, bytes]] = set()
        keep = []
        for i, offered in enumerate(photos):
            if offered.sha256 is not None:
                key = (offered.subject_id, offered.sha256)
                known = self.known(*key)
                if key in seen or (known is not None and not known.refusal):
                    continue
                if known is not None:
                    self._database.delete("photos", "subject_id = ? AND sha256 = ?", key)
                seen.add(key)
            keep.append(i)
        return keep

    def _put_subjects(self, subjects: set[str], names: dict[str, str]) -> None:
        query = "SELECT subject_id, name FROM subjects WHERE subject_id IN (SELECT value FROM json_each(?))"
        known: dict[str, str] = dict(self._database.select(query, (json.dumps(sorted(subjects)),)))
        self._database.insert("subjects", [(s, names.get(s, "")) for s in sorted(subjects - known.keys())])
        for subject_id, name in known.items():
            if names.get(subject_id, name) != name:
                self._put_subject(subject_id, names[subject_id])

    def template_rows(self, columns: str) -> Iterator[Row]:
        """``columns`` (SQL; ``p`` a photo, ``s`` its subject) of every template, by enrolment id."""
        return self._database.select(
            f"""SELECT {columns} FROM templates t JOIN photos p USING (photo) JOIN subjects s USING (subject_id)
                ORDER BY t.photo"""
        )

    def text_widths(self) -> dict[str, int]:
        """The most characters of a subject id, a name and a path, each at least 1."""
        query = """SELECT max(length(p.subject_id)), max(length(s.name)), max(length(p.path))
                   FROM photos p JOIN subjects s USING (subject_id)"""
        found = next(self._database.select(query))
        return {name: max(width or 0, 1) for name, width in zip(("subject_id", "name", "path"), found, strict=True)}

    def _last_photo(self) -> int:
        last = int(self._database.one("SELECT coalesce(max(photo), 0) FROM photos"))
        return max(last, int(self._database.get("last_photo") or 0))

    def _put_subject(self, subject_id: str, name: str) -> None:
        known = self._database.one("SELECT name FROM subjects WHERE subject_id = ?", (subject_id,))
        if known is None:
            self._database.insert("subjects", [(subject_id, name)])
        elif name and name != known:
            self._database.delete("subjects", "subject_id = ?", (subject_id,))
            self._database.insert("subjects", [(subject_id, name)])

    def _listed(self, offered: Photo) -> bool:
        """Whether a refused photo was listed before: by its bytes, or by its place where they could not be read."""
        if offered.sha256 is not None:
            return self.known(offered.subject_id, offered.sha256) is not None
        return bool(
            self._database.one(
                "SELECT 1 FROM photos WHERE subject_id = ? AND path = ? AND sha256 IS NULL",
                (offered.subject_id, offered.path),
            )
        )

    def remove(self, subject_id: str) -> int:
        """Remove a subject with all photos, templates and hashes; returns the number of photos.

        Freed pages are overwritten. Raises :class:`UsageError` for an unknown subject.
        """
        photos = [photo["enrolment_id"] for photo in self.photos(subject_id)]
        with self._database.transaction():
            for photo in photos:
                for table in ("templates", "hashes", "photos"):
                    self._database.delete(table, "photo = ?", (photo,))
            self._database.delete("subjects", "subject_id = ?", (subject_id,))
        return len(photos)

    def require_sound(self) -> None:
        """Raise :class:`IntegrityError` unless the content is what was written: of a sealed gallery that is known."""
        if not self.sealed:
            self.verify()

    def verify(self) -> None:
        """Raise :class:`IntegrityError` unless the file is sound and its content is what was written."""
        self._database.verify()
        for _ in self.templates().parts():
            pass  # each part is checked as it is read
        for query, what in _MUST_BE_EMPTY:
            count = self._database.one(query)
            if count:
                raise IntegrityError(f"{self.path}: {count} {what}. Restore the gallery from a copy.")


def _photo_row(photo: int, offered: Photo) -> tuple[Any, ...]:
    return (
        photo,
        offered.subject_id,
        offered.path,
        offered.sha256,
        offered.refusal,
        offered.detail,
        float(offered.quality),
    )


_MUST_BE_EMPTY: Final = (
    (
        "SELECT count(*) FROM photos WHERE refusal = '' AND photo NOT IN (SELECT photo FROM templates)",
        "enrolled photos have no template",
    ),
    (
        "SELECT count(*) FROM templates WHERE photo NOT IN (SELECT photo FROM photos WHERE refusal = '')",
        "templates have no photo",
    ),
    ("SELECT count(*) FROM hashes WHERE photo NOT IN (SELECT photo FROM photos)", "hashes have no photo"),
    (
        "SELECT count(*) FROM photos WHERE subject_id NOT IN (SELECT subject_id FROM subjects)",
        "photos have no subject",
    ),
)
