"""Sets of positions as ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leakmatch.pipeline.tasks import Ranges
from leakmatch.pipeline.walks import Positions


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_the_set_they_were_made_of(positions: set[int]) -> None:
    ranges = Ranges.of(sorted(positions))
    assert {p for p in range(70) if p in ranges} == positions
    assert all(start < end for start, end in zip(ranges.starts, ranges.ends, strict=True))
    assert all(end < start for end, start in zip(ranges.ends, ranges.starts[1:], strict=False))


@given(st.sets(st.integers(0, 30)), st.lists(st.integers(0, 30)))
def test_positions_are_a_set_that_grows(known: set[int], added: list[int]) -> None:
    positions, want = Positions(Ranges.of(sorted(known))), set(known)
    for position in added:
        assert positions.add(position) == (position not in want)
        want.add(position)
    ranges = positions.ranges()
    assert {p for p in range(40) if p in ranges} == want
    assert ranges == Ranges.of(sorted(want))
    assert positions.end == max(want, default=-1) + 1
    assert list(positions.missing(35)) == [p for p in range(35) if p not in want]
