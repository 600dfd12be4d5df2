"""Which frames of a video are decoded, planned from the table of its packets before any of them is.

A video is a row of groups: a frame that stands for itself (a key frame), and frames that tell what changes after it. A
key frame costs one decode. A frame within a group costs all before it in the group. So the key frames are looked at
first, and groups that are longer than the wanted step in time are decoded through as far as the work allows, the
longest first: in them is most that was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: No more than so many frames a second are taken of a scene that merely moves.
LEAST_STEP: Final = 0.5

#: Key frames that are decoded for each frame that may be kept: what they show decides.
_LOOKS: Final = 4

#: Pixels that are decoded within groups, for any video and for each byte of it. (A core does some 4e8 a second.)
_WORK: Final = 4e9
_WORK_EACH_BYTE: Final = 10.0
_KEY_WORK: Final = 2e10  # of key frames

_LONGEST: Final = 7 * 86400.0  # seconds: times that say more are not believed
_USUAL_RATE: Final = 25.0


@dataclass(frozen=True, slots=True)
class Table:
    """The packets of one video track in stored order. ``seconds`` float64[N] from its first frame on: when they are
    shown. ``keys`` bool[N]: whether a packet is a frame that stands for itself. ``origin``: the time in the file of the
    first frame, in seconds; ``None`` where the file's times make no sense, and were counted instead."""

    seconds: NDArray[np.float64]
    keys: NDArray[np.bool_]
    origin: float | None

    @property
    def length(self) -> float:
        """Seconds from the first to the last frame."""
        return float(self.seconds.max()) if len(self.seconds) else 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Packets ``start`` to ``stop`` (excluded) to decode one after the other; ``start`` is a key frame."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class VideoPlan:
    """``groups`` in stored order; ``step``: seconds between frames that are taken of a scene that merely moves."""

    groups: tuple[Group, ...]
    step: float


def table(times: NDArray[np.float64], keys: NDArray[np.bool_], rate: float) -> Table:
    """A table of packets whose times in seconds are ``times`` float64[N], NaN where unknown, at about ``rate`` a
    second. Where the times make no sense they are counted by the rate.
    """
    keys = keys.copy()
    keys[:1] = True
    rate = rate if 0.001 < rate < 1000 else _USUAL_RATE
    known = times[np.isfinite(times)]
    if len(known) == len(times) and len(times) and 0 < np.ptp(known) <= _LONGEST:
        return Table(times - known.min(), keys, float(known.min()))
    return Table(np.arange(len(times)) / rate, keys, None)


def plan(packets: Table, frames: int, pixels: int, size: int) -> VideoPlan:
    """What to decode of a video of ``size`` bytes with ``pixels`` in each frame, to keep up to ``frames`` of them.

    ``pixels`` of 0: nothing but key frames.
    """
    step = max(LEAST_STEP, packets.length / max(frames, 1))
    starts = np.flatnonzero(packets.keys)
    if not len(starts):
        return VideoPlan((), step)
    ends = np.append(starts[1:], len(packets.keys))
    begins = packets.seconds[starts]
    lasting = np.append(begins[1:], packets.length) - begins
    stops = starts + 1
    work = (_WORK + _WORK_EACH_BYTE * size) / pixels if pixels else 0.0
    for i in np.argsort(-lasting, kind="stable"):
        if lasting[i] <= step or work < 1:
            break
        stops[i] = min(ends[i], starts[i] + int(work))
        work -= stops[i] - starts[i]
    chosen = _thinned(begins, stops - starts > 1, packets.length / (_LOOKS * max(frames, 1)))
    most = max(frames, min(2 * _LOOKS * frames, int((_KEY_WORK + _WORK_EACH_BYTE * size) / max(pixels, 1))))
    if len(chosen) > most:  # times that jump about
        chosen = [chosen[int(i)] for i in np.linspace(0, len(chosen) - 1, most).round()]
    return VideoPlan(tuple(Group(int(starts[i]), int(stops[i])) for i in chosen), step)


def _thinned(begins: NDArray[np.float64], long: NDArray[np.bool_], gap: float) -> list[int]:
    """The groups without those that begin less than ``gap`` seconds after the last one; ``long`` ones always."""
    chosen: list[int] = []
    last = -np.inf
    for i, (begin, whole) in enumerate(zip(begins.tolist(), long.tolist(), strict=True)):
        if whole or not last <= begin < last + gap:
            chosen.append(i)
            last = begin
    return chosen
