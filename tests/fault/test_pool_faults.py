"""Workers that die, hang or lie: replaced, retried once alone, and never a picture lost in silence."""

from __future__ import annotations

import io
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from sinks import Notes

from leakmatch.errors import UsageError
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.locator import Locator
from leakmatch.pipeline.channel import ChannelClosed, Message
from leakmatch.pipeline.pool import Picture, Pool, Worker
from leakmatch.pipeline.tasks import FileTask, Setup
from leakmatch.pipeline.worker import ANALYSER, READER
from leakmatch.records import Budget, Outcome

COUNT = 12


@pytest.fixture
def archive(tmp_path: Path) -> FileTask:
    """A zip of a dozen pictures without a face."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as target:
        for i in range(COUNT):
            buffer = io.BytesIO()
            Image.linear_gradient("L").rotate(i * 20).convert("RGB").save(buffer, "JPEG")
            target.writestr(f"{i:02}.jpg", buffer.getvalue())
    return FileTask(0, path, Locator.root("source", "a.zip", b"a.zip", 0), path.stat().st_size)


@pytest.fixture
def pack(pack_home: Path) -> Pack:
    return load_pack("opencv-zoo", pack_home)


@pytest.fixture
def pools(pack: Pack, tmp_path: Path) -> Iterator[Callable[..., Pool]]:
    opened: list[Pool] = []

    def make(kind: type[Pool] = Pool, seconds: float = 60.0) -> Pool:
        told = Setup(str(pack.folder), "onnxruntime", Budget(seconds=seconds), False, pack.model_id, 128)
        pool = kind(replace(told, readable=(os.fsencode(tmp_path).hex(),)), 2)
        opened.append(pool)
        return pool

    yield make
    for pool in opened:
        pool.close()


def everything(notes: Notes) -> dict[int, str]:
    assert notes.finished_entries == {0: COUNT + 1}
    assert notes.ended.keys() == set(range(COUNT + 1))
    assert notes.ended.pop(0) == "walked"
    return notes.ended


def test_all_is_looked_at_once(pools: Callable[..., Pool], archive: FileTask) -> None:
    notes = Notes()
    pools().run([archive], notes)
    assert set(everything(notes).values()) == {"no-face"}


def test_analysers_killed_at_any_time_lose_nothing(pools: Callable[..., Pool], archive: FileTask) -> None:
    pool, notes = pools(), Notes()
    kills = [1, 4, 7]

    def kill_one() -> None:
        victim = next((w for w in pool._workers if w.role == ANALYSER and w.pictures), None)
        if victim is not None and kills and len(notes.ended) >= kills[0]:
            kills.pop(0)
            victim.process.kill()

    notes.on_tick = kill_one
    pool.run([archive], notes)
    assert set(everything(notes).values()) == {"no-face"}
    assert len(kills) < 3, "none was killed"


class _Poisoned(Pool):
    """A pool in which one picture kills whatever looks at it."""

    signal = signal.SIGKILL
    met: list[Picture]

    def _dispatch(self) -> None:
        super()._dispatch()
        for worker in self._workers:
            if worker.pictures and worker.pictures[0].entry.locator.name == "05.jpg":
                self.met.append(worker.pictures[0])
                os.kill(worker.process.pid, self.signal)


class _Hanging(_Poisoned):
    signal = signal.SIGSTOP


@pytest.mark.parametrize(("kind", "seconds"), [(_Poisoned, 60.0), (_Hanging, 1.5)])
def test_a_picture_that_kills_or_hangs_two_workers_is_lost_and_told(
    pools: Callable[..., Pool], archive: FileTask, kind: type[_Poisoned], seconds: float
) -> None:
    pool, notes = pools(kind, seconds), Notes()
    kind.met = []
    pool.run([archive], notes)
    ended = everything(notes)
    assert notes.lost_positions == [6]
    assert {o for p, o in ended.items() if p != 6} == {"no-face"}
    assert [code for code, _ in notes.incidents] == ["worker-lost"]
    assert len(set(map(id, kind.met))) == 1


def test_a_reader_killed_once_goes_on_where_it_was(pools: Callable[..., Pool], archive: FileTask) -> None:
    pool, notes = pools(), Notes()
    killed: list[Worker] = []

    def kill_reader() -> None:
        if len(notes.ended) >= 2 and not killed:
            killed.append(pool._reader)
            pool._reader.process.kill()

    notes.on_tick = kill_reader
    pool.run([archive], notes)
    assert killed
    assert set(everything(notes).values()) == {"no-face"}


def test_a_file_that_kills_every_reader_is_given_up_and_the_next_one_is_read(
    pools: Callable[..., Pool], archive: FileTask, tmp_path: Path
) -> None:
    class Cursed(Pool):
        def _take_from_reader(self, message: Message) -> None:
            if message.fields.get("file") == 7:
                message.discard()
                raise ChannelClosed("it died")
            super()._take_from_reader(message)

    other = tmp_path / "b.jpg"
    Image.linear_gradient("L").save(other)
    cursed = FileTask(7, other, Locator.root("source", "b.jpg", b"b.jpg", 1), other.stat().st_size)
    pool, notes = pools(Cursed), Notes()
    pool.run([cursed, archive], notes)
    quarantined = [entry for entry in notes.entries.values() if entry.outcome is Outcome.QUARANTINED]
    assert [entry.locator.name for entry in quarantined] == ["b.jpg"]
    assert notes.finished_entries == {7: 1, 0: COUNT + 1}


def test_a_liar_is_replaced(pools: Callable[..., Pool], archive: FileTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that breaks the protocol is not believed: its frame is dropped and its picture looked at again."""
    pool, notes = pools(), Notes()
    lied: list[Worker] = []

    def begin_to_lie() -> None:
        worker = next((w for w in pool._workers if w.role == ANALYSER and w.pictures), None)
        if worker is not None and not lied:
            lied.append(worker)
            truth = worker.channel.drain
            lie = Message("looked", {"pictures": [{"frame": 0}]}, {})
            monkeypatch.setattr(worker.channel, "drain", lambda: truth() and [lie])

    notes.on_tick = begin_to_lie
    pool.run([archive], notes)
    assert lied
    assert lied[0] not in pool._workers
    assert set(everything(notes).values()) == {"no-face"}


def test_workers_that_cannot_start_say_why(tmp_path: Path, archive: FileTask) -> None:
    pool = Pool(Setup(str(tmp_path), "onnxruntime", Budget(), False, "", 128), 1)
    try:
        with pytest.raises(UsageError, match="pack"):
            pool.run([archive], Notes())
    finally:
        pool.close()


def test_no_worker_outlives_the_pool(pools: Callable[..., Pool], archive: FileTask) -> None:
    pool = pools()
    pool.run([archive], Notes())
    processes = [worker.process for worker in pool._workers]
    roles = [worker.role for worker in pool._workers]
    environment = Path(f"/proc/{processes[0].pid}/environ").read_bytes()
    pool.close()
    assert roles == [READER, ANALYSER, ANALYSER]
    assert all(process.poll() is not None for process in processes)
    assert b"LEAKMATCH" not in environment
