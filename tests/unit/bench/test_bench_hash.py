"""``leakmatch bench hash`` on little input."""

from __future__ import annotations

from leakmatch.bench import hash as bench


def test_each_figure_stands_beside_its_peer() -> None:
    ours, theirs, indexing, join, faiss = bench.run(sizes=(60,), probes=(20,), hashes=3000)
    assert (ours.unit, theirs.unit) == ("images/s", "images/s")
    assert ours.value > 0
    assert ours.detail["times_imagehash"] > 0
    assert indexing.unit == "s"
    assert join.value > 0
    assert join.detail["pairs_found"] >= 10
    assert join.limit is not None
    assert join.limit == faiss.limit
