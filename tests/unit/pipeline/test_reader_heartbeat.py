"""The reader's sign of life: how far it is in the file, a few times a second, also while nothing is found."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from archives import picture, zip_of

from leakmatch.locator import SOURCE, Locator
from leakmatch.pipeline import worker
from leakmatch.pipeline.channel import Message
from leakmatch.pipeline.tasks import Setup
from leakmatch.records import Budget

SETUP = Setup("", "", Budget(), False, "", 128, scratch=b"/nowhere".hex())


def board():
    return worker.Board(os.memfd_create("board"))


class Sent:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict]] = []
        self.taken = 0

    def send(self, kind, fields, arrays=None, descriptor=None):
        self.messages.append((kind, fields))

    def drain(self):
        """Each picture is done as soon as it was sent."""
        done = [kind for kind, fields in self.messages if fields.get("outcome", "") is None][self.taken :]
        self.taken += len(done)
        return [Message("released", {"items": 1, "bytes": 0}) for _ in done]

    def receive(self):
        return Message("released", {"items": 1, "bytes": 0})


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(worker.time, "monotonic", lambda: clock.now)
    return clock


def test_at_most_a_few_times_a_second(clock):
    sent = Sent()
    reader = worker.Reader(sent, SETUP, board())
    tell = reader._heartbeat(3)
    for step in range(1000):
        clock.now = step / 100
        tell(step)
    assert [kind for kind, _ in sent.messages] == ["reading"] * 40
    assert sent.messages[0][1] == {"file": 3, "position": 0}
    assert sent.messages[-1][1] == {"file": 3, "position": 975}


def test_a_walk_tells_it(tmp_path, clock, monkeypatch):
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of([(b"%d.jpg" % n, picture(n, 50_000)) for n in range(20)], 8))
    sent = Sent()
    reader = worker.Reader(sent, SETUP, board())
    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.0)
    root = Locator.root(SOURCE, "a.zip", b"a.zip", 0).to_json()
    reader._walk(
        Message(
            "walk",
            {"file": 7, "path": bytes(path).hex(), "root": root, "stored": [[], []], "stops": [], "carriers": []},
        )
    )
    kinds = [kind for kind, _ in sent.messages]
    assert kinds.count("entry") == 21
    assert kinds[-1] == "walked"
    positions = [fields["position"] for kind, fields in sent.messages if kind == "reading"]
    assert len(positions) > 20
    assert max(positions) == path.stat().st_size
    assert all(fields["file"] == 7 for _, fields in sent.messages)


def test_what_the_parent_says_is_taken_at_every_picture(tmp_path):
    """Else it would fill the socket where pictures are few, and both sides would wait for each other to read."""
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of([(b"%d.jpg" % n, picture(n)) for n in range(20)]))
    sent = Sent()
    reader = worker.Reader(sent, SETUP, board())
    root = Locator.root(SOURCE, "a.zip", b"a.zip", 0).to_json()
    reader._walk(
        Message(
            "walk",
            {"file": 0, "path": bytes(path).hex(), "root": root, "stored": [[], []], "stops": [], "carriers": []},
        )
    )
    assert sent.taken == 19
    assert reader._waiting_items == 1
