"""Fails a scan's disk at every write, and cuts its power at every sync; the case must end the same.

    python scripts/crash_disk.py [--every 1] [--pictures 6] [--kinds KIND ...] [--photos DIR] [--seed 1] [--keep]

One scan of a small set is repeated with a fault at the n-th call that changes the case, for every n (or each so many):

    killed      the process dies before the call
    full, full-on, failing, failing-on
                the call fails with ENOSPC or EIO, once, or it and all after it: exit code 5, one sentence
    power-all   the process dies at a sync, and all that was not synced is lost
    power-some  the same, and a random part is lost: writes, parts of writes, and names made or removed

Then the same command goes on, and every exported row must be that of the uninterrupted case. An enrolment into a
gallery that exists is treated the same way: it ends in the old gallery or the new one.
Needs a C compiler (cc); without one it says so and ends with 77.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from crash_kit import Kit, differences, exported, left_beside, make_kit
from crash_loop import arguments, conclude, sample_photos

NO_COMPILER = 77
STORAGE = 5
DIED = -signal.SIGKILL
_ENOSPC, _EIO = 28, 5
_COUNT, _FAIL_ONCE, _FAIL_ON, _DIE = range(4)
_ANY_CHANGE, _SYNCS = range(2)
_NOTHING, _ALL, _SOME = range(3)
_COUNTED = "\ncalls counted: "
_OPTIONS = ("--no-isolation", "--engine", "onnxruntime", "-q")
_COMMIT_ITEMS = 12  # so that a small scan has several commits


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th call."""

    mode: int
    what: int = _ANY_CHANGE
    error: int = 0
    lose: int = _NOTHING


KINDS = {
    "killed": Fault(_DIE),
    "full": Fault(_FAIL_ONCE, error=_ENOSPC),
    "full-on": Fault(_FAIL_ON, error=_ENOSPC),
    "failing": Fault(_FAIL_ONCE, error=_EIO),
    "failing-on": Fault(_FAIL_ON, error=_EIO),
    "power-all": Fault(_DIE, _SYNCS, lose=_ALL),
    "power-some": Fault(_DIE, _SYNCS, lose=_SOME),
}


@dataclass
class Figures:
    """What came of it, by kind: faults injected; how the commands ended."""

    calls: int = 0
    syncs: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    endings: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Disk:
    """The preloaded library in this process. What is done runs in a fork of it, with everything imported already."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.failing_disk_counted.restype = ctypes.c_long
        self._folder = folder
        self._kept = folder.parent / "kept"
        self._kept.mkdir()
        self.said = ""

    def run(self, done: Callable[[], int], store: Path, fault: Fault, at: int, seed: int = 0) -> tuple[int, int]:
        """Do something, with the fault at call ``at`` on files of ``store``; its exit code, and calls counted."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            code = 1
            try:
                code = self._child(done, store, fault, at, seed, write)
            finally:
                os._exit(code)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read().decode("utf-8", "replace")
        _, status = os.waitpid(pid, 0)
        self.said, _, counted = said.partition(_COUNTED)
        return os.waitstatus_to_exitcode(status), int(counted or 0)

    def _child(self, done: Callable[[], int], store: Path, fault: Fault, at: int, seed: int, write: int) -> int:
        os.dup2(write, 2)
        where = [os.fsencode(path) for path in (store.parent, store.name, self._kept)]
        how = (fault.mode, fault.what, ctypes.c_long(at), fault.error, fault.lose, ctypes.c_uint(seed))
        self._library.failing_disk(*where, *how)
        code = done()
        sys.stderr.flush()
        counted = self._library.failing_disk_counted()
        self._library.failing_disk(*where, -1, 0, ctypes.c_long(0), 0, 0, ctypes.c_uint(0))
        os.write(2, f"{_COUNTED}{counted}".encode())
        return code


