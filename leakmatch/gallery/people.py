"""The people in a gallery and their rights: who is in it until when, under which id, and how they are taken out.

A record of each erasure stays. It holds nothing of a face: no template, no hash, no digest of a photo, and the subject
is in it by a keyed digest of the id only (:mod:`leakmatch.gallery.references`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from leakmatch.database import Database, Row
from leakmatch.errors import UsageError
from leakmatch.gallery.access import entry
from leakmatch.gallery.references import reference

#: What the log calls an erasure.
ERASED: Final = "erased"

_TABLES: Final = ("photos", "templates", "hashes")  # each with the enrolment id in ``photo``


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was taken out at once of one subject. ``erased``: when, UTC; ``subject``: a keyed digest of the id.

    ``scope``: "subject" where the whole subject was removed, "enrolments" where some of its photos were. ``photos``
    counts refused ones, too.
    """

    number: int
    erased: str
    who: str
    reason: str
    scope: str
    subject: str
    photos: int
    templates: int
    hashes: int


def parse_date(text: str) -> str:
    """The last day on which to keep somebody, as ``2027-01-31``. Raises :class:`UsageError` for what is no such day."""
    try:
        day = date.fromisoformat(text).isoformat()
    except ValueError:
        day = ""
    if not day or day != text:
        raise UsageError(f"{text!r} is no date. Write it as 2027-01-31.")
    return text


def today() -> str:
    """The day, UTC. Who is to be kept until a day is kept too long from the next one on."""
    return datetime.now(UTC).date().isoformat()


