"""The people in a gallery and their rights: who is in it until when, under which id, and how they are taken out.

A record of each erasure stays. It holds nothing of a face: no template, no hash, no digest of a photo, and the subject
is in it by a keyed digest of the id only (:mod:`leakmatch.gallery.references`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from leakmatch.database import Database
from leakmatch.errors import UsageError
from leakmatch.gallery.access import entry
from leakmatch.gallery.references import reference


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

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def subject_reference(database: Database, subject_id: str) -> str:
    """What stands for a subject in records."""
    return reference(database, "subject", subject_id)


def parse_date(text: str) -> str:
    """The last day on which to keep somebody, as ``2027-01-31``. Raises :class:`UsageError` for what is no such day."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise UsageError(f"{text!r} is no date. Write it as 2027-01-31.")
    return text


def today() -> str:
    """The day, UTC. Who is to be kept until a day is expired from the next one on."""
    return datetime.now(UTC).date().isoformat()


# Who is in it


def require_subject(database: Database, subject_id: str) -> None:
    """Raise :class:`UsageError` for a subject that is not in it."""
    if database.one("SELECT 1 FROM subjects WHERE subject_id = ?", (subject_id,)) is None:
        raise UsageError(f"{database.path}: there is no subject {subject_id!r}. `leakmatch gallery list` shows them.")


def subjects(database: Database) -> Iterator[dict[str, Any]]:
    """Each subject with the number of its enrolled and refused photos, and until when it is kept, by subject id."""
    day = today()
    for subject_id, name, expires, enrolled, refused in database.select(
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


def photos(database: Database, subject_id: str) -> list[dict[str, Any]]:
    """The photos of one subject. Raises :class:`UsageError` for an unknown one."""
    require_subject(database, subject_id)
    return [
        {
            "enrolment_id": photo,
            "path": path,
            "sha256": sha256.hex() if sha256 else None,
            "refusal": refusal or None,
            "detail": detail,
            "quality": round(quality, 4),
        }
        for photo, path, sha256, refusal, detail, quality in database.select(
            "SELECT photo, path, sha256, refusal, detail, quality FROM photos WHERE subject_id = ? ORDER BY photo",
            (subject_id,),
        )
    ]


def expired(database: Database) -> list[str]:
    """The subjects whose last day is past, by id."""
    rows = database.select("SELECT subject_id FROM subjects WHERE expires <> '' AND expires < ? ORDER BY 1", (today(),))
    return [subject_id for (subject_id,) in rows]


# Changes


def rename(database: Database, subject_id: str, to: str | None, name: str | None) -> None:
    """Give a subject another id, another name, or both. Raises :class:`UsageError`. See :meth:`Gallery.rename`."""
    require_subject(database, subject_id)
    new = subject_id if to is None else to
    if new != subject_id and database.one("SELECT 1 FROM subjects WHERE subject_id = ?", (new,)) is not None:
        raise UsageError(f"{database.path}: there is a subject {new!r} already. Nothing was changed.")
    with database.transaction():
        ((_, old_name, expires),) = database.delete("subjects", "subject_id = ?", (subject_id,))
        database.insert("subjects", [(new, old_name if name is None else name, expires)])
        if new != subject_id:
            rows = database.delete("photos", "subject_id = ?", (subject_id,))
            database.insert("photos", [(photo, new, *rest) for photo, _, *rest in rows])
            _forget_calibration(database, only_with=subject_id)
        old, now = subject_reference(database, subject_id), subject_reference(database, new)
        database.note(entry("rename", subject=old, to=None if now == old else now, name=name is not None or None))


def expire(database: Database, dates: Mapping[str, str]) -> None:
    """Keep each subject until its date; empty for no date. Raises :class:`UsageError` for an unknown subject."""
    for subject_id in dates:
        require_subject(database, subject_id)
    with database.transaction():
        for subject_id, on in sorted(dates.items()):
            ((_, name, before),) = database.delete("subjects", "subject_id = ?", (subject_id,))
            database.insert("subjects", [(subject_id, name, on)])
            if before != on:
                database.note(
                    entry("expire", subject=subject_reference(database, subject_id), before=before, on=on or "never")
                )


def erase(database: Database, chosen: Mapping[str, Collection[int] | None], reason: str) -> list[Erasure]:
    """Take people out, all of it or nothing; the records of it. See :meth:`Gallery.erase`."""
    numbers = {subject_id: _chosen(database, subject_id, photos) for subject_id, photos in chosen.items()}
    about = entry("erase")
    made = []
    with database.transaction():
        last = int(database.one("SELECT coalesce(max(number), 0) FROM erasures"))
        for number, subject_id in enumerate(sorted(chosen), last + 1):
            taken = dict.fromkeys(("templates", "hashes", "photos"), 0)
            for photo in numbers[subject_id]:
                for table in taken:
                    taken[table] += len(database.delete(table, "photo = ?", (photo,)))
            whole = chosen[subject_id] is None
            if whole:
                database.delete("subjects", "subject_id = ?", (subject_id,))
            erasure = Erasure(
                number,
                about["when"],
                about["who"],
                reason,
                "subject" if whole else "enrolments",
                subject_reference(database, subject_id),
                taken["photos"],
                taken["templates"],
                taken["hashes"],
            )
            database.insert("erasures", [tuple(asdict(erasure).values())])
            made.append(erasure)
        if made:
            _forget_calibration(database)
            database.note({**about, "erasures": [made[0].number, made[-1].number], "subjects": len(made)})
    return made


def _chosen(database: Database, subject_id: str, wanted: Collection[int] | None) -> list[int]:
    there = [photo["enrolment_id"] for photo in photos(database, subject_id)]
    for photo in wanted or ():
        if photo not in there:
            raise UsageError(
                f"{database.path}: {subject_id!r} has no enrolment {photo}. `leakmatch gallery show` lists them. "
                "Nothing was removed."
            )
    return there if wanted is None else sorted(set(wanted))


def _forget_calibration(database: Database, only_with: str | None = None) -> None:
    """Drop the calibration of the gallery's own people. It was made of the scores of those who go, and names some.

    ``only_with``: only where it names this subject.
    """
    content = str(database.get("calibration") or "")
    if only_with is None or any(json.dumps(only_with, ensure_ascii=ascii) in content for ascii in (True, False)):
        database.delete("meta", "key = 'calibration'")


def erasures(database: Database, subject_id: str | None = None) -> list[Erasure]:
    """The records of what was taken out: all, or those of one subject id."""
    where, values = ("1", ()) if subject_id is None else ("subject = ?", (subject_reference(database, subject_id),))
    return [Erasure(*row) for row in database.select(f"SELECT * FROM erasures WHERE {where} ORDER BY number", values)]
