"""A picture at the scales that are asked for, decoded no larger than needed, and in colour only where needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from leakmatch.arrays import ByteArray


class View(NamedTuple):
    """A whole picture at some scale: ``scale`` pixels for one of the full size.

    ``pixels`` uint8[h,w,3] BGR, or uint8[h,w]: brightness alone, which costs half of the decode.
    """

    pixels: ByteArray
    scale: float

    @property
    def colour(self) -> bool:
        """Whether it is more than brightness."""
        return self.pixels.ndim == 3


#: Decodes a picture at this scale (0 to 1), or at the next larger one that its format offers; in colour where that is
#: asked for, or comes for nothing. Where it cannot, it may give a smaller one.
Decode = Callable[[float, bool], View]


class Picture:
    """What is known of a picture: some views of it, and how to get a larger one.

    ``width`` and ``height`` are those of the full size.
    """

    def __init__(self, first: View, size: tuple[int, int], decode: Decode) -> None:
        self.width, self.height = size
        self._views = [first]
        self._decode = decode

    @classmethod
    def whole(cls, bgr: ByteArray) -> Picture:
        """A picture of which all pixels are at hand."""
        view = View(bgr, 1.0)
        return cls(view, (bgr.shape[1], bgr.shape[0]), lambda scale, colour: view)

    def at_least(self, scale: float, *, colour: bool = True) -> View:
        """The smallest view at hand that is no smaller than ``scale``, else one that is decoded now, and kept.

        Without ``colour``, brightness is enough. A ``scale`` above 1 is met by the full size. Smaller only where
        decoding gave a smaller one. Raises what decoding raises.
        """
        scale = min(scale, 1.0)
        fits = [view for view in self._views if view.scale >= scale and (view.colour or not colour)]
        if not fits:
            fits = [self._decode(scale, colour)]
            self._views += fits
        return min(fits, key=lambda view: view.scale)
