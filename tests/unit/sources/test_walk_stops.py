"""A walk that is told where earlier walks ended: the same positions, whatever is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from archives import is_picture, picture, zip_of

from leakmatch.locator import SOURCE, Locator
from leakmatch.records import Budget, Entry, Outcome, Stop
from leakmatch.sources.meter import Clock, OverBudget
from leakmatch.sources.walk import Before, walk

INNER = zip_of([(b"%d.jpg" % n, picture(10 + n)) for n in range(5)])
#: Positions: 0 the file, 1 a.jpg, 2 inner.zip with 3 to 7, 8 b.jpg, 9 c.txt
ARCHIVE = zip_of([(b"a.jpg", picture(1)), (b"inner.zip", INNER), (b"b.jpg", picture(2)), (b"c.txt", b"text")])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.zip"
    path.write_bytes(ARCHIVE)
    return path


def entries(path: Path, stops: list[Stop], known: set[int] = frozenset(), end: int = 0) -> dict[int, Entry]:  # type: ignore[assignment]
    before = Before(end, {stop.position: stop for stop in stops})
    root = Locator.root(SOURCE, path.name, path.name.encode(), 0)
    found = walk(path, root, Budget(), is_picture, lambda position: position not in known, before=before)
    return {item.position: item for item in found if isinstance(item, Entry)}


def names(found: dict[int, Entry]) -> dict[int, str]:
    return {position: entry.locator.name for position, entry in sorted(found.items())}


def stop(position: int, end: int, outcome: Outcome = Outcome.QUARANTINED) -> Stop:
    return Stop(position, end, outcome, "why")


def test_an_item_is_not_opened_and_says_why(archive: Path) -> None:
    found, whole = entries(archive, [stop(1, 2)]), entries(archive, [])
    assert names(found) == names(whole)
    assert (found[1].outcome, found[1].detail, found[1].payload) == (Outcome.QUARANTINED, "why", None)
    assert [found[position].outcome for position in range(2, 10)] == [whole[p].outcome for p in range(2, 10)]


def test_a_container_with_nothing_left_to_read_is_passed_over(archive: Path) -> None:
    found = entries(archive, [stop(2, 6)], known={3, 4, 5}, end=6)
    assert names(found) == {0: "a.zip", 1: "a.jpg", 2: "inner.zip", 6: "b.jpg", 7: "c.txt"}
    assert found[2].outcome is Outcome.QUARANTINED


def test_a_container_is_read_as_far_as_before_for_what_was_lost(archive: Path) -> None:
    found = entries(archive, [stop(2, 6, Outcome.OVER_BUDGET)], known={2, 3, 5}, end=6)
    assert names(found) == {
        0: "a.zip",
        1: "a.jpg",
        2: "inner.zip",
        3: "0.jpg",
        4: "1.jpg",
        5: "2.jpg",
        6: "b.jpg",
        7: "c.txt",
    }
    assert found[4].payload is not None
    assert found[2].outcome is Outcome.OVER_BUDGET
    assert found[2].sha256 is not None


def test_the_file_itself(archive: Path) -> None:
    assert names(entries(archive, [stop(0, 1)])) == {0: "a.zip"}
    assert entries(archive, [stop(0, 5)], known={1, 2, 3, 4}, end=5)[0].outcome is Outcome.QUARANTINED


def test_the_item_at_work_is_told(archive: Path) -> None:
    told: list[int] = []
    root = Locator.root(SOURCE, "a.zip", b"a.zip", 0)
    for item in walk(archive, root, Budget(), is_picture, working=told.append):
        if isinstance(item, Entry):
            assert told[-1] == item.position
    order = [position for n, position in enumerate(told) if n == 0 or told[n - 1] != position]
    assert order == [0, 1, 0, 2, 3, 2, 4, 2, 5, 2, 6, 2, 7, 2, 0, 8, 0, 9, 0]


def test_time_that_runs_out_marks_the_row_as_cut(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the third member of the inner archive; what lies behind it is read all the same."""

    def check(self: Clock) -> None:
        meter = self._meter
        if meter is not None and told[-1] == 5 and meter._over is None:
            raise OverBudget(meter, "slow", steady=False)

    told: list[int] = []
    monkeypatch.setattr(Clock, "check", check)
    root = Locator.root(SOURCE, "a.zip", b"a.zip", 0)
    found = {
        item.position: item
        for item in walk(archive, root, Budget(), is_picture, working=told.append)
        if isinstance(item, Entry)
    }
    assert {position: entry.outcome for position, entry in found.items() if entry.cut} == {5: Outcome.OVER_BUDGET}
    assert len(found) == 10