def command(arguments: list[str]) -> Callable[[], int]:
    """``leakmatch`` with these arguments, in this process; its exit code."""

    def run_() -> int:
        from leakmatch.cli.app import run
        from leakmatch.pipeline import scan_sink

        scan_sink.COMMIT_ITEMS = _COMMIT_ITEMS  # type: ignore[misc]
        return run(arguments)

    return run_


class Trial:
    """One command with faults at every call. ``expected``: how it ends without one; ``same``: what is wrong after."""

    def __init__(
        self, disk: Disk, figures: Figures, name: str, expected: int, command: Callable[[Path], list[str]]
    ) -> None:
        self._disk, self._figures, self._name = disk, figures, name
        self._expected, self._command = expected, command

    def counted(self, store: Path, what: int) -> int:
        """How many calls an undisturbed run makes."""
        code, counted = self._disk.run(command(self._command(store)), store, Fault(_COUNT, what), 0)
        if code != self._expected:
            raise SystemExit(f"{self._name} ended with {code} without any fault: {self._disk.said}")
        return counted

    def inject(self, store: Path, kind: str, at: int) -> bool:
        """One fault, told of in the figures; whether it came (the run may have ended before)."""
        fault = KINDS[kind]
        code, counted = self._disk.run(command(self._command(store)), store, fault, at, seed=at)
        if fault.mode != _DIE and counted < at:
            return False
        if fault.mode == _DIE and code == self._expected:
            return False
        endings = self._figures.endings.setdefault(kind, {})
        endings[str(code)] = endings.get(str(code), 0) + 1
        self._figures.faults[kind] = self._figures.faults.get(kind, 0) + 1
        fine = {DIED} if fault.mode == _DIE else {STORAGE, self._expected}
        if code not in fine:
            self.wrong(kind, at, f"ended with {code}: {self._disk.said[-300:]}")
        if code == STORAGE and self._disk.said.count("leakmatch: /") != 1:
            self.wrong(kind, at, f"said: {self._disk.said[-300:]}")
        return True

    def go_on(self, store: Path, kind: str, at: int) -> None:
        """The same command, undisturbed."""
        code, _ = self._disk.run(command(self._command(store)), store, Fault(_COUNT), 0)
        if code != self._expected:
            self.wrong(kind, at, f"the same command then ended with {code}: {self._disk.said[-300:]}")

    def wrong(self, kind: str, at: int, words: str) -> None:
        """Note what must not be."""
        self._figures.failures.append(f"{self._name}, {kind} at {at}: {words}")


def scans(disk: Disk, kit: Kit, kinds: list[str], every: int, seed: int, figures: Figures) -> None:
    """Faults at every call of a scan."""
    trial = Trial(disk, figures, "scan", 3, kit.scan)
    folder = kit.folder / "cases"
    folder.mkdir()
    figures.calls = trial.counted(folder / "whole.case", _ANY_CHANGE)
    figures.syncs = trial.counted(folder / "again.case", _SYNCS)
    truth = exported(folder / "whole.case")
    for kind in kinds:
        for at in points(KINDS[kind], figures.calls, figures.syncs, every, seed):
            case = folder / f"{kind}-{at}.case"
            if not trial.inject(case, kind, at):
                break
            trial.go_on(case, kind, at)
            wrong = [*differences(truth, exported(case)), *(f"left beside: {name}" for name in left_beside(case))]
            for words in wrong:
                trial.wrong(kind, at, words)
            if not wrong:
                case.unlink()
        print(f"scan: {kind}: {figures.faults.get(kind, 0)} faults, {len(figures.failures)} failures", flush=True)


