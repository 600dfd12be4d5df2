"""The error tree, and the exit code of every branch.

    LeakMatchError                 1   a defect in LeakMatch, when nothing below fits
    |-- UsageError                 2   a wrong option, a missing file, not a gallery
    |   `-- MissingExtra           2   an optional package is needed; the message has the install line
    |-- IntegrityError             4   tampered, truncated, or not what the case or gallery began with
    |   |-- ModelMismatch          4   templates of two models or recipes would have been compared
    |   |-- WrongKey               4   a sealed file, and a key that does not open it
    |   |-- Damaged                4   bytes of a sealed file changed as a failing disk changes them, or are missing
    |   `-- Tampered               4   a sealed file was changed by somebody: intact parts that do not belong there
    |-- StorageError               5   disk full, read-only, I/O error
    `-- ItemError                  -   one hostile or broken item; becomes a row of the ledger, ends nothing

Exit code 0 is "done, everything was looked at", 3 "done, but something could not be read",
10 "there are matches" (only with --fail-on-match) and 130 "interrupted": results, not errors.
Where several apply, the first of ``EXIT_PRECEDENCE`` is returned.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

OK = 0
DEFECT = 1
USAGE = 2
INCOMPLETE = 3
INTEGRITY = 4
STORAGE = 5
MATCHED = 10
INTERRUPTED = 130

EXIT_PRECEDENCE = (USAGE, DEFECT, INTEGRITY, STORAGE, INTERRUPTED, MATCHED, INCOMPLETE, OK)


class LeakMatchError(Exception):
    """Root of the tree. ``str(error)`` is one clear sentence that says what to do."""

    exit_code = DEFECT


class UsageError(LeakMatchError):
    """The command cannot be carried out as it was given."""

    exit_code = USAGE


class MissingExtra(UsageError):
    """An optional package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part. Install it with: pip install 'leakmatch[{extra}]'")
        self.extra = extra


class IntegrityError(LeakMatchError):
    """A file is not what it was when LeakMatch wrote it, or not what this case began with."""

    exit_code = INTEGRITY


class ModelMismatch(IntegrityError):
    """Templates of two models, precisions or recipes would have been compared."""


class WrongKey(IntegrityError):
    """The key that was given does not open the file."""


class Damaged(IntegrityError):
    """Bytes of a sealed file are not those that were written: a failing disk, a broken copy, or a clumsy hand."""


class Tampered(IntegrityError):
    """Parts of a sealed file were exchanged, moved, put back or forged."""


class StorageError(LeakMatchError):
    """The disk is full, read-only or failing. What was committed before is safe."""

    exit_code = STORAGE


class ItemError(LeakMatchError):
    """One item could not be read.

    ``outcome`` is a value of :class:`leakmatch.records.Outcome`; ``code`` is one of
    :data:`leakmatch.records.INCIDENT_CODES`; the message becomes the row's ``detail``. ``steady``: reading the same
    bytes again would end in the same way; not so where time, memory or scratch space ran out.
    """

    def __init__(self, outcome: str, code: str, message: str, *, steady: bool = True) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.code = code
        self.steady = steady


def exit_code(codes: Iterable[int]) -> int:
    """The code to exit with where several apply; ``OK`` for none."""
    present = set(codes)
    return next((code for code in EXIT_PRECEDENCE if code in present), OK)


_STORAGE_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}


def os_error(error: OSError, path: Path | str) -> LeakMatchError:
    """Map an operating system error on ``path`` to the tree."""
    reason = error.strerror or str(error)
    if error.errno in _STORAGE_ERRNO:
        return StorageError(
            f"{path}: {reason}. Nothing that was recorded is lost; make room and run the same command again."
        )
    return UsageError(f"{path}: {reason}.")
