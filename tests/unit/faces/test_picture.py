"""A picture is decoded when a larger view is asked for, once, and in colour only where it must be."""

from __future__ import annotations

import numpy as np
import pytest

from leakmatch.faces.picture import Picture, View


class File:
    """Stands for a file of 800 x 400 pixels: gives halves and wholes, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, bool]] = []

    def decode(self, scale: float, colour: bool) -> View:
        self.asked.append((scale, colour))
        reached = 0.5 if scale <= 0.5 else 1.0
        shape = (round(400 * reached), round(800 * reached))
        return View(np.zeros((*shape, 3) if colour else shape, np.uint8), reached)


@pytest.fixture
def file() -> File:
    return File()


@pytest.fixture
def picture(file: File) -> Picture:
    return Picture(View(np.zeros((100, 200, 3), np.uint8), 0.25), (800, 400), file.decode)


def test_what_is_at_hand_is_not_decoded_again(file: File, picture: Picture) -> None:
    assert picture.at_least(0.1).scale == picture.at_least(0.25).scale == 0.25
    assert file.asked == []
    assert picture.at_least(0.3).scale == picture.at_least(0.5).scale == 0.5
    assert file.asked == [(0.3, True)]
    assert picture.at_least(0.9).scale == 1.0
    assert picture.at_least(0.4).scale == 0.5


def test_more_than_all_of_it_is_all_of_it(file: File, picture: Picture) -> None:
    assert picture.at_least(1.5).scale == 1.0
    assert file.asked == [(1.0, True)]


def test_brightness_is_enough_only_where_no_colour_is_asked_for(file: File, picture: Picture) -> None:
    assert not picture.at_least(0.9, colour=False).colour
    assert picture.at_least(0.9).colour
    assert file.asked == [(0.9, False), (0.9, True)]
    assert picture.at_least(0.3, colour=False).scale == 1.0  # at hand


def test_a_view_in_colour_serves_for_brightness(file: File, picture: Picture) -> None:
    assert picture.at_least(0.2, colour=False).colour
    assert file.asked == []


def test_a_whole_picture_is_never_decoded() -> None:
    picture = Picture.whole(np.zeros((4, 6, 3), np.uint8))
    assert (picture.width, picture.height) == (6, 4)
    assert picture.at_least(2.0).scale == picture.at_least(0.0).scale == 1.0
