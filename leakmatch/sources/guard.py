"""The one place where what a library throws on garbage becomes an outcome."""

from __future__ import annotations

import errno
import lzma
import struct
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import zstandard

from leakmatch.errors import ItemError
from leakmatch.records import Outcome

# What the readers of the standard library and of zstandard raise over bytes that are not what they expect.
_CORRUPT = (
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    tarfile.TarError,
    struct.error,
    ValueError,
    OverflowError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
)


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


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Map every failure to read ``what`` to :class:`ItemError`."""
    try:
        yield
    except ItemError:
        raise
    except (EOFError, tarfile.ReadError) as error:
        if isinstance(error, tarfile.ReadError) and "end of data" not in str(error):
            raise corrupt(f"{what}: damaged ({error})") from error
        raise truncated(f"{what}: the data ends early") from error
    except MemoryError as error:
        message = f"{what}: needs more memory than a worker may use"
        raise ItemError(Outcome.OVER_BUDGET, "over-budget", message) from error
    except OSError as error:
        raise _os(error, what) from error
    except _CORRUPT as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise corrupt(f"{what}: damaged ({reason})") from error


def _os(error: OSError, what: str) -> ItemError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return ItemError(Outcome.UNREADABLE, "no-permission", f"{what}: no permission to read")
    if error.errno is None:  # bz2 and gzip raise a bare OSError over damaged data
        return corrupt(f"{what}: damaged ({str(error)[:120]})")
    return ItemError(Outcome.UNREADABLE, "io-error", f"{what}: {error.strerror}")
