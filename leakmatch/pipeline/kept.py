"""Templates that a case keeps, so that people enrolled later can be looked for without the archive: sealed.

Of every item that was looked at one piece is kept: all that the workers said of it, as the frame in which they say it
(:mod:`leakmatch.pipeline.wire`). A piece is encrypted under the case's own key and bound to the case and to its place
there, so that none can be changed, moved, or exchanged with one of another case. At the end of the scan the ledger and
the list of all pieces are sealed in the same way, so that none can be left out. docs/rescan.md has the format.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path

from leakmatch.case.store import KEPT_FORMAT, Case
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.gallery.access import entry
from leakmatch.pipeline.channel import ProtocolError, packed, unpacked
from leakmatch.pipeline.wire import analysis_message, read_analysis
from leakmatch.records import ImageAnalysis
from leakmatch.sealed.keys import Box, Secret, derived


class KeptTemplates:
    """Seals and opens what one case keeps."""

    def __init__(self, path: Path, case_id: str, master: bytes) -> None:
        self._path, self._case_id = path, case_id
        self._box = Box(derived(master, case_id.encode(), "kept templates"))

    @classmethod
    def of(cls, case: Case, secret: Secret) -> KeptTemplates:
        """What ``case`` keeps. Raises :class:`WrongKey` where ``secret`` does not open it."""
        return cls(case.path, str(case.run.get("case_id")), case.slots.unlock(secret, str(case.path)))

    def seal(self, file: int, position: int, analyses: Sequence[ImageAnalysis]) -> bytes:
        """What was seen in the item at this place: 28 bytes more than it takes as a frame."""
        return self._box.seal(packed("kept", *analysis_message(analyses)), self._about(file, position))

    def open(self, file: int, position: int, sealed: bytes, where: str) -> list[ImageAnalysis]:
        """What was seen there; ``where`` names the item.

        Raises :class:`IntegrityError` where that is not what was sealed for this place.
        """
        content = self._box.open(sealed, self._about(file, position), f"{self._path}: what is kept of {where!r}")
        try:
            return read_analysis(unpacked(content))
        except ProtocolError as error:
            raise IntegrityError(
                f"{self._path}: what is kept of {where!r} cannot be read by this LeakMatch ({error}). Use the version "
                "that scanned, or scan again."
            ) from error

    def seal_end(self, digest: bytes) -> str:
        """The end of the scan: ``digest`` (:meth:`Case.taken_over`), sealed, as text."""
        return b64encode(self._box.seal(digest, self._about("end"))).decode("ascii")

    def check_end(self, case: Case) -> None:
        """Raise :class:`IntegrityError` unless the ledger and the list of all pieces are those at the end."""
        try:
            sealed = b64decode(case.kept_end, validate=True)
        except ValueError:
            sealed = b""
        if self._box.open(sealed, self._about("end"), str(self._path)) != case.taken_over():
            raise IntegrityError(
                f"{self._path}: was changed after the scan: the ledger, or the list of what is kept, is not the one "
                "that was sealed at its end. Restore the case from a copy, or scan again."
            )

    def _about(self, *place: object) -> bytes:
        """What a piece is bound to."""
        return json.dumps(["leakmatch kept", KEPT_FORMAT, self._case_id, *place]).encode()


def forget(path: Path) -> int | None:
    """Remove the templates that the case at ``path`` keeps, so that no byte of them is left in the file.

    Returns of how many items they were; ``None`` where they had been removed before (then the file is only written
    anew, in case that was interrupted). Raises :class:`UsageError` for a case that never kept any.
    """
    with Case.resume(path) as case:
        if case.forgotten is None and not case.keeps:
            raise UsageError(f"{path}: it keeps no templates, so there is nothing to remove.")
        items = case.count("kept") if case.keeps else None
        case.forget(entry("forget", items=items, digest_before=case.digest))
        return items