def enrolments(disk: Disk, kit: Kit, kinds: list[str], every: int, seed: int, figures: Figures) -> None:
    """Faults at every call of an enrolment into a gallery that is there, and of one that makes it."""
    from leakmatch.gallery.store import Gallery
    from leakmatch.sealed.keys import Keys

    def subjects(path: Path) -> list[tuple[object, ...]]:
        with Gallery.open(path, keys=Keys(key_file=kit.key)) as gallery:
            gallery.verify()
            return list(gallery._database.select("SELECT subject_id, sha256 FROM photos ORDER BY 1, 2"))

    folder = kit.folder / "galleries"
    folder.mkdir()
    for name, old in (("add", kit.gallery), ("create", None)):
        people = "more" if old else "people"
        trial = Trial(disk, figures, f"enroll ({name})", 0, lambda path, people=people: kit.enroll(path, people))  # type: ignore[misc]

        def begin(path: Path, old: Path | None = old) -> Path:
            if old:
                path.write_bytes(old.read_bytes())
            return path

        calls = trial.counted(begin(folder / f"{name}-whole.gallery"), _ANY_CHANGE)
        syncs = trial.counted(begin(folder / f"{name}-again.gallery"), _SYNCS)
        before, after = subjects(old) if old else None, subjects(folder / f"{name}-whole.gallery")
        for kind in kinds:
            for at in points(KINDS[kind], calls, syncs, every, seed):
                path = begin(folder / f"{name}-{kind}-{at}.gallery")
                if not trial.inject(path, kind, at):
                    break
                if path.exists() or old:
                    found = subjects(path)
                    if found not in (before, after, []):
                        trial.wrong(kind, at, f"neither the old gallery nor the new one: {found}")
                trial.go_on(path, kind, at)
                if subjects(path) != after:
                    trial.wrong(kind, at, "the same command then made another gallery")
                path.unlink()
        print(f"enroll ({name}): {calls} calls, {len(figures.failures)} failures", flush=True)


def points(fault: Fault, calls: int, syncs: int, every: int, seed: int) -> Iterator[int]:
    """Every call, or one of each ``every`` in a row."""
    last = syncs if fault.what == _SYNCS else calls
    chance = random.Random(seed)
    for first in range(1, last + 1, every):
        yield min(first + chance.randrange(every), last)


def _import_all() -> None:
    """What a command imports, once for all the forks that run one."""

    import leakmatch.cli.app
    import leakmatch.cli.enroll_cmd
    import leakmatch.cli.scan_cmd
    import leakmatch.faces.session
    import leakmatch.pipeline.enrol
    import leakmatch.pipeline.inline
    import leakmatch.pipeline.scan  # noqa: F401


def _compiled(folder: Path) -> Path | None:
    library = folder / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl", "-lpthread"]
    try:
        subprocess.run(command, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return library


def preloaded() -> Path | None:
    """The library, in this process: it starts itself again with it. ``None``, and a word, where it cannot be made."""
    library = os.environ.pop("LD_PRELOAD", "")
    if library.endswith("failing_disk.so"):
        return Path(library)
    compiled = _compiled(Path(tempfile.mkdtemp(prefix="crash-disk-")))
    if compiled is None:
        print("There is no C compiler (cc) here; nothing was tested.")
        return None
    return os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "LD_PRELOAD": str(compiled)})


def main() -> int:
    """Run it; 0 where nothing was lost."""
    parser = arguments(__doc__)
    parser.add_argument("--every", type=int, default=1, help="one call of each so many in a row")
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--only", choices=("scan", "enroll"))
    options = parser.parse_args()
    library = preloaded()
    if library is None:
        return NO_COMPILER
    folder = library.parent
    began = time.monotonic()
    kit = make_kit(folder / "set", sample_photos(options.photos, folder), options.pictures, _OPTIONS)
    _import_all()
    disk, figures = Disk(library, kit.folder), Figures()
    if options.only != "enroll":
        scans(disk, kit, options.kinds, options.every, options.seed, figures)
    if options.only != "scan":
        enrolments(disk, kit, options.kinds, options.every, options.seed, figures)
    told: dict[str, object] = asdict(figures) | {"seconds": round(time.monotonic() - began)}
    return conclude(options, folder, told, figures.failures)


if __name__ == "__main__":
    sys.exit(main())
