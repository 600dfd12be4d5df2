"""The one place where what a library throws on garbage becomes an outcome."""

from __future__ import annotations

import errno
import lzma
import struct
import zlib

import zstandard

from leakmatch.errors import ItemError, LeakMatchError
from leakmatch.records import Outcome

# What the readers of the standard library and of zstandard raise over bytes that are not what they expect.
_CORRUPT = (
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    struct.error,
    ValueError,
    OverflowError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    BufferError,
)
_REASON_LENGTH = 120
_OURS = "leakmatch."


def truncated(message: str) -> ItemError:
    """The data ends early."""
    return ItemError(Outcome.PARTIAL, "truncated", message)


def corrupt(message: str) -> ItemError:
    """The data contradicts itself."""
    return ItemError(Outcome.UNREADABLE, "corrupt", message)


def unsupported(message: str) -> ItemError:
    """A format, method or variant that is not read."""
    return ItemError(Outcome.UNREADABLE, "unsupported", message)


def encrypted(message: str) -> ItemError:
    """A password is needed."""
    return ItemError(Outcome.NEEDS_PASSWORD, "encrypted", message)


def volume_missing(message: str) -> ItemError:
    """Another part of the set is needed."""
    return ItemError(Outcome.NEEDS_VOLUME, "volume-missing", message)


def extra_missing(what: str, extra: str) -> ItemError:
    """An optional package is needed. ``what`` begins the sentence, as "Parquet files"."""
    message = f"{what} need an optional part of LeakMatch: pip install 'leakmatch[{extra}]'"
    return ItemError(Outcome.NEEDS_EXTRA, "extra-missing", message)


def over_budget(message: str, *, steady: bool = True) -> ItemError:
    """A limit was reached."""
    return ItemError(Outcome.OVER_BUDGET, "over-budget", message, steady=steady)


class reading:  # noqa: N801 - used as a statement: ``with reading("the file"):``
    """Map every failure to read ``what`` to :class:`ItemError`. (A class, since it is entered for every member.)"""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and (mapped := _mapped(error, self._what)) is not error:
            raise mapped from error


def _mapped(error: BaseException, what: str) -> BaseException:
    """What becomes of an error; itself if it is no failure to read."""
    if isinstance(error, ItemError):
        return error
    if isinstance(error, EOFError):
        return truncated(f"{what} ends early")
    if isinstance(error, MemoryError):
        return over_budget(f"{what} needs more memory than a worker may use", steady=False)
    if isinstance(error, OSError):
        return _os(error, what)
    if isinstance(error, RecursionError):
        return over_budget(f"{what} lies too deep in other containers")
    if isinstance(error, _CORRUPT):
        return corrupt(f"{what} is damaged ({_reason(error)})")
    if _is_foreign(error):
        return corrupt(f"{what} is damaged ({type(error).__name__}: {_reason(error)})")
    return error


def _is_foreign(error: BaseException) -> bool:
    """Whether a library failed, and not LeakMatch: by the class of the error, or by the place where it was raised."""
    if not isinstance(error, Exception) or isinstance(error, LeakMatchError):
        return False
    if isinstance(error, SystemError) or type(error).__module__ != "builtins":
        return not type(error).__module__.startswith(_OURS)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and not str(trace.tb_frame.f_globals.get("__name__", "")).startswith(_OURS)


def _os(error: OSError, what: str) -> ItemError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return ItemError(Outcome.UNREADABLE, "no-permission", f"{what} may not be read: no permission")
    if error.errno is None:  # bz2 raises a bare OSError over damaged data
        return corrupt(f"{what} is damaged ({_reason(error)})")
    return ItemError(Outcome.UNREADABLE, "io-error", f"{what} cannot be read: {error.strerror}")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:_REASON_LENGTH] or type(error).__name__
