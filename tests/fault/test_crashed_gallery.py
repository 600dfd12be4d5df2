"""A process is killed while it changes a gallery, or the disk is full: the old state is there then, or the new one.

Here at a sample of the writes; ``scripts/crash_gallery.py`` has all of them, failing disks and power cuts.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from gallery_changes import CHANGES, Change, judged, state_of

from leakmatch.errors import OK, STORAGE, LeakMatchError

#: What changes files.
CALLS = ("pwrite", "fsync", "ftruncate", "replace", "rename", "link", "unlink")
#: At so many of its calls each change is killed here, and at so many fails.
SAMPLE = 2


def interrupted(act: Callable[[], None], number: int, kind: str) -> tuple[int, int]:
    """Run ``act`` in a process of its own. Before its ``number``-th call it dies, or the call fails as on a full disk.

    How many calls there were (0: it died), and the exit code that a command would have.
    """
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        count = 0

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def instead(*arguments: object, **options: object) -> object:
                nonlocal count
                count += 1
                if count == number and kind == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                if count == number:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return call(*arguments, **options)

            return instead

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        code = 1
        try:
            act()
            code = 0
        except LeakMatchError as error:
            code = error.exit_code
        finally:
            os.write(write, f"{count} {code}".encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        count, code = map(int, (pipe.read() or "0 0").split())
    os.waitpid(pid, 0)
    return count, code


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

    def act() -> None:
        change.act(path, folder)

    change.begin(path, folder)
    before = path.read_bytes() if path.exists() else None
    old = None if before is None else state_of(path, folder)
    begin(before)
    calls, code = interrupted(act, 0, "")
    assert (calls > 0, code) == (True, 0)
    new = state_of(path, folder)
    chance = random.Random(zlib.crc32(change.name.encode()))
    for kind in ("killed", "full"):
        for number in sorted(chance.sample(range(1, calls + 1), min(SAMPLE, calls))):
            begin(before)
            count, code = interrupted(act, number, kind)
            assert count == 0 if kind == "killed" else code in (STORAGE, OK)
            wrong = judged(path, folder, old, new)
            assert not wrong, f"{kind} at call {number} of {calls}: {wrong}"
