"""Which pictures of an inventory are looked at."""

from __future__ import annotations

import pytest

from leakmatch.pipeline.tasks import Sample


def taken(pictures: int, size: int = 24) -> list[int]:
    sample = Sample(lambda head: "JPEG" if head else None, size)
    return [number for number in range(pictures) if sample.format(b"x") and sample(number)]


def test_of_few_all_are_taken() -> None:
    assert taken(24) == list(range(24))


@pytest.mark.parametrize("pictures", [1000, 50_000, 400_000])
def test_of_many_few_are_taken_from_everywhere(pictures: int) -> None:
    chosen = taken(pictures)
    assert len(chosen) <= 24 * (1 + (pictures // 24).bit_length())
    gaps = [after - before for before, after in zip(chosen, [*chosen[1:], pictures], strict=True)]
    assert max(gaps) <= pictures / 10
    assert gaps[:-1] == sorted(gaps[:-1])


def test_it_is_the_same_each_time() -> None:
    assert taken(5000) == taken(5000)


def test_other_items_are_wanted_and_not_counted() -> None:
    sample = Sample(lambda head: "JPEG" if head else None, 2)
    assert all(not sample.format(b"") and sample(number) for number in range(100))
    assert sample.format(b"x") == "JPEG"
    assert [sample(0), sample(1)] == [True, True]
