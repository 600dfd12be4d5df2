"""Whatever is done to a sealed file, in whatever order: it holds what a dictionary would."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sealed_files import PAGE_BYTES, key_in, sealed_file

from leakmatch.sealed.file import SealedFile

PAGES = st.integers(0, 12)
CONTENTS = st.builds(lambda byte: bytes([byte]) * PAGE_BYTES, st.integers(0, 255))
ENTRIES = st.lists(st.binary(max_size=40), max_size=3)


class Model(RuleBasedStateMachine):
    """``pages`` and ``entries`` as committed; ``dirty`` and ``count`` as they would be."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "file"
        self.keys = key_in(self.folder)
        self.file = sealed_file(self.path, self.keys)
        self.pages: dict[int, bytes] = {}
        self.dirty: dict[int, bytes] = {}
        self.committed_count = self.count = 0
        self.entries: list[bytes] = []
        self.number = 0

    def teardown(self) -> None:
        self.file.close()
        shutil.rmtree(self.folder)

    @rule(page=PAGES, content=CONTENTS)
    def write(self, page: int, content: bytes) -> None:
        self.file.write(page, content)
        self.dirty[page] = content
        self.count = max(self.count, page + 1)

    @rule(count=PAGES)
    def drop_and_commit(self, count: int) -> None:
        """SQLite drops pages just before a commit, and never writes behind what is left."""
        count = min(count, self.count)
        self.file.resize(count)
        self.count = count
        self.commit([])

    @rule(entries=ENTRIES)
    def commit(self, entries: list[bytes]) -> None:
        self.file.commit(entries)
        self.pages = {page: content for page, content in self.dirty.items() if page < self.count}
        self.dirty = dict(self.pages)
        self.committed_count = self.count
        self.entries += entries

    @rule()
    def rollback(self) -> None:
        self.file.rollback()
        self.dirty, self.count = dict(self.pages), self.committed_count

    @rule()
    def reopen(self) -> None:
        self.file.close()
        self.file = SealedFile.open(self.path, self.keys)
        assert not self.file.recovered
        self.dirty, self.count = dict(self.pages), self.committed_count

    @rule(entries=ENTRIES)
    def another_appends(self, entries: list[bytes]) -> None:
        self.rollback()
        with SealedFile.open(self.path, self.keys) as other:
            other.commit(entries)
        self.entries += entries
        self.commit([b"caught up"])

    @rule()
    def change_keys(self) -> None:
        self.rollback()
        slots = self.file.slots
        self.number += 1
        slots = slots.added(key_in(self.folder, f"key {self.number}").secret("x"), self.file.master).without(0)
        self.file.set_slots(slots)
        self.keys = key_in(self.folder, f"key {self.number}")

    @rule()
    def compact(self) -> None:
        self.rollback()
        new = self.file.successor(self.folder / "new")
        for page in range(self.file.pages):
            if content := self.file.read(page):
                new.write(page, content)
        new.resize(self.file.pages)
        new.commit(list(self.file.entries()))
        new.close()
        (self.folder / "new").replace(self.path)
        self.file.forget_keys()
        self.file.close()
        self.file = SealedFile.open(self.path, self.keys)

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        assert self.file.pages == self.count
        for page in range(self.count):
            assert self.file.read(page) == self.dirty.get(page, b""), page
        assert list(self.file.entries()) == self.entries


Model.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestSealedFile = Model.TestCase
