"""A process is killed while it changes a gallery: what is there then is the old state, or the new one.

Here at a sample of the writes; ``scripts/crash_gallery.py`` has all of them, failing disks and power cuts.
"""

from __future__ import annotations

import os
import random
import signal
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from gallery_changes import CHANGES, Change, judged, state_of

#: What changes files.
CALLS = ("pwrite", "fsync", "ftruncate", "replace", "rename", "link", "unlink")
#: At so many of its calls each change is killed here.
SAMPLE = 3


def killed_at(number: int, act: Callable[[], None]) -> int:
    """Run ``act`` in a process that dies before its ``number``-th call; how many calls there were, or 0."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        count = 0

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def instead(*arguments: object, **options: object) -> object:
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return instead

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            act()
            os.write(write, str(count).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return int(told or 0)


@pytest.mark.parametrize("change", [c for c in CHANGES if c.name != "import"], ids=lambda change: change.name)
def test_the_old_state_or_the_new_one(change: Change, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    path = tmp_path / "store" / "a.gallery"
    path.parent.mkdir()

    def begin(data: bytes | None) -> None:
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)

    change.begin(path, folder)
    before = path.read_bytes() if path.exists() else None
    old = None if before is None else state_of(path, folder)
    begin(before)
    calls = killed_at(0, lambda: change.act(path, folder))
    assert calls, "it failed undisturbed"
    new = state_of(path, folder)
    chosen = random.Random(zlib.crc32(change.name.encode())).sample(range(1, calls + 1), min(SAMPLE, calls))
    for number in sorted(chosen):
        begin(before)
        assert killed_at(number, lambda: change.act(path, folder)) == 0
        wrong = judged(path, folder, old, new)
        assert not wrong, f"killed at call {number} of {calls}: {wrong}"
