"""LeakMatch: who of the people we protect is in this seized face dataset, and how sure are we?

    untrusted worker processes                             |  trusted parent process
    container -> member bytes -> image -> hashes           |
                                 `--> faces -> templates ==> join with gallery -> verdict -> case -> export, report
    sources      sources         imaging  hashing, faces   |  matching            matching   case    case

>>> import leakmatch
>>> keys = leakmatch.Keys(passphrase=input())  # doctest: +SKIP
>>> leakmatch.enroll("school.gallery", ["people/"], keys=keys)  # doctest: +SKIP
>>> case = leakmatch.scan(["seized.zip"], "school.gallery", "2026-17.case", keys=keys)  # doctest: +SKIP
>>> leakmatch.table(case, "candidates").to_pandas()  # doctest: +SKIP

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leakmatch.api import enroll, rescan, scan, search
    from leakmatch.case.store import Case
    from leakmatch.case.tables import Table, table
    from leakmatch.errors import IntegrityError, LeakMatchError, StorageError, UsageError
    from leakmatch.gallery.store import Gallery
    from leakmatch.sealed.keys import Keys

__all__ = [
    "Case",
    "Gallery",
    "IntegrityError",
    "Keys",
    "LeakMatchError",
    "StorageError",
    "Table",
    "UsageError",
    "enroll",
    "rescan",
    "scan",
    "search",
    "table",
]

_HOME = {
    "Case": "leakmatch.case.store",
    "Gallery": "leakmatch.gallery.store",
    "IntegrityError": "leakmatch.errors",
    "Keys": "leakmatch.sealed.keys",
    "LeakMatchError": "leakmatch.errors",
    "StorageError": "leakmatch.errors",
    "Table": "leakmatch.case.tables",
    "UsageError": "leakmatch.errors",
    "enroll": "leakmatch.api",
    "rescan": "leakmatch.api",
    "scan": "leakmatch.api",
    "search": "leakmatch.api",
    "table": "leakmatch.case.tables",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'leakmatch' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
