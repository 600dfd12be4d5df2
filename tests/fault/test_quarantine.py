"""Items that hang, kill or blow up the process that works on them: they alone are set aside, whatever lies around them.

The workers here are those of ``cursed_worker.py``: confined as the real ones, with items that do harm by their name.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from sinks import Notes

from leakmatch.faces.packs import Pack, load_pack
from leakmatch.locator import Locator
from leakmatch.pipeline import process
from leakmatch.pipeline.pool import Pool
from leakmatch.pipeline.tasks import FileTask, Ranges, Setup
from leakmatch.records import Budget, Outcome, Stop

HERE = Path(__file__).parent
GOOD = 100


def photo(number: int, comment: str = "") -> bytes:
    buffer = io.BytesIO()
    picture = Image.linear_gradient("L").rotate(number * 3.5).convert("RGB").resize((64, 64))
    picture.save(buffer, "JPEG", comment=comment.encode() or None)
    return buffer.getvalue()


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, content in members.items():
            target.writestr(name, content)
    return buffer.getvalue()


def photos(start: int, end: int) -> dict[str, bytes]:
    return {f"{number:03}.jpg": photo(number) for number in range(start, end)}


def task_of(folder: Path, content: bytes, name: str = "a.zip") -> FileTask:
    path = folder / name
    path.write_bytes(content)
    return FileTask(0, path, Locator.root("source", name, os.fsencode(name), 0), len(content))


@pytest.fixture
def pack(pack_home: Path) -> Pack:
    return load_pack("opencv-zoo", pack_home)


@pytest.fixture
def pools(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Pool]]:
    monkeypatch.setattr(process, "PROGRAM", (str(HERE / "cursed_worker.py"),))
    opened: list[Pool] = []

    def make(seconds: float = 20.0, memory: int = 600 << 20, ahead: int = 128) -> Pool:
        budget = Budget(seconds=seconds, memory=memory)
        setup = Setup(str(pack.folder), "onnxruntime", budget, False, pack.model_id, 128, ahead)
        pool = Pool(replace(setup, readable=(os.fsencode(tmp_path).hex(),)), 2)
        opened.append(pool)
        return pool

    yield make
    for pool in opened:
        pool.close()


@pytest.mark.parametrize(
    ("curse", "seconds", "said"),
    [
        ("hang", 1.5, "2 workers were lost over it: no sign of life for 1.5 seconds"),
        ("segv", 20, "2 workers were lost over it: it was ended by SIGSEGV"),
        ("kill", 20, "4 workers were lost over it: it was ended by SIGKILL"),
        ("grow", 20, "2 workers were lost over it: it grew past 600 MiB of memory"),
    ],
)
def test_one_member_among_a_hundred_photos_costs_only_itself(
    pools: Callable[..., Pool], tmp_path: Path, curse: str, seconds: float, said: str
) -> None:
    members = photos(0, 50) | {f"{curse}!.jpg": photo(999)} | photos(50, GOOD)
    notes = Notes()
    pools(seconds).run([task_of(tmp_path, packed(members))], notes)
    assert notes.finished_entries == {0: GOOD + 2}
    assert len(notes.outcomes("no-face")) == GOOD
    assert notes.outcomes("quarantined") == [f"{curse}!.jpg"]
    assert notes.details[51] == said
    assert ("worker-lost", f"{curse}!.jpg") in notes.incidents
    assert notes.outcomes("walked") == ["a.zip"]
    assert notes.stops == {51: Stop(51, 52, Outcome.QUARANTINED, said)}


def test_what_is_slow_or_large_within_python_ends_alone_and_without_a_new_worker(
    pools: Callable[..., Pool], tmp_path: Path
) -> None:
    members = photos(0, 10) | {"busy!.jpg": photo(1), "python-grow!.jpg": photo(2)} | photos(10, 20)
    pool, notes = pools(3.0), Notes()
    before = [worker.process.pid for worker in pool._workers]
    pool.run([task_of(tmp_path, packed(members))], notes)
    assert [worker.process.pid for worker in pool._workers] == before
    assert notes.outcomes("over-budget") == ["busy!.jpg", "python-grow!.jpg"]
    assert "took more than 3 seconds beyond" in notes.details[11]
    assert "more memory" in notes.details[12]
    assert len(notes.outcomes("no-face")) == 20
    assert set(notes.stops) == {11, 12}, "another walk might get further, and count otherwise"


@pytest.mark.parametrize(("curse", "seconds"), [("hang", 1.5), ("segv", 20), ("grow", 20), ("python-grow", 20)])
def test_a_picture_that_an_analyser_cannot_bear(
    pools: Callable[..., Pool], tmp_path: Path, curse: str, seconds: float
) -> None:
    members = photos(0, 10) | {"bad.jpg": photo(5, f"{curse}!")} | photos(10, 20)
    notes = Notes()
    pools(seconds).run([task_of(tmp_path, packed(members))], notes)
    assert notes.outcomes("quarantined") == ["bad.jpg"]
    assert len(notes.outcomes("no-face")) == 20
    expected = {"hang": "no sign of life", "segv": "SIGSEGV", "grow": "grew past", "python-grow": "more memory"}
    assert expected[curse] in notes.details[11]


def test_two_culprits_and_one_in_an_inner_archive(pools: Callable[..., Pool], tmp_path: Path) -> None:
    inner = packed({"x.jpg": photo(200), "segv!.jpg": photo(201), "y.jpg": photo(202)})
    members = {"segv!-1.jpg": photo(0), **photos(1, 5), "inner.zip": inner, "segv!-2.jpg": photo(6), **photos(7, 9)}
    notes = Notes()
    pools().run([task_of(tmp_path, packed(members))], notes)
    assert notes.outcomes("quarantined") == ["segv!-1.jpg", "segv!.jpg", "segv!-2.jpg"]
    assert notes.outcomes("walked") == ["a.zip", "inner.zip"]
    assert len(notes.outcomes("no-face")) == 8
    assert notes.finished_entries == {0: 1 + len(members) + 3}


@pytest.mark.parametrize("curse", ["segv", "hang"])
def test_a_reader_that_fails_between_members_costs_the_rest_of_that_container(
    pools: Callable[..., Pool], tmp_path: Path, curse: str
) -> None:
    inner = packed(photos(200, 210))
    members = {**photos(0, 3), f"after-4-{curse}!.zip": inner, **photos(3, 6)}
    notes = Notes()
    pools(1.5).run([task_of(tmp_path, packed(members))], notes)
    assert notes.outcomes("quarantined") == [f"after-4-{curse}!.zip"]
    assert notes.outcomes("walked") == ["a.zip"]
    assert len(notes.outcomes("no-face")) == 6 + 4
    assert notes.stops[4].next == 9


def test_a_file_that_is_the_culprit_itself(pools: Callable[..., Pool], tmp_path: Path) -> None:
    cursed = replace(task_of(tmp_path, photo(1), "segv!.jpg"), file=7)
    notes, more = Notes(), task_of(tmp_path, packed(photos(0, 3)))
    pool = pools()
    pool.run([cursed], notes)
    assert (notes.finished_entries, notes.ended) == ({7: 1}, {0: "quarantined"})
    after = Notes()
    pool.run([more], after)
    assert len(after.outcomes("no-face")) == 3


class _Stopped(Exception):
    pass


def test_positions_are_the_same_when_the_scan_is_resumed(pools: Callable[..., Pool], tmp_path: Path) -> None:
    """The parent dies with pictures on their way, also such as lie in a container that cannot be read to its end."""
    inner = packed(photos(200, 210))
    members = {**photos(0, 3), "segv!.jpg": photo(3), "after-4-segv!.zip": inner, **photos(4, 20)}
    task = task_of(tmp_path, packed(members))
    whole = Notes()
    pools().run([task], whole)

    for end in (2, 9):
        first = Notes()

        def stop(first: Notes = first, end: int = end) -> None:
            if len(first.ended) >= end:
                raise _Stopped

        first.on_tick = stop
        pool = pools()
        with pytest.raises(_Stopped):
            pool.run([task], first)
        pool.close()
        again = Notes()
        again.ended, again.details = dict(first.ended), dict(first.details)
        again.entries = {(0, position): first.entries[0, position] for position in first.ended}
        resumed = replace(task, stored=Ranges.of(sorted(first.ended)), stops=tuple(first.stops.values()))
        pools().run([resumed], again)
        assert (again.names, again.ended, again.details) == (whole.names, whole.ended, whole.details)
        assert again.finished_entries == whole.finished_entries


def test_a_reader_that_is_killed_by_somebody_else_is_not_held_against_an_item(
    pools: Callable[..., Pool], tmp_path: Path
) -> None:
    """Three times, and over the same item or not: nothing is lost."""
    pool, notes = pools(ahead=1), Notes()
    kills = [1, 12, 24]

    def kill_reader() -> None:
        if kills and len(notes.ended) >= kills[0] and pool._reader.ready:
            kills.pop(0)
            pool._reader.process.kill()

    notes.on_tick = kill_reader
    pool.run([task_of(tmp_path, packed(photos(0, 60)))], notes)
    assert not kills
    assert len(notes.outcomes("no-face")) == 60


def test_the_board_of_a_liar_is_a_hint_only(pools: Callable[..., Pool], tmp_path: Path) -> None:
    """What a reader shows is not believed where it cannot be: the file is given up, and nothing else."""
    pool, notes = pools(), Notes()
    for worker in pool._workers:
        os.truncate(worker.board, 0)  # which a reader could do as well, at any time
        assert worker.works_on() == (-1, -1, False)
    pool.run([task_of(tmp_path, packed(photos(0, 5)))], notes)
    assert len(notes.outcomes("no-face")) == 5
