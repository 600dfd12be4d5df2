"""Members found equal rows, per container and in total, or the container is named."""

from __future__ import annotations

import time

import pytest

from leakmatch.case.batch import Batch
from leakmatch.case.rows import SourceRow
from leakmatch.case.store import Case
from leakmatch.case.sums import check_sums
from leakmatch.errors import IntegrityError
from leakmatch.locator import FILE, Locator, around
from leakmatch.records import Entry, ItemKind, Outcome

ROOT = Locator.root(FILE, 'an,["odd"] name.zip', b'an,["odd"] name.zip', 0)
INNER = ROOT.child("zip", "inner,[", b"inner,[", 1)

#: Position is the place in the list: locator, members.
TREE = [
    (ROOT, 3),
    (ROOT.child("zip", "a", b"a", 0), None),
    (INNER, 2),
    (INNER.child("tar", "b", b"\xff", 0), None),
    (INNER.child("tar", 'c"],["', b"c", 1), 0),
    (ROOT.child("zip", "d", b"d", 2), None),
]


def told(tree, file=0, outcome=Outcome.WALKED):
    return [(file, locator.to_json(), members, str(outcome)) for locator, members in tree]


@pytest.mark.parametrize("name", ["a", ",[", "],[", '],["', '"],["zip', "\\],[", "\udcff],["])
def test_the_container_around_an_item_is_found_whatever_it_is_called(name):
    outer = ROOT.child("zip", name, name.encode("utf-8", "surrogateescape"), 0)
    for inner in (outer.child("tar", name, b"\xff", 3), outer.child("tar", name, name.encode("utf-8", "replace"), 3)):
        assert around(inner.to_json()) + "]" == outer.to_json()
    assert around(outer.to_json()) + "]" == ROOT.to_json()
    assert around(ROOT.to_json()) == ""


def test_a_tree_adds_up():
    check_sums([])
    check_sums(told(TREE))
    check_sums(told(TREE) + told(TREE, file=1))


@pytest.mark.parametrize("place", range(1, len(TREE)))
def test_a_lost_row_is_found_and_its_container_named(place):
    broken = TREE[:place] + TREE[place + 1 :]
    with pytest.raises(ValueError, match=r"have a row|has no row"):
        check_sums(told(broken))


def test_the_container_is_named_that_lost_a_row():
    with pytest.raises(ValueError, match=r"2 members were found in '.*inner,\[', and 1 have a row"):
        check_sums(told(TREE[:3] + TREE[4:]))


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("more", [-1, 1])
def test_a_wrong_count_is_found(place, more):
    broken = [(locator, members + more if i == place else members) for i, (locator, members) in enumerate(TREE)]
    with pytest.raises(ValueError, match=r"members were found in '.*', and \d have a row"):
        check_sums(told(broken))


def test_a_container_that_was_not_opened_has_nothing_to_compare():
    check_sums(told([(ROOT, None), *TREE[1:]]))


def test_of_a_quarantined_file_containers_may_be_missing():
    lost = [(ROOT, None), *TREE[1:2], *TREE[3:]]
    with pytest.raises(ValueError, match="no row"):
        check_sums(told([*lost[:1], *TREE[3:4]]))
    check_sums(told([*lost[:1], *TREE[3:4]], outcome=Outcome.QUARANTINED))


def test_a_case_is_refused_where_the_reader_counted_another_number(tmp_path):
    for members in (1, 2, 3):
        with Case.create(tmp_path / f"{members}.case", {}, [SourceRow(0, 0, ROOT, 1, 1)]) as case:
            batch = Batch()
            batch.add_entry(0, Entry(ROOT, 0, ItemKind.CONTAINER, 1, None, None, members=members), Outcome.WALKED, "")
            for n in (1, 2):
                entry = Entry(ROOT.child("zip", str(n), b"%d" % n, n), n, ItemKind.OTHER, 1, None, None)
                batch.add_entry(0, entry, Outcome.NOT_IMAGE, "")
            batch.add_finished_file(0, None, 3)
            case.write(batch)
            if members == 2:
                case.verify()
            else:
                with pytest.raises(IntegrityError, match=f"{members} members were found in '.*zip', and 2 have a row"):
                    case.verify()


def test_many_members_take_a_second_or_two():
    tree = [(ROOT, 200_000)] + [(ROOT.child("zip", f"{i:06}.jpg", b"x", i), None) for i in range(200_000)]
    rows = told(tree)
    began = time.process_time()
    check_sums(rows)
    assert time.process_time() - began < 5
