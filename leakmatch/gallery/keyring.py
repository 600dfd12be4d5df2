"""Who can open a gallery: the keys of a sealed one, added, exchanged and taken away without encrypting it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from leakmatch.database import Database
from leakmatch.errors import UsageError
from leakmatch.gallery.access import entry
from leakmatch.sealed.file import SealedFile
from leakmatch.sealed.keys import Keys, KeySlots, Slot


class Keyring:
    """The keys of the gallery in ``database``. Raises :class:`UsageError` for one that is not sealed."""

    def __init__(self, database: Database) -> None:
        if database.sealed is None:
            raise UsageError(
                f"{database.path}: it is not sealed, so it has no keys. Seal it with: leakmatch gallery seal "
                f"{database.path}"
            )
        self._database = database
        self._file: SealedFile = database.sealed

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._file.slots)

    def __len__(self) -> int:
        return len(self._file.slots)

    def used(self, keys: Keys) -> int:
        """The number of the key, from 0, that ``keys`` are."""
        found = self._file.slots.find(keys.secret(str(self._database.path)))
        if found is None:
            raise UsageError(f"{self._database.path}: this is none of its keys.")
        return found[0]

    def add(self, keys: Keys, label: str = "") -> None:
        """Let ``keys`` open it, too."""
        slots = self._added(self._file.slots, keys, label)
        self._set(slots, "add-key", slots.slots[-1])

    def exchange(self, number: int, keys: Keys, label: str | None = None) -> None:
        """Put ``keys`` in the place of a key, which opens this file no more. ``label``: ``None`` keeps that of the key.

        Nobody is shut out by this who has used the old key to read the master key; :meth:`Gallery.seal` does that.
        """
        slots = self._file.slots
        before = self._numbered(number)
        added = self._added(slots, keys, before.label if label is None else label)
        self._set(added.without(number), "change-key", before)

    def remove(self, number: int) -> None:
        """Let a key open it no more. Who has that key, and a copy of the file from before, can still read the copy."""
        before = self._numbered(number)
        self._set(self._file.slots.without(number), "remove-key", before)

    def _added(self, slots: KeySlots, keys: Keys, label: str) -> KeySlots:
        secret = keys.secret(f"{self._database.path}, the new key", new=True)
        if slots.find(secret) is not None:
            raise UsageError(f"{self._database.path}: the new key opens it already.")
        return slots.added(secret, self._file.master, label)

    def _numbered(self, number: int) -> Slot:
        if not 0 <= number < len(self):
            raise UsageError(f"{self._database.path}: there is no key {number + 1}; `gallery keys list` shows them.")
        return self._file.slots.slots[number]

    def _set(self, slots: KeySlots, action: str, slot: Slot) -> None:
        self._database.set_slots(slots, entry(action, key=described(slot), keys=len(slots)))


def described(slot: Slot) -> str:
    """A key in words, without anything secret."""
    return f"{slot.kind} {slot.label}".rstrip()


def rows(keyring: Keyring) -> list[dict[str, Any]]:
    """What can be told of each key, as JSON values."""
    return [
        {"key": number, "kind": slot.kind, "label": slot.label, "created": slot.created}
        for number, slot in enumerate(keyring, 1)
    ]
