"""Time is counted against the item that takes it, in proportion to its bytes; its neighbours go on."""

from __future__ import annotations

import pytest

from leakmatch.records import Budget
from leakmatch.sources.meter import Clock, Meter, OverBudget

SECONDS = 8.0


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def clock(hands: Hands) -> Clock:
    return Clock(hands, hands)


@pytest.fixture
def root() -> Meter:
    return Meter(Budget(seconds=SECONDS), 1 << 40)


def spend(clock: Clock, hands: Hands, seconds: float, moved: int = 0) -> None:
    hands.now += seconds
    clock.charge(moved)
    clock.check()


def test_an_item_has_its_seconds_and_one_for_each_mib(clock: Clock, hands: Hands, root: Meter) -> None:
    member = root.inner(1)
    clock.at(member, on=True)
    spend(clock, hands, SECONDS + 2.9, moved=3 << 20)
    with pytest.raises(OverBudget, match="took more than 8 seconds beyond") as caught:
        spend(clock, hands, 0.2)
    assert caught.value.meter is member
    assert not caught.value.steady


def test_bytes_that_come_out_of_it_count_as_well(clock: Clock, hands: Hands, root: Meter) -> None:
    member = root.inner(1 << 20)
    clock.at(member, on=True)
    member.add_bytes(20 << 20)
    spend(clock, hands, SECONDS + 19)


def test_siblings_of_slow_members_go_on_with_less_patience(clock: Clock, hands: Hands, root: Meter) -> None:
    patience = []
    for _ in range(6):
        root.add_member()
        member = root.inner(1)
        clock.at(member, on=True)
        began = hands.now
        with pytest.raises(OverBudget) as caught:
            while True:
                spend(clock, hands, 0.1)
        assert caught.value.meter is member
        patience.append(round(hands.now - began, 1))
    assert patience == pytest.approx([8, 4, 2, 1, 1, 1], abs=0.21)
    honest = root.inner(1)
    clock.at(honest, on=True)
    spend(clock, hands, 0.9)


def test_a_container_is_held_to_what_its_members_explain(clock: Clock, hands: Hands, root: Meter) -> None:
    with pytest.raises(OverBudget) as caught:
        for _ in range(1000):
            root.add_member()
            clock.at(root.inner(1), on=True)
            spend(clock, hands, 0.5)  # none of them is slow, all of them together are
    assert caught.value.meter is root


def test_many_small_members_are_no_offence(clock: Clock, hands: Hands, root: Meter) -> None:
    for _ in range(5000):
        root.add_member()
        clock.at(root.inner(1), on=True)
        spend(clock, hands, 0.04)


def test_time_between_members_is_that_of_the_container(clock: Clock, hands: Hands, root: Meter) -> None:
    container = root.inner(1)
    member = container.inner(1)
    clock.at(member, on=True)
    spend(clock, hands, 5)
    clock.at(container, on=True)
    with pytest.raises(OverBudget) as caught:
        spend(clock, hands, 5)
    assert caught.value.meter is container


def test_nothing_is_counted_where_an_earlier_walk_has_been_nor_what_was_skipped(
    clock: Clock, hands: Hands, root: Meter
) -> None:
    clock.at(root, on=False)
    spend(clock, hands, 100)
    clock.at(root, on=True)
    hands.now += 100
    clock.skip()
    spend(clock, hands, SECONDS - 1)


def test_once_over_always_over(clock: Clock, hands: Hands, root: Meter) -> None:
    """And blamed once only: the container keeps the half of its patience."""
    member = root.inner(1)
    clock.at(member, on=True)
    for _ in range(3):
        with pytest.raises(OverBudget):
            spend(clock, hands, SECONDS + 1)
    with pytest.raises(OverBudget):
        member.add_bytes(1)
    assert root._patience == SECONDS / 2
