"""Looks at a part of a picture: the same pixels as in the whole, also where brightness and colours come apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leakmatch.arrays import ByteArray
from leakmatch.faces.anchors import Detector
from leakmatch.faces.detect import overlaps
from leakmatch.faces.looks import Look, _coloured, looks, seen, seen_in
from leakmatch.faces.picture import Picture, View


def test_looks_are_of_the_sizes_asked_for(portrait: ByteArray) -> None:
    found = list(looks(Picture.whole(portrait), [1.0, 0.5, 0.1]))
    assert [look.pixels.shape for look in found] == [(512, 512, 3), (256, 256, 3), (51, 51, 3)]
    np.testing.assert_allclose([look.ratio for look in found], [[1, 1], [0.5, 0.5], [51 / 512, 51 / 512]])
    assert list(looks(Picture.whole(portrait), [])) == []


def test_a_region_shows_what_the_whole_shows(detector: Detector, portrait: ByteArray) -> None:
    picture = Picture.whole(portrait)
    (look,) = looks(picture, [1.0])
    whole = seen(detector, look)
    region = np.array([100, 10, 420, 330], np.float32)
    part = seen_in(detector, picture, look, [region], 1.0)
    best, other = part.boxes[part.scores.argmax()], whole.boxes[whole.scores.argmax()]
    assert overlaps(other, best[None])[0] > 0.9
    assert part.scores.max() == pytest.approx(float(whole.scores.max()), abs=0.05)


def test_no_regions_ask_for_no_decode(detector: Detector) -> None:
    def refuse(scale: float, colour: bool) -> View:
        raise AssertionError("decoded for nothing")

    picture = Picture(View(np.zeros((10, 10, 3), np.uint8), 0.1), (100, 100), refuse)
    assert len(seen_in(detector, picture, None, [], 0.9).scores) == 0


def test_brightness_and_the_colours_of_a_smaller_view_come_near_the_picture(portrait: ByteArray) -> None:
    luma = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    hues = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)
    look = Look(luma, np.ones(2, np.float32), hues)  # type: ignore[arg-type]
    across, down = (130, 330), (40, 290)
    part = portrait[slice(*down), slice(*across)]
    made = _coloured(look.pixels[slice(*down), slice(*across)], look, across, down)
    assert made.shape == part.shape
    near = np.abs(made.astype(int) - part).mean()
    gray = np.abs(look.pixels[slice(*down), slice(*across), None].astype(int) - part).mean()
    assert near < 0.4 * gray
    assert abs(int(made[..., 1].mean()) - int(part[..., 1].mean())) <= 2


def test_a_small_face_is_found_by_brightness_with_borrowed_colours(detector: Detector, portrait: ByteArray) -> None:
    """As from a JPEG: the first view is a quarter, the larger one brightness alone."""
    small = cv2.resize(portrait, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    full = np.full((1200, 1600, 3), 120, np.uint8)
    full[500 : 500 + small.shape[0], 700 : 700 + small.shape[1]] = small
    quarter = np.asarray(cv2.resize(full, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA))
    luma = np.asarray(cv2.cvtColor(full, cv2.COLOR_BGR2GRAY))
    picture = Picture(View(quarter, 0.25), (1600, 1200), lambda scale, colour: View(full if colour else luma, 1.0))
    region = np.array([600, 400, 1000, 800], np.float32)
    ours = seen_in(detector, picture, None, [region], 1.0)
    (look,) = looks(Picture.whole(full), [1.0])
    reference = seen_in(detector, Picture.whole(full), look, [region], 1.0)
    assert ours.scores.max() > 0.8
    assert overlaps(reference.boxes[reference.scores.argmax()], ours.boxes[ours.scores.argmax()][None])[0] > 0.8
