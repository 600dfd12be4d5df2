"""The Python interface: what the commands do, as functions.

Settings are keyword arguments with the names of :class:`leakmatch.settings.Settings` (``pack``, ``workers``,
``expected_false``, ``threshold``, ``isolation``); what is not given comes from the settings file and the environment,
as on the command line. ``keys`` open a sealed gallery: ``Keys(key_file=...)`` or ``Keys(passphrase=...)``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from leakmatch.case.store import Case
from leakmatch.pipeline.enrol import EnrolmentReport, Terms
from leakmatch.pipeline.enrol import enroll as _enroll
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.rescan import rescan as _rescan
from leakmatch.pipeline.scan import scan as _scan
from leakmatch.pipeline.search import SearchResult
from leakmatch.pipeline.search import search as _search
from leakmatch.sealed.keys import Keys
from leakmatch.settings import load

PathLike = str | os.PathLike[str]


def enroll(
    gallery: PathLike,
    sources: PathLike | Iterable[PathLike],
    *,
    keys: Keys | None,
    purpose: str = "",
    legal_basis: str = "",
    expires: str = "",
    progress: Progress = no_progress,
    **settings: Any,
) -> EnrolmentReport:
    """Create ``gallery`` or add to it; the report names every photo that was refused. See ``leakmatch enroll``.

    A new gallery is sealed with ``keys``; ``None``, which is to be said, leaves it without encryption. ``expires``: the
    last day on which to keep who is enrolled, as ``2027-01-31``.
    """
    terms = Terms(purpose, legal_basis, expires)
    return _enroll(Path(gallery), _paths(sources), load(settings), progress, keys=keys, terms=terms)


def scan(
    sources: PathLike | Iterable[PathLike],
    gallery: PathLike,
    case: PathLike,
    *,
    keys: Keys | None = None,
    keep: Keys | None = None,
    progress: Progress = no_progress,
    **settings: Any,
) -> Case:
    """Check ``sources`` against ``gallery``; returns the finished case, open for reading. See ``leakmatch scan``.

    ``keep``: what the case's templates are sealed with, which are then kept for :func:`rescan`; ``None`` keeps none.
    """
    _scan(_paths(sources), Path(gallery), Path(case), load(settings), progress, keys=keys, keep=keep)
    return Case.open(Path(case))


def rescan(
    case: PathLike,
    gallery: PathLike,
    new: PathLike | None = None,
    *,
    case_keys: Keys,
    keys: Keys | None = None,
    progress: Progress = no_progress,
    **settings: Any,
) -> Case:
    """Look for the people of ``gallery`` in the templates that ``case`` keeps. See ``leakmatch rescan``.

    Returns the finished new case, open for reading. ``case_keys`` open what ``case`` keeps.
    """
    target = None if new is None else Path(new)
    return Case.open(_rescan(Path(case), Path(gallery), target, settings, progress, keys=keys, case_keys=case_keys))


def search(
    photos: PathLike | Iterable[PathLike], gallery: PathLike, *, keys: Keys | None = None, **settings: Any
) -> SearchResult:
    """Candidates for the faces in ``photos``, strongest first; no case is written. See ``leakmatch search``."""
    return _search(_paths(photos), Path(gallery), load(settings), keys=keys)


def _paths(given: PathLike | Iterable[PathLike]) -> list[Path]:
    if isinstance(given, str | os.PathLike):
        return [Path(given)]
    return [Path(path) for path in given]
