"""Pillow over hostile bytes: its process-wide switches, and every exception it can raise, in one place."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from leakmatch.errors import ItemError
from leakmatch.locator import printable
from leakmatch.records import Budget, Outcome

_MESSAGE_LENGTH = 200

# Parts of the messages with which Pillow and its libraries say that data is missing, or that a variant is not read.
_TRUNCATED = (
    "truncated",
    "not enough",
    "eof",
    "incomplete",
    "end of",
    "but only got",
    "out of range",
    "requires a buffer",
)
_REFUSAL = r"\w+ opening failed\. "
_UNSUPPORTED = ("unsupported", "not supported", "cannot handle", "unknown pixel mode", "unknown data organization")

# One thread for each worker: more would only fight over the same cores.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@contextmanager
def pillow(budget: Budget, *, salvage: bool = False) -> Iterator[None]:
    """Run Pillow within ``budget``; whatever it raises leaves as an :class:`ItemError`.

    ``salvage`` lets Pillow go on where the data ends or contradicts itself. The switches are global to the process
    and put back on the way out, so a ``yield`` to other code must not happen inside; workers have one thread.
    ``budget.pixels`` replaces Pillow's own limit: it then also holds for pictures inside pictures (icons, frames).
    Warnings are silenced, except that with which ``Image.open`` says why a header is refused.
    """
    switches = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, Image.WARN_POSSIBLE_FORMATS
    Image.MAX_IMAGE_PIXELS = -(-budget.pixels // 2)  # Pillow warns at this number and refuses past twice of it
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.WARN_POSSIBLE_FORMATS = salvage, True
    with warnings.catch_warnings(record=True) as refusals:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", message=_REFUSAL)
        try:
            yield
        except ItemError:
            raise
        except UnidentifiedImageError as error:
            raise _item_error(error, "".join(str(refusal.message) for refusal in refusals)) from error
        except Exception as error:
            # Not a list of types: decoders written for sound files raise nearly every one there is on the others.
            raise _item_error(error, str(error)) from error
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, Image.WARN_POSSIBLE_FORMATS = switches


def _item_error(error: Exception, said: str) -> ItemError:
    if isinstance(error, Image.DecompressionBombError):
        return ItemError(Outcome.OVER_BUDGET, "over-budget", "more pixels than the budget allows")
    if isinstance(error, MemoryError):
        return ItemError(Outcome.OVER_BUDGET, "over-budget", "more memory needed than there is")
    message = printable(re.sub(_REFUSAL, "", said))[:_MESSAGE_LENGTH] or type(error).__name__
    return ItemError(Outcome.UNREADABLE, _code(error, message.lower()), message)


def _code(error: Exception, message: str) -> str:
    if isinstance(error, EOFError | struct.error | IndexError) or any(word in message for word in _TRUNCATED):
        return "truncated"
    if isinstance(error, NotImplementedError) or any(word in message for word in _UNSUPPORTED):
        return "unsupported"
    return "corrupt"
