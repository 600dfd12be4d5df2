"""A stream in a sealed file: what was written is read, from anywhere; what was changed is not."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from leakmatch.errors import Damaged, IntegrityError, UsageError, WrongKey
from leakmatch.gallery.store import Gallery
from leakmatch.sealed import stream
from leakmatch.sealed.file import PAGE_BYTES, SealedFile
from leakmatch.sealed.keys import Keys, generate
from leakmatch.sealed.stream import open_stream, sealing

CONTENT = bytes(range(256)) * 300  # four pages and a part


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    generate(tmp_path / "k")
    return Keys(tmp_path / "k")


def seal(path: Path, keys: Keys, content: bytes = CONTENT, step: int = 5000) -> Path:
    with sealing(path, keys.secret("test", new=True)) as sealed:
        for start in range(0, len(content), step):
            assert sealed.write(content[start : start + step]) == len(content[start : start + step])
        assert sealed.tell() == len(content)
    return path


@pytest.mark.parametrize("size", [0, 1, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1, 3 * PAGE_BYTES, len(CONTENT)])
def test_what_was_written_is_read(tmp_path: Path, keys: Keys, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_COMMIT_PAGES", 2)
    path = seal(tmp_path / "a", keys, CONTENT[:size], step=7000)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_stream(path, keys) as found:
        assert found.read() == CONTENT[:size]
        for at in (0, size // 2, size, size + 10):
            assert found.seek(at) == at
            assert found.read(20_000) == CONTENT[:size][at : at + 20_000]
        assert found.seek(0, os.SEEK_END) == size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "k"]


def test_nothing_is_left_of_what_was_not_completed(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(RuntimeError), sealing(tmp_path / "a", keys.secret("a", new=True)) as sealed:
        sealed.write(CONTENT)
        raise RuntimeError
    assert (tmp_path / "a").read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "k"]


def test_what_is_sealed_is_not_written_over(tmp_path: Path, keys: Keys) -> None:
    path = seal(tmp_path / "a", keys)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="not overwritten"):
        seal(path, keys)
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match="only a file"):
        seal(tmp_path, keys)


def test_it_is_told_from_a_gallery(tmp_path: Path, keys: Keys) -> None:
    Gallery.create(tmp_path / "g", "test", "sha256:00/fp32/test", 16, keys=keys).close()
    with pytest.raises(UsageError, match="no sealed export"):
        open_stream(tmp_path / "g", keys)
    with pytest.raises(UsageError, match="sealed, but not a LeakMatch gallery"):
        Gallery.open(seal(tmp_path / "a", keys), keys=keys)


def test_every_flip_and_cut_is_found(tmp_path: Path, keys: Keys) -> None:
    content = seal(tmp_path / "a", keys).read_bytes()
    changed = tmp_path / "b"
    for at in range(0, len(content), 499):
        changed.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises((IntegrityError, UsageError)):
            open_stream(changed, keys).close()
    for at in range(0, len(content), 2003):
        changed.write_bytes(content[:at])
        with pytest.raises((IntegrityError, UsageError)):
            open_stream(changed, keys).close()
    generate(tmp_path / "other")
    with pytest.raises(WrongKey):
        open_stream(tmp_path / "a", Keys(tmp_path / "other"))


def test_another_length_than_the_log_says(tmp_path: Path, keys: Keys) -> None:
    path = seal(tmp_path / "a", keys)
    with SealedFile.open(path, keys) as file:
        assert json.loads(next(file.entries())) == {"kind": "stream", "name": "a", "bytes": len(CONTENT)}
        file.write(1, b"short")
        file.resize(3)
        file.commit()
    with pytest.raises(Damaged, match="as long as its log says"):
        open_stream(path, keys)
