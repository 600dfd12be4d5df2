"""The budget while it is spent."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from archives import COMPRESS, picture, tar_of, walked, zip_of

from leakmatch.records import Budget, Outcome
from leakmatch.sources.meter import Meter, OverBudget, metered

BUDGET = Budget(ratio=10, ratio_floor=1000, bytes=100_000, members=3)


def test_an_item_may_give_ratio_times_what_it_takes():
    meter = Meter(BUDGET, stored=500)
    meter.add_bytes(5000)
    with pytest.raises(OverBudget) as caught:
        meter.add_bytes(1)
    assert caught.value.meter is meter
    assert caught.value.outcome is Outcome.OVER_BUDGET
    assert "10 times" in str(caught.value)


def test_a_small_item_may_give_more():
    meter = Meter(BUDGET, stored=1)
    meter.add_bytes(1000)
    with pytest.raises(OverBudget):
        meter.add_bytes(1)


def test_the_innermost_item_that_is_not_honest_is_to_blame():
    root = Meter(BUDGET, stored=50)
    container = root.inner(50)
    bomb = container.inner(3)
    container.add_bytes(400)
    with pytest.raises(OverBudget) as caught:
        bomb.add_bytes(601)  # the container has now given 1001: more than is tolerated
    assert caught.value.meter is bomb


def test_a_container_of_honest_members_is_to_blame_for_their_sum():
    root = Meter(BUDGET, stored=1000)
    container = root.inner(50)
    with pytest.raises(OverBudget) as caught:
        for _ in range(20):
            container.inner(50).add_bytes(100)  # as where all members lie on top of each other
    assert caught.value.meter is container


def test_what_a_bomb_gave_is_forgotten_and_the_next_may_give_half():
    root = Meter(BUDGET, stored=50)
    given = []
    for _ in range(12):
        bomb, size = root.inner(1), 0
        with pytest.raises(OverBudget) as caught:
            while True:
                bomb.add_bytes(1)
                size += 1
        assert caught.value.meter is bomb
        given.append(size)
        root.inner(10).add_bytes(30)  # an honest neighbour
    assert given[0] == 1000
    assert all(after <= before for before, after in pairwise(given))
    assert given[-1] <= 10
    assert sum(given) < 2500


def test_an_item_that_ended_stays_ended():
    root = Meter(BUDGET, stored=1)
    bomb = root.inner(1)
    for _ in range(2):
        with pytest.raises(OverBudget) as caught:
            bomb.add_bytes(2000)
        assert caught.value.meter is bomb
    root.add_bytes(400)


def test_bytes_of_the_file_are_counted_at_every_level():
    root = Meter(BUDGET, stored=10**6)
    inner = root.inner(10**6).inner(10**6)
    inner.add_bytes(100_000)
    for meter in (root.inner(5), inner, root):
        with pytest.raises(OverBudget) as caught:
            meter.add_bytes(1)
        assert caught.value.meter is root


def test_members_of_the_file_are_counted_at_every_level():
    root = Meter(BUDGET, stored=10)
    root.add_member()
    root.inner(1).inner(1).add_member()
    root.inner(1).add_member()
    with pytest.raises(OverBudget) as caught:
        root.inner(1).add_member()
    assert caught.value.meter is root


def test_bytes_are_counted_once_however_often_they_are_read():
    meter = Meter(BUDGET, stored=1)
    pulses = []
    reopen = metered(lambda: io.BytesIO(bytes(900)), meter, lambda: pulses.append(1))
    for _ in range(5):
        stream = reopen()
        assert len(stream.read()) == 900
        stream.seek(0)
        assert len(stream.read()) == 900
    assert len(pulses) >= 10
    meter.add_bytes(100)
    with pytest.raises(OverBudget):
        meter.add_bytes(1)


def test_a_limit_that_was_hit_is_hit_again_when_it_is_read_again():
    meter = Meter(BUDGET, stored=1)
    reopen = metered(lambda: io.BytesIO(bytes(1500)), meter, lambda: None)
    for _ in range(2):
        with pytest.raises(OverBudget):
            reopen().read()


def test_no_ratio_at_all():
    meter = Meter(Budget(ratio=float("inf"), ratio_floor=1), stored=1)
    meter.add_bytes(1 << 40)


def test_the_siblings_of_an_archive_of_bombs_are_read():
    """Each bomb is honest for what it takes; it is the archive around them that is not, and that lies in a tar.gz."""
    bomb = zip_of([(b"%d" % n, bytes(2 << 20)) for n in range(16)], method=8)
    layer = zip_of([(b"%d.zip" % n, bomb) for n in range(16)], method=8)
    good = [(b"%03d.jpg" % n, picture(n, 400)) for n in range(20)]
    packed = COMPRESS["gzip"](tar_of([*good[:10], (b"bombs.zip", layer), *good[10:]]))
    walk = walked(packed, Budget(ratio_floor=8 << 20))
    assert [payload for payload in walk.pictures if payload] == [data for _, data in good]
    assert Outcome.OVER_BUDGET in {entry.outcome for entry in walk.entries}


def test_a_tar_within_gzip_is_counted_once():
    size = 8 << 20
    packed = COMPRESS["gzip"](tar_of([(b"zeros", bytes(size)), (b"photo.jpg", picture(1, 400))]))
    walk = walked(packed, Budget(ratio_floor=1 << 20))
    assert walk.root.outcome is Outcome.WALKED
    assert walk.named(b"photo.jpg").payload == picture(1, 400)
