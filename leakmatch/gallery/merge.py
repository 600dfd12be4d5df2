"""The people of another gallery of the same model come into a gallery.

A subject id is a name that each gallery gives: "17" may be two people. Only a photo that both have for it says that it
is one; else the user has to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from leakmatch.errors import ModelMismatch, UsageError
from leakmatch.gallery.access import entry
from leakmatch.gallery.joining import Added
from leakmatch.gallery.store import Gallery
from leakmatch.gallery.table import Rows, Table
from leakmatch.gallery.template_writers import Progress
from leakmatch.gallery.transfer import no_progress, require_same_hashes

#: Ids that are named in an error; all are in :attr:`Collisions.subjects`.
_NAMED: Final = 20


class Collisions(UsageError):
    """``subjects``: ids that both galleries have, without a photo that both have for them."""

    def __init__(self, message: str, subjects: list[str]) -> None:
        super().__init__(message)
        self.subjects = subjects


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of the other gallery's people.

    ``templates``: how many it has; ``added`` of them are new, ``known`` were there. ``subjects`` and ``refused`` photos
    that are new. ``same``: how many ids both have for the same people. ``twice``: photos that are now enrolled for two
    subjects or more, and were not for that many before. ``erased_before`` and ``who``: as
    :class:`~leakmatch.gallery.joining.Added`. ``purposes``: what the two are for, and what allows it, where
    that differs.
    """

    templates: int
    added: int
    known: int
    subjects: int
    refused: int
    same: int
    twice: int
    erased_before: int
    who: list[str]
    purposes: dict[str, list[str]] = field(default_factory=dict)


def merge(
    gallery: Gallery,
    other: Gallery,
    *,
    same_ids: bool = False,
    prefix: str = "",
    progress: Progress = no_progress,
) -> Merged:
    """Add the people of ``other`` to ``gallery``: all of it or nothing. ``other`` stays as it is.

    A photo that both have for the same subject is kept once. ``same_ids``: an id that both have is one person. With a
    ``prefix`` every id of ``other`` gets it, but for those who have a photo in common with the same id. Names and
    purpose stay as they are in ``gallery``; of two last days on which to keep somebody the earlier holds.

    Raises :class:`ModelMismatch` where templates or hashes are of other models, and :class:`Collisions`.
    """
    if same_ids and prefix:
        raise UsageError("Either the ids mean the same people (--same-ids), or they get a prefix (--prefix).")
    own, table = _tables(gallery, other)
    ids = _Ids(own, table, same_ids=same_ids, prefix=prefix, what=f"{other.path}", into=f"{gallery.path}")
    before = own.photos_of_several()
    noted: dict[str, Any] = {"other": str(other.path.absolute()), "other_gallery": other.id}

    def parts() -> Iterator[Rows]:
        done = 0
        for rows in table.rows():
            progress(done, len(table))
            yield replace(rows, subject_id=[ids.here(subject) for subject in rows.subject_id])
            done += len(rows)

    def note(added: Added) -> dict[str, Any]:
        counts = {"templates": added.templates, "subjects": added.subjects, "refused": added.refused}
        return entry("merged", **noted, **counts, same_ids=same_ids or None, prefix=prefix or None)

    added = gallery.add_table(
        parts(),
        table.kinds,
        refused=(replace(photo, subject_id=ids.here(photo.subject_id)) for photo in table.refused()),
        others=[replace(person, subject_id=ids.here(person.subject_id)) for person in table.others()],
        names_stay=True,
        noted=note,
    )
    return Merged(
        templates=len(table),
        added=added.templates,
        known=len(table) - added.templates,
        subjects=added.subjects,
        refused=added.refused,
        same=ids.same_people,
        twice=own.photos_of_several() - before,
        erased_before=added.erased_before,
        who=added.who,
        purposes={
            name: [getattr(gallery, name), getattr(other, name)]
            for name in ("purpose", "legal_basis")
            if getattr(gallery, name) != getattr(other, name)
        },
    )


def _tables(gallery: Gallery, other: Gallery) -> tuple[Table, Table]:
    """What is in both. Raises :class:`ModelMismatch` where that cannot be in one gallery."""
    if other.path.samefile(gallery.path):
        raise UsageError(f"{other.path}: a gallery cannot be merged with itself.")
    if other.model_id != gallery.model_id:
        raise ModelMismatch(
            f"{other.path}: enrolled with the model {other.model_id}, {gallery.path} with {gallery.model_id}. Their "
            "templates cannot be compared. To see what can be done: leakmatch gallery re-enrol"
        )
    table = other.table()
    require_same_hashes(gallery, table.kinds, str(other.path))
    return gallery.table(), table


class _Ids:
    """Which subject in the gallery each subject of the other is."""

    def __init__(self, own: Table, other: Table, *, same_ids: bool, prefix: str, what: str, into: str) -> None:
        """Raises :class:`Collisions`."""
        there = set(own.subject_ids())
        self._prefix = prefix
        self._kept: set[str] = set()
        unclear = []
        for subject in other.subject_ids():
            if subject in there and (same_ids or _share(own, subject, other, subject)):
                self._kept.add(subject)
            elif prefix + subject in there and not _share(own, prefix + subject, other, subject):
                unclear.append(prefix + subject)
        if unclear:
            raise _collisions(unclear, prefix, what, into)

    @property
    def same_people(self) -> int:
        """How many ids mean the same people in both."""
        return len(self._kept)

    def here(self, subject: str) -> str:
        """The id in the gallery of a subject of the other."""
        return subject if subject in self._kept else self._prefix + subject


def _share(own: Table, subject: str, other: Table, its: str) -> bool:
    """Whether the two subjects have a photo in common."""
    return not own.photos_of(subject).isdisjoint(other.photos_of(its))


def _collisions(subjects: list[str], prefix: str, what: str, into: str) -> Collisions:
    listed = ", ".join(map(repr, subjects[:_NAMED]))
    listed += f" and {len(subjects) - _NAMED:,} more" if len(subjects) > _NAMED else ""
    if prefix:
        found = f"with the prefix {prefix!r}, {len(subjects):,} of its ids are those of others in {into}"
        advice = "Give another prefix."
    else:
        found = f"{len(subjects):,} of its ids are in {into} too"
        advice = (
            "If they are the same people, add --same-ids. If they are others, add --prefix TEXT, which goes before "
            "every id that comes in."
        )
    return Collisions(f"{what}: {found}, without a photo in common: {listed}. Nothing was changed. {advice}", subjects)
