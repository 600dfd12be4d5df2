"""The gallery: one file with the templates and hashes of the protected population.

It is the truth; an index is derived from it and can be thrown away.
Source photos are not stored. A photo is known by its SHA-256 within its subject, so that enrolling the same folder
again repeats nothing.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from leakmatch.database import Database
from leakmatch.errors import IntegrityError, ModelMismatch, UsageError
from leakmatch.gallery import adding, joining, table
from leakmatch.gallery.access import entry
from leakmatch.gallery.enrolled import Enrolled
from leakmatch.gallery.joining import Added
from leakmatch.gallery.keyring import Keyring
from leakmatch.gallery.people import ERASED, Erasure, People
from leakmatch.gallery.rows import FACE, PICTURE, Enrolment, Hashes, Photo
from leakmatch.gallery.schema import APPLICATION_ID, MUST_BE_EMPTY, SCHEMA, UPGRADES, VERSION, fill
from leakmatch.gallery.table import HashKind, Person, Rows
from leakmatch.gallery.templates import StoredTemplates
from leakmatch.sealed.keys import Keys

__all__ = ["FACE", "PICTURE", "Enrolment", "Gallery", "Hashes", "Photo"]

log = logging.getLogger(__name__)

#: A sealed file is compacted by itself where it is larger than twice what it would be then, and this.
_SLACK_BYTES: Final = 4 << 20

#: What the log calls the file's rewriting. (A command notes what it is about to do in other words: it may fail.)
_COMPACTED, _SEALED, _ROTATED = "compacted", "sealed", "keys-rotated"
_REWRITTEN: Final = {_COMPACTED, _SEALED, _ROTATED}


class Gallery(Enrolled):
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
    def create(
        cls,
        path: Path,
        pack: str,
        model_id: str,
        dimension: int,
        *,
        keys: Keys | None = None,
        purpose: str = "",
        legal_basis: str = "",
    ) -> Gallery:
        """Create an empty gallery for templates of one model, sealed with ``keys``, or plain where there are none.

        ``purpose`` and ``legal_basis``: what it is for, and what allows it, in the user's words; every report has them.
        The file must not exist.
        """
        about = {
            "id": secrets.token_hex(16),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "pack": pack,
            "model_id": model_id,
            "dimension": dimension,
            "purpose": purpose,
            "legal_basis": legal_basis,
        }

        def begin(new: Database) -> None:
            fill(new, about)
            new.note(entry("create", gallery=about["id"], sealed=keys is not None))

        return cls(Database.create(path, APPLICATION_ID, VERSION, SCHEMA, begin, keys))

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
            Path(path),
            APPLICATION_ID,
            VERSION,
            "gallery",
            keys=keys,
            writable=writable,
            steady=steady,
            noted=True,
            upgrades=UPGRADES,
        )
        gallery = cls(database)
        if keys is not None and (keys.given or keys.ask is not None) and not gallery.sealed and action != "seal":
            log.warning(
                "%s: is NOT sealed, so a key proves nothing: anybody may have changed or exchanged it.",
                path,
            )
        try:
            database.note_opening(entry(action, recovered=database.recovered or None, **detail))
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

    @property
    def purpose(self) -> str:
        """What it is for, in the user's words; empty where that was not stated."""
        return str(self._about.get("purpose") or "")

    @property
    def legal_basis(self) -> str:
        """What allows it, in the user's words; empty where that was not stated."""
        return str(self._about.get("legal_basis") or "")

    def describe(self, *, purpose: str | None = None, legal_basis: str | None = None) -> None:
        """State anew what it is for, and what allows it; ``None`` leaves it as it is. The log has the old and the new.

        A case that was begun before cannot be continued with it: its report would not say what holds now.
        """
        given = {"purpose": purpose, "legal_basis": legal_basis}
        now = {key: value for key, value in given.items() if value is not None and value != self._about.get(key)}
        if not now:
            return
        with self._database.transaction():
            self._database.put("gallery", {**self._about, **now})
            before = {key: self._about.get(key) or "" for key in now}
            self._database.note(entry("described", before=before, now=now))
        self._about = {**self._about, **now}

    def require_terms(self, purpose: str, legal_basis: str) -> None:
        """Raise :class:`UsageError` where it was made for another purpose, or on another legal basis; empty: any."""
        for what, given, have in (("purpose", purpose, self.purpose), ("legal basis", legal_basis, self.legal_basis)):
            if given and given != have:
                raise UsageError(
                    f"{self.path}: its {what} is {f'another ({have})' if have else 'not stated'}. To state it anew: "
                    f"leakmatch gallery describe {self.path}"
                )

    def require_model(self, model_id: str) -> None:
        """Raise :class:`ModelMismatch` unless templates of this model may be compared with the gallery's."""
        if model_id != self.model_id:
            raise ModelMismatch(
                f"{self.path}: enrolled with the model {self.model_id}, not with {model_id}. "
                f"Use the pack it was made with ({self._about['pack']}), or enrol again."
            )

    def require_enrolled(self) -> None:
        """Raise :class:`UsageError` for a gallery in which nobody could be found."""
        if self._database.one("SELECT 1 FROM templates LIMIT 1") is None:
            raise UsageError(f"{self.path}: nobody is enrolled in this gallery, so nobody could be found.")

    def info(self) -> dict[str, Any]:
        """Counts and identity, as JSON values.

        ``changes`` and ``state`` of a sealed one: how often something was added to the file, the log included, and a
        digest over all of it. Noted elsewhere, they show whether the whole file was put back to an earlier state.
        """
        file = self._database.sealed
        enrolled = self._database.one("SELECT count(*) FROM photos WHERE refusal = ''")
        return {
            **self._about,
            "subjects": self._database.one("SELECT count(*) FROM subjects"),
            "enrolled": self._database.one("SELECT count(DISTINCT subject_id) FROM photos WHERE refusal = ''"),
            "templates": enrolled,
            "photos_enrolled": enrolled,
            "photos_refused": self._database.one("SELECT count(*) FROM photos WHERE refusal <> ''"),
            "expired": len(self.people.expired()),
            "erasures": self._database.one("SELECT count(*) FROM erasures"),
            "digest": self.digest,
            "sealed": self.sealed,
            "bytes": self.path.stat().st_size,
            **({} if file is None else {"changes": file.commits, "state": file.chain}),
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
        self._database.compact(entry(_COMPACTED))

    def tidy(self) -> bool:
        """Compact a sealed file most of which is superseded; whether that was done.

        It is where it is larger than twice what is left of it, so what is written for it was written before: adding
        much costs at most twice as much, and adding a little to a large gallery nothing.
        """
        sealed = self._database.sealed
        if sealed is None or sealed.size <= 2 * sealed.live + _SLACK_BYTES:
            return False
        self.compact()
        return True

    def left_in_file(self) -> int:
        """How many removals there were since the file was last compacted: what they took out is still in it."""
        count = 0
        for noted in self.log():
            if noted.get("action") == ERASED:
                count += 1
            elif noted.get("action") in _REWRITTEN:
                count = 0
        return count

    def seal(self, keys: Keys) -> None:
        """Rewrite the file so that ``keys``, and no others, open it, under a new master key."""
        self._database.compact(entry(_ROTATED if self.sealed else _SEALED), keys)

    # What scores are made and judged by

    def templates(self) -> StoredTemplates:
        """Every template, as a matrix to be read by parts."""
        return StoredTemplates(self._database, self.dimension)

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

    # Enrolment

    def known(self, subject_id: str, sha256: bytes) -> Photo | None:
        """The photo with these bytes if it was offered for this subject before."""
        return adding.known(self._database, subject_id, sha256)

    def add(
        self,
        enrolments: list[Enrolment],
        refused: list[Photo],
        names: Mapping[str, str],
        expires: Mapping[str, str] | None = None,
    ) -> None:
        """Commit accepted and refused photos, and the names of their subjects. All of it or nothing.

        ``expires``: the last days on which to keep them, as ``2027-01-31``. What is not given stays as it is.
        """
        adding.add(self._database, enrolments, refused, names, expires or {})

    def was_imported(self, sha256: str) -> bool:
        """Whether the template file with this SHA-256 (hexadecimal) was imported before."""
        return joining.was_imported(self._database, sha256)

    def add_table(
        self,
        parts: Iterable[Rows],
        kinds: Sequence[HashKind],
        *,
        refused: Iterable[Photo] = (),
        others: Sequence[Person] = (),
        names_stay: bool = False,
        imported: str = "",
        noted: Callable[[Added], Mapping[str, Any]] | None = None,
    ) -> Added:
        """Commit people with their templates and hashes, as another gallery or a file has them. All of it or nothing.

        See :func:`leakmatch.gallery.joining.add_table`.
        """
        return joining.add_table(
            self._database,
            parts,
            kinds,
            refused=refused,
            others=others,
            names_stay=names_stay,
            imported=imported,
            noted=noted,
        )

    # What leaves it

    def table(self) -> table.Table:
        """All that it knows of its people, to be read by parts."""
        return table.Table(self._database, self.templates())

    # Its people

    @property
    def people(self) -> People:
        """Who is in it until when, and what was erased."""
        return People(self._database)

    def subjects(self) -> Iterator[dict[str, Any]]:
        """Each subject by id, as JSON values."""
        return iter(self.people)

    def photos(self, subject_id: str) -> list[dict[str, Any]]:
        """The photos of one subject. Raises :class:`UsageError` for an unknown one."""
        return self.people.photos(subject_id)

    def names(self) -> dict[str, str]:
        """The name of every subject that has one."""
        return self.people.names()

    def remove(self, subject_id: str, reason: str = "") -> Erasure:
        """Take a whole subject out. What it leaves in the file goes with :meth:`compact`."""
        return self.people.erase({subject_id: None}, reason)[0]

    def require_in_date(self) -> None:
        """Raise :class:`UsageError` where there are people who were to be kept until a day that is past."""
        past = len(self.people.expired())
        if past:
            raise UsageError(
                f"{self.path}: {past:,} of its people were to be kept until a day that is past, so nobody is searched "
                f"for. Remove them (leakmatch gallery remove {self.path} --expired), or keep them for longer "
                f"(leakmatch gallery expire {self.path} SUBJECT... --on DATE)."
            )

    # Whether it is whole

    def require_sound(self) -> None:
        """Raise :class:`IntegrityError` unless the content is what was written: of a sealed gallery that is known."""
        if not self.sealed:
            self.verify()

    def verify(self) -> None:
        """Raise :class:`IntegrityError` unless the file is sound and its content is what was written."""
        self._database.verify()
        for _ in self.templates().parts():
            pass  # each part is checked as it is read
        for query, what in MUST_BE_EMPTY:
            count = self._database.one(query)
            if count:
                raise IntegrityError(f"{self.path}: {count} {what}. Restore the gallery from a copy.")
