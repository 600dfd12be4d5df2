"""Whether a face was cut from the very photo that is enrolled: contrast maps laid over one another. Trusted side only.

A detector puts the landmarks of a copy a pixel or two away from where it put the original's, and the crop turns, grows
or shifts by as much. So the scanned map is first laid over the enrolled one, by the similarity (turn, scale, shift)
under which they agree best; then bits are counted. A copy of which only the face is left is recognised like any other.

Source of every figure: ``benchmarks/copies.py`` on 6,151 portraits of Labeled Faces in the Wild (250x250, the part in
folds 0 to 4): 59,310 pairs of photos of one person, most of them from press events and many from one sitting. Left out,
after looking at them: 21 pairs that are one picture (``benchmarks/lfw_same_pictures.csv``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray, LongArray, check
from leakmatch.hashing.algorithms import LEVEL_SCALE, LEVEL_ZERO, MAP_BYTES, MAP_SIDE

#: Templates with a smaller cosine, as they are stored, are of no copy, or of one too poor to tell. It only bounds the
#: work: the maps decide.
COPY_SCORE: Final = 0.7

#: A face this near in bits is a copy. Nearest of two photos of one person: 29 bits, the next 39 and 56.
COPY_DISTANCE: Final = 16

#: A face further than this is of another photo, and a hash of its crop that calls it the same picture is overruled
#: (never one of the whole picture: a bar or a mark over the face changes the map of a true copy). Of 5,400 copies
#: changed in 27 ways all but one were within 40 bits. Faces of other photos that the hashes took for copies (of one
#: person, from one sitting, within 5 to 8 bits) were 64 and more away.
OTHER_DISTANCE: Final = 40

# The tail of :func:`copy_probability`.
_CHANCE_AT_100: Final = 8e-4
_PER_BIT: Final = 1.03

#: Cells left out along the edges of the enrolled map, so that what is laid over them has room to move.
_MARGIN: Final = 4
_INNER: Final = MAP_SIDE - 2 * _MARGIN
BITS: Final = _INNER * _INNER

#: Where the scanned map is this many standard deviations from neither brighter nor darker, its sign counts.
_CLEAR: Final = 0.3
#: With fewer counting bits, nothing is said (a face has some 1,100).
_FEWEST: Final = BITS // 3

#: Of the enrolled photos that a face may be a copy of, as many are compared as agree best before they are turned and
#: scaled. Only a subject with many photos has more.
_COMPARED: Final = 4

#: Read between cells, something is said where all four around say something.
_SAID: Final = 0.99

_STEPS: Final = 12  # of the search for the best similarity
_ENOUGH: Final = 1e-5  # a smaller gain in agreement is none,
_IDLE: Final = 2  # and so many steps without a gain end the search
_MOST: Final = 0.2  # scale and turn (in radians) by which no landmarks of one face differ


def copy_probability(distance: int, score_chance: float | None) -> float:
    """The chance that photos of two people score as high and are at most ``distance`` bits apart.

    ``score_chance``: the chance of the score, no rarer than the calibration's data shows. Times the share of pairs of
    photos of *one* person that are so near,
    since two people's are further apart: measured at 100 bits, falling by a constant factor with each bit less, so
    chosen that no count from 200 bits down to the nearest pair exceeds it. Without ``score_chance`` that share alone.
    """
    return min(1.0, _CHANCE_AT_100 * _PER_BIT ** (distance - 100)) * (1.0 if score_chance is None else score_chance)


Parameters = tuple[float, float, float, float]
_UNMOVED: Final[Parameters] = (1.0, 0.0, 0.0, 0.0)


def copy_distances(levels: ByteArray, signs: ByteArray) -> list[int | None]:
    """How far a scanned face is from each of some enrolled ones, straight or mirrored, in bits of :data:`BITS`.

    ``levels`` uint8[2304] and ``signs`` uint8[E,288] as :func:`leakmatch.hashing.contrast.contrast_maps` makes them.
    The bits that differ are scaled from those that count to all, as Daugman does for irises ("How iris recognition
    works", 2004, eq. 1 and 5). ``None`` where it was not worth comparing, or too little counts.

    Raises ``ValueError`` for another shape or type.
    """
    check(levels, (MAP_SIDE * MAP_SIDE,), np.uint8, "levels")
    check(signs, (None, MAP_BYTES), np.uint8, "signs")
    straight = (levels.reshape(MAP_SIDE, MAP_SIDE).astype(np.float32) - np.float32(LEVEL_ZERO)) / np.float32(
        LEVEL_SCALE
    )
    ways = (straight, np.ascontiguousarray(straight[:, ::-1]))
    enrolled = _inner_signs(signs)
    agreement, place = _shifted(ways, enrolled)
    distances: list[int | None] = [None] * len(enrolled)
    for e in np.argsort(-agreement, kind="stable")[:_COMPARED]:
        way, window = divmod(int(place[e]), (2 * _MARGIN + 1) ** 2)
        y, x = divmod(window, 2 * _MARGIN + 1)
        shift = (1.0, 0.0, float(x - _MARGIN), float(y - _MARGIN))
        # The best shift may lead astray where part of the face is outside of the picture.
        found = (_distance(_laid_over(ways[way], enrolled[e], start), enrolled[e]) for start in (shift, _UNMOVED))
        distances[int(e)] = min((distance for distance in found if distance is not None), default=None)
    return distances


def _inner_signs(signs: ByteArray) -> FloatArray:
    """-1 or 1, float32[E,1600], of the bits inside the margin."""
    bits = np.unpackbits(signs, axis=1).reshape(-1, MAP_SIDE, MAP_SIDE)[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return bits.reshape(-1, BITS).astype(np.float32) * 2 - 1


def _shifted(ways: Sequence[FloatArray], enrolled: FloatArray) -> tuple[FloatArray, LongArray]:
    """The best agreement by shifts of whole cells, float32[E], and its place in (way, y, x), int64[E]."""
    windows = [np.lib.stride_tricks.sliding_window_view(way, (_INNER, _INNER)).reshape(-1, BITS) for way in ways]
    shifted = np.concatenate(windows)
    shifted -= shifted.mean(axis=1, keepdims=True)
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True) + 1e-6
    agreement = enrolled @ shifted.T
    return agreement.max(axis=1), agreement.argmax(axis=1)


@dataclass(frozen=True, slots=True)
class _Surface:
    """A map with its slopes, to be read between cells. ``values`` float32[2304,4]: level, its slope along x and y, and
    whether it says anything: 0 where it is neither brighter nor darker, as outside of the picture."""

    values: FloatArray

    @classmethod
    def of(cls, levels: FloatArray) -> _Surface:
        along_y, along_x = np.gradient(levels)
        return cls(np.stack([levels, along_x, along_y, levels != 0], axis=-1).reshape(-1, 4).astype(np.float32))

    def under(self, parameters: Parameters) -> FloatArray:
        """float32[1600,4] where the similarity (a, b, tx, ty) puts the inner cells: z -> (a + ib) z + t."""
        a, b, tx, ty = parameters
        last = MAP_SIDE - 1
        x = np.clip(a * _X - b * _Y + (tx + last / 2), 0, last - 1e-3)
        y = np.clip(b * _X + a * _Y + (ty + last / 2), 0, last - 1e-3)
        left, top = x.astype(np.int64), y.astype(np.int64)
        right, low = (x - left).astype(np.float32)[:, None], (y - top).astype(np.float32)[:, None]
        at = top * MAP_SIDE + left
        upper = self.values[at] * (1 - right) + self.values[at + 1] * right
        lower = self.values[at + MAP_SIDE] * (1 - right) + self.values[at + MAP_SIDE + 1] * right
        read: FloatArray = upper * (1 - low) + lower * low
        return read


_OFFSETS: Final = np.arange(_INNER) - (_INNER - 1) / 2
_X: Final = np.tile(_OFFSETS, _INNER)
_Y: Final = np.repeat(_OFFSETS, _INNER)


def _laid_over(levels: FloatArray, enrolled: FloatArray, start: Parameters) -> FloatArray:
    """``levels`` float32[48,48] under the similarity that agrees best with ``enrolled`` float32[1600], near ``start``.

    The agreement is the correlation coefficient, climbed in steps of Gauss and Newton (Evangelidis and Psarakis, PAMI
    2008, for its four parameters).
    """
    surface = _Surface.of(levels)
    parameters, best, found = start, -1.0, levels[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN].reshape(-1)
    idle = 0
    for _ in range(_STEPS):
        read = surface.under(parameters)
        said = read[:, 3] > _SAID
        if np.count_nonzero(said) < _FEWEST:
            break
        target, value = _centred(enrolled[said]), _centred(read[said, 0])
        target /= float(np.linalg.norm(target)) + 1e-6
        length = float(np.linalg.norm(value)) + 1e-6
        agreement = float(target @ value) / length
        idle = 0 if agreement > best + _ENOUGH else idle + 1
        if agreement > best:
            best, found = agreement, read[:, 0]
        if idle == _IDLE:
            break
        x, y, along_x, along_y = _X[said], _Y[said], read[said, 1], read[said, 2]
        slopes = _centred(np.stack([along_x * x + along_y * y, along_y * x - along_x * y, along_x, along_y], axis=1))
        missing = target * (length / max(agreement, 0.1)) - value
        step = np.linalg.solve(slopes.T @ slopes + 1e-3 * np.eye(4), slopes.T @ missing)
        a, b, tx, ty = (p + float(s) for p, s in zip(parameters, step, strict=True))
        if abs(np.hypot(a, b) - 1) > _MOST or abs(b) > _MOST:
            break
        parameters = (a, b, tx, ty)
    return found


def _centred(values: FloatArray) -> FloatArray:
    centred: FloatArray = values - values.mean(axis=0)
    return centred


def _distance(levels: FloatArray, enrolled: FloatArray) -> int | None:
    """Of ``levels`` and ``enrolled`` float32[1600], laid over one another."""
    said = levels[levels != 0]
    clear = np.abs(levels) > _CLEAR * (said.std() if len(said) else 0.0)
    counting = int(np.count_nonzero(clear))
    if counting < _FEWEST:
        return None
    differing = np.count_nonzero(clear & ((levels > 0) != (enrolled > 0)))
    return round(differing * BITS / counting)
