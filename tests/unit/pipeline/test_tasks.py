"""Sets of positions as ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leakmatch.pipeline.tasks import Ranges


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_the_set_they_were_made_of(positions: set[int]) -> None:
    ranges = Ranges.of(positions)
    assert {p for p in range(70) if p in ranges} == positions
    assert all(start < end for start, end in zip(ranges.starts, ranges.ends, strict=True))
    assert all(end < start for end, start in zip(ranges.ends, ranges.starts[1:], strict=False))
