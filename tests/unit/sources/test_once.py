"""Members that a library gives once, read as often as one likes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leakmatch.errors import ItemError
from leakmatch.sources import scratch as scratch_module
from leakmatch.sources.once import Once
from leakmatch.sources.scratch import Scratch

BLOCKS = [bytes([n]) * (100 + n) for n in range(20)]
WHOLE = b"".join(BLOCKS)


def test_it_is_read_again_from_what_was_kept():
    with Once(iter(BLOCKS), Scratch()) as once:
        assert once.open().read(150) == WHOLE[:100]
        assert once.open().readall() == WHOLE  # type: ignore[attr-defined]
        stream = once.open()
        stream.seek(1000)
        assert stream.read(50) == WHOLE[1000:1050]
        assert once.open().readall() == WHOLE  # type: ignore[attr-defined]


def test_an_error_is_met_at_its_place_each_time():
    def blocks() -> Iterator[bytes]:
        yield b"good"
        raise ValueError("damage")

    with Once(blocks(), Scratch()) as once:
        for _ in range(2):
            stream = once.open()
            assert stream.read(10) == b"good"
            with pytest.raises(ValueError, match="damage"):
                stream.read(10)


def test_without_room_it_is_read_once_and_then_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scratch_module, "IN_MEMORY", 500)
    with Once(iter(BLOCKS), Scratch(quota=600)) as once:
        assert once.open().readall() == WHOLE  # type: ignore[attr-defined]
        again = once.open()
        assert again.read(100) == WHOLE[:100]
        with pytest.raises(ItemError, match="scratch space") as caught:
            again.readall()  # type: ignore[attr-defined]
        assert caught.value.outcome == "over-budget"


def test_room_is_given_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scratch_module, "IN_MEMORY", 500)
    scratch = Scratch(quota=len(WHOLE))
    for _ in range(3):
        with Once(iter(BLOCKS), scratch) as once:
            once.open().readall()  # type: ignore[attr-defined]
            assert once.open().readall() == WHOLE  # type: ignore[attr-defined]


def test_a_copy_can_be_opened_by_its_path(tmp_path):
    import io

    for folder in (None, tmp_path):
        with Scratch(folder).copied(io.BytesIO(WHOLE)) as path:
            assert path.read_bytes() == WHOLE
    assert not list(tmp_path.iterdir())
