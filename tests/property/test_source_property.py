"""Whatever the bytes: the walk raises nothing, and every position has exactly one row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archives import COMPRESS, Zipped, old_tar, pax, picture, tar_of, walked, zip_of, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakmatch.locator import APPENDED
from leakmatch.records import Budget
from leakmatch.sources.walk import Before

MEMBERS = [(b"a.jpg", picture(1, 60)), (b"d/b.txt", b"text " * 30), (b"c.jpg", picture(2, 900))]
BUDGET = Budget(depth=6, members=500, bytes=3_000_000, member_bytes=500_000, ratio=100, ratio_floor=300_000)

SEEDS: dict[str, bytes] = {
    "stored zip": zip_of(MEMBERS),
    "deflated zip": zip_of(MEMBERS, 8),
    "lzma zip": zip_of(MEMBERS, 14),
    "streamed zip64": zipped([Zipped(name, data, 8, described=True, zip64=True) for name, data in MEMBERS]),
    "zip in zip": zip_of([(b"in.zip", zip_of(MEMBERS, 8)), *MEMBERS]),
    "self-extractor": zipped([Zipped(name, data) for name, data in MEMBERS], b"MZ" + bytes(200)),
    "tar": tar_of(MEMBERS),
    "pax tar": pax({"path": b"x" * 120, "size": b"5"}, b"g") + pax({"path": b"y"}) + tar_of(MEMBERS),
    "old tar": old_tar(MEMBERS),
    **{method: packed(tar_of(MEMBERS)) for method, packed in COMPRESS.items()},
    "zips in tar.gz": COMPRESS["gzip"](tar_of([(b"a.zip", zip_of(MEMBERS, 8)), (b"b.zip", zip_of(MEMBERS))])),
}

PLACES = st.integers(0, 1 << 16)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), PLACES, st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("cut"), PLACES, st.integers(1, 700)),
        st.tuples(st.just("repeat"), PLACES, st.integers(1, 700)),
        st.tuples(st.just("insert"), PLACES, st.binary(max_size=40)),
        st.tuples(
            st.just("number"), PLACES, st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\xff" * 8, b"\x7f\xff", b"\x01"])
        ),
        st.tuples(st.just("end"), PLACES, st.just(0)),
    ),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, edits: list[tuple[str, int, object]]) -> bytes:
    for kind, place, what in edits:
        at = place % (len(data) + 1)
        if kind in ("set", "number"):
            data = data[:at] + what + data[at + len(what) :]  # type: ignore[operator, arg-type]
        elif kind == "insert":
            data = data[:at] + what + data[at:]  # type: ignore[operator]
        elif kind == "cut":
            data = data[:at] + data[at + what :]  # type: ignore[operator]
        elif kind == "repeat":
            data = data[: at + what] + data[at:]  # type: ignore[operator]
        else:
            data = data[:at]
    return data


@pytest.mark.parametrize("seed", SEEDS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=EDITS)
def test_mutations_of_archives(seed, edits):
    data = mutated(SEEDS[seed], edits)
    found = walked(data, BUDGET)  # checks positions, locators and the reasons of failures
    assert len(found.entries) <= BUDGET.members + BUDGET.depth
    assert len(found.incidents) <= 6 * len(found.entries)
    assert sum(len(payload or b"") for payload in found.pictures) <= BUDGET.bytes
    assert walked(data, BUDGET) == found
    positions = {e.locator: e.position for e in found.entries}
    inside = [e.locator.parent for e in found.entries if e.locator.kind == APPENDED]
    known = Before(carriers=frozenset(positions[parent] for parent in inside if parent is not None))
    again = walked(data, BUDGET, lambda _: False, before=known)
    assert [e.locator for e in again.entries][: len(found.entries)] == [e.locator for e in found.entries]


@pytest.mark.parametrize("seed", SEEDS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=EDITS)
def test_damaged_archives_are_read_in_place_as_if_held(seed, edits):
    data = zip_of([(b"nested", mutated(SEEDS[seed], edits))], 8)
    assert walked(data, BUDGET) == walked(data, replace(BUDGET, buffer_bytes=1))


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\x28\xb5\x2f\xfd", b"]\0\0\x10\0"]),
)
def test_any_bytes(data, beginning):
    walked(beginning + data, BUDGET)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=200)), max_size=8), st.sampled_from([0, 8, 12, 93])
)
def test_any_members_come_out_of_a_zip(members, method):
    names = [(name.rstrip(b"/") or b"x", b"\xff\xd8\xff" + data) for name, data in members]
    assert walked(zip_of(names, method)).members() == names


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=250), st.binary(max_size=1500)), max_size=8))
def test_any_members_come_out_of_a_tar(members):
    names = [(name.replace(b"\0", b"0").strip(b"/") or b"x", b"\xff\xd8\xff" + data) for name, data in members]
    if names:
        assert walked(tar_of(names)).members() == names
