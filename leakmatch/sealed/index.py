"""Where the newest version of each page is."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Final

from leakmatch.sealed.appender import Place

#: The place of a page of which the newest version is damaged.
LOST: Final[Place] = ((1 << 64) - 1, (1 << 64) - 1)


class PageIndex:
    """Places by page number, 16 bytes a page."""

    def __init__(self) -> None:
        self._offsets, self._sequences = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, page: int) -> Place | None:
        """``None`` for a page that was never written."""
        if page >= len(self._offsets) or not self._offsets[page]:
            return None
        return self._offsets[page], self._sequences[page]

    def update(self, places: Mapping[int, Place], pages: int) -> None:
        """These are newer; there are so many ``pages`` now."""
        for column, at in ((self._offsets, 0), (self._sequences, 1)):
            column.extend([0] * (pages - len(column)))
            del column[pages:]
            for page, place in places.items():
                if page < pages:
                    column[page] = place[at]

    def state(self) -> bytes:
        """Equal for equal places."""
        return self._offsets.tobytes()
