"""Which frames of a video or an animation are worth a look: those unlike the last one taken."""

from __future__ import annotations

from typing import Final

import numpy as np

from leakmatch.arrays import ByteArray

#: Frames are compared by their brightness, shrunk to so many rows and columns.
SIDE: Final = 32

_EQUAL: Final = 8  # gray levels in the cell that changed most; noise averages out in a cell
_ANOTHER: Final = 20.0  # gray levels over the whole picture


class Keeper:
    """Decides, frame after frame, which to keep: those unlike the last one kept, and no more than ``most``.

    One nearly equal to the last kept is dropped. Another scene is kept at once, a scene that merely moves once in each
    ``step``. Of ``most`` frames no more are spent than the share of frames that lies behind, so that the end is looked
    at like the beginning.
    """

    def __init__(self, step: float, most: int) -> None:
        self._step = step
        self._most = most
        self._last: np.ndarray[tuple[int, ...], np.dtype[np.int16]] | None = None
        self._at = 0.0
        self.kept = 0
        self.limited = False  # one was not kept for its number alone

    def wants(self, thumbnail: ByteArray, at: float, share: float) -> bool:
        """Whether to keep a frame, by its ``thumbnail`` uint8[SIDE,SIDE].

        ``at``: when it is shown, in the unit of ``step``; ``share``: how much lies behind, 0 to 1.
        """
        now = thumbnail.astype(np.int16)
        if self._last is not None:
            difference = np.abs(now - self._last)
            if difference.max() < _EQUAL:
                return False
            if abs(at - self._at) < self._step and difference.mean() < _ANOTHER:
                return False
        if self.kept >= min(self._most, 1 + int(self._most * share)):
            self.limited = True
            return False
        self._last, self._at = now, at
        self.kept += 1
        return True


def choose(thumbnails: ByteArray, most: int) -> tuple[int, ...]:
    """The frames to look at, ``most`` at most, of all those of an animation: uint8[N,SIDE,SIDE], N > 0.

    Of those that differ from the one taken before, the first and last among them, all; where they are too many, those
    at equal steps of the difference summed up, so that a change of scene weighs more than slow movement.
    """
    frames = thumbnails.astype(np.int16)
    different, travelled = [0], [0.0]
    for number in range(1, len(frames)):
        difference = np.abs(frames[number] - frames[different[-1]])
        if difference.max() >= _EQUAL:
            different.append(number)
            travelled.append(travelled[-1] + float(difference.mean()))
    if len(different) <= most:
        return tuple(different)
    steps = np.linspace(0, travelled[-1], most)
    chosen = {different[i] for i in np.abs(np.array(travelled) - steps[:, None]).argmin(axis=1).tolist()}
    others = [number for number in different if number not in chosen]
    chosen.update(others[i] for i in spread(len(others), most - len(chosen)))
    return tuple(sorted(chosen))


def spread(count: int, wanted: int) -> tuple[int, ...]:
    """At most ``wanted`` of the numbers 0 to ``count`` - 1, evenly spread, with both ends where there is room."""
    steps = np.linspace(0, count - 1, min(count, wanted)).round().astype(int)
    return tuple(int(step) for step in steps)
