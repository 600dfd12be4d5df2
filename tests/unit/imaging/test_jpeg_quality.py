"""The quality of a JPEG, told from its quantisation table: against the encoder that was given it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from leakmatch.imaging.decode import decode
from leakmatch.imaging.jpeg import ijg_tables, nearest_quality
from leakmatch.records import Budget

PICTURE = Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3))


def encoded(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, form, **options)
    return buffer.getvalue()


def found(payload: bytes) -> int | None:
    return next(iter(decode(payload, Budget()))).jpeg_quality


@pytest.mark.parametrize("quality", [1, 5, 20, 49, 50, 51, 75, 90, 95, 99, 100])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "subsampling": 0}])
def test_the_quality_that_the_encoder_was_given_is_found(quality: int, options: dict[str, object]) -> None:
    assert found(encoded("JPEG", quality=quality, **options)) == quality


def test_a_gray_jpeg_has_a_quality_and_other_formats_have_none() -> None:
    buffer = io.BytesIO()
    PICTURE.convert("L").save(buffer, "JPEG", quality=60)
    assert found(buffer.getvalue()) == 60
    assert found(encoded("PNG")) is None
    assert found(encoded("WEBP")) is None


@given(st.integers(1, 100), st.lists(st.integers(-1, 1), min_size=64, max_size=64))
def test_a_table_of_another_encoder_gets_the_quality_most_like_it(quality: int, change: list[int]) -> None:
    table = tuple(int(v) for v in ijg_tables()[quality - 1] + change)
    nearest = nearest_quality(table)
    distances = [sum(abs(a - b) for a, b in zip(other, table, strict=True)) for other in ijg_tables().tolist()]
    assert distances[nearest - 1] == min(distances)


def test_divisors_of_16_bits_are_the_strongest_compression() -> None:
    assert nearest_quality((65535,) * 64) == 1