class People:
    """The people in the gallery in ``database``. Whatever changes them is done as a whole or not at all.

    All methods but :meth:`erasures` raise :class:`UsageError` for a subject that is not in it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # Who is in it

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each by subject id, as JSON values: the name, how many photos are enrolled and refused, the last day."""
        day = today()
        for subject_id, name, expires, enrolled, refused in self._database.select(
            """SELECT s.subject_id, s.name, s.expires, count(p.photo) FILTER (WHERE p.refusal = ''),
                      count(p.photo) FILTER (WHERE p.refusal <> '')
               FROM subjects s LEFT JOIN photos p USING (subject_id) GROUP BY s.subject_id ORDER BY s.subject_id"""
        ):
            yield {
                "subject_id": subject_id,
                "name": name,
                "enrolled": enrolled,
                "refused": refused,
                "expires": expires or None,
                "expired": bool(expires) and expires < day,
            }

    def __contains__(self, subject_id: object) -> bool:
        return self._database.one("SELECT 1 FROM subjects WHERE subject_id = ?", (subject_id,)) is not None

    def about(self, subject_id: str) -> dict[str, Any]:
        """The name and the last day of one, as JSON values."""
        _, name, expires = self._row(subject_id)
        return {"subject_id": subject_id, "name": name, "expires": expires or None}

    def photos(self, subject_id: str) -> list[dict[str, Any]]:
        """The photos of one, by enrolment id, as JSON values."""
        self._row(subject_id)
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
                "SELECT photo, path, sha256, refusal, detail, quality FROM photos WHERE subject_id = ? ORDER BY photo",
                (subject_id,),
            )
        ]

    def names(self) -> dict[str, str]:
        """The name of everybody who has one."""
        return dict(self._database.select("SELECT subject_id, name FROM subjects WHERE name <> ''"))

    def reference(self, subject_id: str) -> str:
        """What stands for a subject, in the gallery or not, in the log and in the records of erasures."""
        return reference(self._database, "subject", subject_id)

    def _row(self, subject_id: str) -> Row:
        query = "SELECT subject_id, name, expires FROM subjects WHERE subject_id = ?"
        for row in self._database.select(query, (subject_id,)):
            return row
        raise UsageError(
            f"{self._database.path}: there is no subject {subject_id!r}. `leakmatch gallery list` shows them."
        )

    # Until when, and under which id

    def expired(self) -> list[str]:
        """Those whose last day is past, by id."""
        query = "SELECT subject_id FROM subjects WHERE expires <> '' AND expires < ? ORDER BY 1"
        return [subject_id for (subject_id,) in self._database.select(query, (today(),))]

    def expire(self, dates: Mapping[str, str]) -> None:
        """Set the last day of each (``2027-01-31``), on which it may still be searched for; empty for no such day."""
        before = {subject_id: self._row(subject_id) for subject_id in dates}
        with self._database.transaction():
            for subject_id, on in dates.items():
                _, name, was = before[subject_id]
                if was != on:
                    self._put((subject_id, name, on))
                    subject = self.reference(subject_id)
                    self._database.note(entry("expires", subject=subject, before=was or "never", now=on or "never"))

    def rename(self, subject_id: str, *, to: str | None = None, name: str | None = None) -> None:
        """Give one another id, another name, or both. Raises :class:`UsageError` where the id is taken.

        The gallery's own calibration is dropped where it names the subject by the old id.
        """
        _, old_name, expires = self._row(subject_id)
        row = (subject_id if to is None else to, old_name if name is None else name, expires)
        if not row[0]:
            raise UsageError("A subject id cannot be empty.")
        moves = row[0] != subject_id
        if moves and to in self:
            raise UsageError(f"{self._database.path}: there is a subject {to!r} already. Nothing was changed.")
        with self._database.transaction():
            self._put(row, before=subject_id)
            if moves:
                photos = self._database.delete("photos", "subject_id = ?", (subject_id,))
                self._database.insert("photos", [(photo, to, *rest) for photo, _, *rest in photos])
                self._forget_calibration(only_with=subject_id)
            subject, now = self.reference(subject_id), self.reference(row[0])
            self._database.note(entry("renamed", subject=subject, now=now if moves else None, name=row[1] != old_name))

    def _put(self, row: Row, *, before: str | None = None) -> None:
        self._database.delete("subjects", "subject_id = ?", (before or row[0],))
        self._database.insert("subjects", [row])

    # Out

    def erase(self, chosen: Mapping[str, Collection[int] | None], reason: str = "") -> list[Erasure]:
        """Take out of each the photos with these enrolment ids, or all of it (``None``), and keep a record of it.

        Who has no photo left by this stays, without being found. The gallery's own calibration goes: it was made of
        the scores of those who go, and may name them. What they leave in the file goes with :meth:`Gallery.compact`.
        """
        photos = {subject_id: self._chosen(subject_id, wanted) for subject_id, wanted in chosen.items()}
        if not chosen:
            return []
        about = entry(ERASED)
        made = []
        with self._database.transaction():
            last = int(self._database.one("SELECT coalesce(max(number), 0) FROM erasures"))
            for number, (subject_id, wanted) in enumerate(chosen.items(), last + 1):
                taken = [self._take(table, photos[subject_id]) for table in _TABLES]
                scope = "enrolments"
                if wanted is None:
                    scope = "subject"
                    self._database.delete("subjects", "subject_id = ?", (subject_id,))
                made.append(
                    Erasure(number, about["when"], about["who"], reason, scope, self.reference(subject_id), *taken)
                )
            self._database.insert("erasures", [tuple(asdict(erasure).values()) for erasure in made])
            self._forget_calibration()
            self._database.note({**about, "erasures": [made[0].number, made[-1].number]})
        return made

    def _chosen(self, subject_id: str, wanted: Collection[int] | None) -> list[int]:
        there = [photo["enrolment_id"] for photo in self.photos(subject_id)]
        for photo in wanted or ():
            if photo not in there:
                raise UsageError(
                    f"{self._database.path}: {subject_id!r} has no enrolment {photo}. `leakmatch gallery show` lists "
                    "them. Nothing was removed."
                )
        return there if wanted is None else sorted(set(wanted))

    def _take(self, table: str, photos: Collection[int]) -> int:
        return sum(len(self._database.delete(table, "photo = ?", (photo,))) for photo in photos)

    def _forget_calibration(self, only_with: str | None = None) -> None:
        """Drop the calibration of the gallery's own people; ``only_with``: only where it names this subject."""
        if only_with is None or json.dumps(only_with) in str(self._database.get("calibration") or ""):
            self._database.delete("meta", "key = 'calibration'")

    def erasures(self, subject_id: str | None = None) -> list[Erasure]:
        """The records of what was taken out: all, or those of one subject id."""
        where, values = ("1", ()) if subject_id is None else ("subject = ?", (self.reference(subject_id),))
        found = self._database.select(f"SELECT * FROM erasures WHERE {where} ORDER BY number", values)
        return [Erasure(*row) for row in found]

    def erased_before(self, subject_ids: Collection[str]) -> list[str]:
        """Those who were taken out as a whole once, and are not in it now; by id."""
        known = {self.reference(subject_id): subject_id for subject_id in subject_ids}
        query = "SELECT subject FROM erasures WHERE scope = 'subject' AND subject IN (SELECT value FROM json_each(?))"
        found = {known[subject] for (subject,) in self._database.select(query, (json.dumps(sorted(known)),))}
        query = "SELECT subject_id FROM subjects WHERE subject_id IN (SELECT value FROM json_each(?))"
        return sorted(found - {there for (there,) in self._database.select(query, (json.dumps(sorted(found)),))})
