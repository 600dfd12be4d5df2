"""Where items are: their places in words, and the folders that they are in side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

from leakmatch.case.store import Case
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.locator import SEPARATOR, Locator, printable


def places(case: Case) -> Callable[..., tuple[str, str, str]]:
    """A function that gives source, path and locator of (locator as stored, that of a frame of a copy of it).

    A copy of an animation has its frames where the original has them.
    """
    sources = [printable(str(source)) for source in case.run.get("sources", ())]

    @lru_cache(maxsize=64)  # rows of one item follow each other
    def place(stored: str, frame: str | None = None) -> tuple[str, str, str]:
        try:
            locator = Locator.from_json(stored)
            if frame is not None:
                link = Locator.from_json(frame)
                locator = locator.child(link.kind, link.name, link.raw, link.ordinal)
                stored = locator.to_json()
        except UsageError as error:
            raise IntegrityError(f"{case.path}: damaged: {error}") from error
        source = next(locator.chain()).ordinal
        return sources[source] if 0 <= source < len(sources) else "", locator.path, stored

    return place


def folder(case: Case, stored: str, is_frame: bool = False) -> str:
    """The folder of an item, as text that is the same for items side by side and that :func:`places` understands.

    A folder is the containers around an item and the directory in its name: the stored locator with the name cut at the
    last separator, and without the ordinal. A frame is where its animation or video is. A file that was given as a
    source by itself is alone in its folder.
    """
    try:
        links = json.loads(stored)
        if is_frame:
            links.pop()
        kind, name, ordinal = links.pop()
        text = name["text"] if isinstance(name, dict) else name
        directory = text[: max(text.rfind("/"), text.rfind("\\"), 0)]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise IntegrityError(f"{case.path}: damaged: not a locator of LeakMatch.") from error
    # Such a name may hold lone surrogates, which have no UTF-8 form; written so, it needs none.
    return json.dumps([*links, [kind, {"base64": "", "text": directory}, 0 if links else ordinal]])


def folder_path(path: str) -> str:
    """The path that :func:`places` gives a folder, without the separator before no directory."""
    return path.removesuffix(SEPARATOR)
