#!/usr/bin/env python3
"""Damages archives and pictures in seeded ways, and reads every mutant as a scan does.

    python scripts/fuzz_sources.py FOLDER... [--mutants 20000] [--out DIR] [--processes 2]
    python scripts/fuzz_sources.py FOLDER... --replay SEED

The mutants come from the files below the folders and from archives made here. They go through the worker processes of
a scan; each tenth one has its pictures looked at, too. Of every mutant is checked: no process of the trusted side ends,
its ledger adds up, each item has exactly one outcome, no item takes 30 seconds, no worker takes 1 GiB. Of all together:
nothing was written outside the scratch space, and no file is named after a member. What fails is kept in DIR/failed.
With the same DIR it goes on where it was stopped. The exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from archives import COMPRESS, Zipped, pax, picture, tar_of, zip_of, zipped
from ledgers import MEMORY_LIMIT, SECONDS_LIMIT, Defects, Ledger, Notes, Watch, counted, task_of, workers

from leakmatch.imaging.sniff import HEAD_BYTES, image_format
from leakmatch.pipeline.tasks import FileTask
from leakmatch.records import ItemKind, Outcome
from leakmatch.settings import home as leakmatch_home
from leakmatch.settings import load

SEED_BYTES = 1 << 20  # larger files are not mutated
MUTANT_BYTES = 4 << 20
LOOK_EVERY = 10
TOKEN = "fuzz-escape-3f9c"  # in the names of members that try to become files
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)

Mutate = Callable[[random.Random, bytes, list[bytes]], bytes]


# What is mutated


def made() -> list[tuple[str, bytes]]:
    """Archives of this script's own: every container that the tests make, with names that want to be paths."""
    names = [
        f"../../{TOKEN}".encode(),
        f"/tmp/{TOKEN}".encode(),
        f"a/../../{TOKEN}.jpg".encode(),
        b"C:\\" + TOKEN.encode(),
    ]
    members = [(name, picture(number, 400)) for number, name in enumerate(names)]
    inner = zip_of(members, 8)
    archives = {
        "stored.zip": zip_of(members),
        "deflated.zip": inner,
        "lzma.zip": zip_of(members, 14),
        "zstd.zip": zip_of(members, 93),
        "streamed.zip": zipped([Zipped(name, data, 8, described=True, zip64=True) for name, data in members]),
        "nested.zip": zip_of([(b"in.zip", inner), (b"in.tar.gz", gzip.compress(tar_of(members)))], 8),
        "program.exe": zipped([Zipped(name, data) for name, data in members], b"MZ" + bytes(300)),
        "plain.tar": tar_of(members),
        "pax.tar": pax({"path": b"../" + TOKEN.encode()}) + tar_of(members),
        **{f"packed.tar.{method}": pack(tar_of(members)) for method, pack in COMPRESS.items()},
    }
    return sorted(archives.items())


class Seeds:
    """The files that are mutated: those of the folders up to 1 MiB by name, and those made here."""

    def __init__(self, folders: list[Path]) -> None:
        found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        self._pictures: list[Path] = []
        self._others: list[Path] = []
        for path in found:
            if 0 < path.stat().st_size <= SEED_BYTES:
                with path.open("rb") as file:
                    (self._pictures if image_format(file.read(HEAD_BYTES)) else self._others).append(path)
        self._made = made()

    def take(self, r: random.Random) -> tuple[str, bytes]:
        """Name and bytes of one of them: a picture seldom, one made here now and then, mostly something else."""
        kind = r.random()
        if kind < 0.15 and self._pictures:
            path = r.choice(self._pictures)
        elif kind < 0.25 or not self._others:
            return r.choice(self._made)
        else:
            path = r.choice(self._others)
        return path.name, path.read_bytes()


# How


def _place(r: random.Random, data: bytes) -> int:
    """Anywhere, but headers and directories lie at the ends."""
    where = r.random()
    if where < 0.35:
        return r.randrange(min(len(data), 600) or 1)
    if where < 0.6:
        return max(0, len(data) - 1 - r.randrange(min(len(data), 1200) or 1))
    return r.randrange(len(data) or 1)


def _truncate(r: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[: _place(r, data)]


def _flip(r: random.Random, data: bytes, _: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _each in range(r.choice((1, 1, 2, 8, 32))):
        if changed:
            changed[_place(r, data)] ^= 1 << r.randrange(8)
    return bytes(changed)


def _swap(r: random.Random, data: bytes, _: list[bytes]) -> bytes:
    size = r.choice((16, 64, 512, 4096))
    a, b = sorted((_place(r, data), _place(r, data)))
    if b - a < size:
        return data
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def _field(r: random.Random, data: bytes, _: list[bytes]) -> bytes:
    size = r.choice((1, 2, 4, 8))
    value = (r.choice(_EXTREMES) if r.random() < 0.8 else r.getrandbits(64)) & ((1 << 8 * size) - 1)
    at = _place(r, data)
    return data[:at] + value.to_bytes(size, r.choice(("little", "big"))) + data[at + size :]


def _digits(r: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """Numbers as text: the sizes of tar, cpio and ar."""
    at = _place(r, data)
    text = r.choice((b"77777777777", b"00000000000", b"-1", b"99999999999", b"\x80" + b"\xff" * 11))
    return data[:at] + text + data[at + len(text) :]


def _repeat(r: random.Random, data: bytes, _: list[bytes]) -> bytes:
    size, at = r.choice((8, 30, 512, 2048)), _place(r, data)
    return data[:at] + data[at : at + size] * r.choice((2, 3, 50)) + data[at + size :]


def _remove(r: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = _place(r, data)
    return data[:at] + data[at + r.choice((1, 2, 30, 512)) :]


def _splice(r: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other = r.choice(others)
    how = r.randrange(3)
    if how == 0:
        return data + other
    if how == 1:
        return data[: _place(r, data)] + other[_place(r, other) :]
    at = _place(r, data)
    return data[:at] + other[:2048] + data[at:]


MUTATE: tuple[Mutate, ...] = (_truncate, _flip, _flip, _swap, _field, _field, _digits, _repeat, _remove, _splice)


def mutant(seeds: Seeds, seed: int) -> tuple[str, bytes]:
    """The name and the bytes of a mutant: the same for the same seed and the same files."""
    r = random.Random(seed)
    name, data = seeds.take(r)
    others = [seeds.take(r)[1] for _ in range(2)]
    for _ in range(r.choice((1, 1, 1, 2, 3, 5))):
        data = r.choice(MUTATE)(r, data, others)
    return name, data[:MUTANT_BYTES]


# Reading them


class Round:
    """The mutants of one process: made when the reader is ready for them, removed when they are read."""

    def __init__(self, seeds: Seeds, wanted: Iterator[int], folder: Path, out: Path, part: int) -> None:
        self._seeds, self._wanted, self._folder, self._out = seeds, wanted, folder, out
        self._log = (out / f"part-{part}.jsonl").open("a", encoding="utf-8")
        self.failed = 0
        self.notes = Notes(lambda task: task.file % LOOK_EVERY == 0, self._done)

    def tasks(self) -> Iterator[FileTask]:
        """The files to read."""
        for seed in self._wanted:
            name, data = mutant(self._seeds, seed)
            path = self._folder / f"{seed}-{''.join(c if c.isalnum() or c in '.-' else '_' for c in name)[-80:]}"
            path.write_bytes(data)
            yield self.notes.begin(task_of(seed, path))

    def _done(self, ledger: Ledger) -> None:
        outcomes = Counter(str(outcome) for outcome in ledger.outcomes.values())
        if ledger.longest > SECONDS_LIMIT and Outcome.QUARANTINED not in ledger.outcomes.values():
            ledger.wrong.append(f"{ledger.longest:.0f} s without a word")
        kinds = Counter(str(entry.kind) for entry in ledger.entries.values())
        self.close_mutant(ledger.task, {"outcomes": outcomes, "containers": kinds[ItemKind.CONTAINER]}, ledger.wrong)

    def close_mutant(self, task: FileTask, told: dict[str, Any], wrong: list[str]) -> None:
        """Note what became of it; keep it if anything is wrong."""
        if wrong:
            self.failed += 1
            (self._out / "failed").mkdir(exist_ok=True)
            shutil.copy(task.path, self._out / "failed" / task.path.name)
            print(f"FAILED seed {task.file} ({task.path.name}): {'; '.join(wrong)[:600]}", flush=True)
        task.path.unlink(missing_ok=True)
        self._log.write(json.dumps({"seed": task.file, **told, "wrong": wrong}) + "\n")
        self._log.flush()


def run_part(folders: list[Path], wanted: list[int], out: Path, part: int) -> int:
    """Read these mutants in this process's workers; how many failed."""
    home = Path(tempfile.mkdtemp(prefix=f"part-{part}-", dir=out))
    places = {name: home / name for name in ("mutants", "cwd", "home", "tmp")}
    for place in places.values():
        place.mkdir()
    for name in ("cwd", "home"):
        (places[name] / "marker").write_text("nothing may change here")
    (places["mutants"] / "placeholder").write_text("a source must hold a file")
    settings = replace(load({}), workers=1)
    os.environ.update(LEAKMATCH_HOME=str(leakmatch_home()), TMPDIR=str(places["tmp"]), HOME=str(places["home"]))
    tempfile.tempdir = None
    seeds = Seeds(folders)
    os.chdir(places["cwd"])
    before = _snapshot(places)
    rounds = Round(seeds, iter(wanted), places["mutants"], out, part)
    while _one_run(rounds, places["mutants"], settings):
        pass
    escapes = [*(f"changed: {path}" for path in before ^ _snapshot(places)), *_named_after_members(home)]
    for escape in escapes:
        print(f"ESCAPE {escape}", flush=True)
    if left := [path.name for path in places["tmp"].iterdir()]:
        print(f"LEFT in the folder for temporary files: {left[:10]}", flush=True)
    os.chdir("/")
    shutil.rmtree(home)
    return rounds.failed + len(escapes) + len(left)


def _one_run(rounds: Round, folder: Path, settings: Any) -> bool:
    """Go on until all is read, or until the trusted side fails; whether to go on with new workers."""
    defects = Defects()
    with workers([folder], settings) as executor:
        watch = Watch(executor)
        rounds.notes.waits()

        def tick() -> None:
            if (most := watch.take()) > MEMORY_LIMIT:
                at = rounds.notes.open.get(rounds.notes.current or -1)
                print(f"MEMORY {most >> 20} MiB at seed {rounds.notes.current}", flush=True)
                if at is not None and most > MEMORY_LIMIT * 1.1:
                    at.wrong.append(f"a worker took {most >> 20} MiB")
            for told in defects.take():
                at = rounds.notes.open.get(rounds.notes.current or -1)
                if at is not None:
                    at.wrong.append(f"a defect: {told[-900:]}")

        rounds.notes.tick = tick  # type: ignore[method-assign]
        try:
            executor.run(rounds.tasks(), rounds.notes)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            for ledger in list(rounds.notes.open.values()):
                del rounds.notes.open[ledger.task.file]
                first = ledger.task.file == (rounds.notes.current or ledger.task.file)
                why = [f"the run ended: {type(error).__name__}: {error}"[:300]] if first else []
                rounds.close_mutant(ledger.task, {"outcomes": {}, "containers": 0}, why)
            return True
        finally:
            watch.close()
    return False


def _snapshot(places: dict[str, Path]) -> set[tuple[str, int, int]]:
    """What lies in the places where nothing may change."""
    found = [path for name in ("cwd", "home") for path in sorted(places[name].rglob("*"))]
    states = [(str(path), path.lstat()) for path in [*found, *(places[n] for n in ("cwd", "home"))]]
    return {(path, state.st_size, state.st_mtime_ns) for path, state in states}


def _named_after_members(home: Path) -> Iterator[str]:
    """Files anywhere near that bear the name of a member."""
    near = [home, home.parent, Path("/"), Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.home()]
    for folder in {place.resolve() for place in near if place.is_dir()}:
        deep = folder.rglob("*") if folder == home.resolve() else folder.iterdir()
        yield from (f"a file named after a member: {path}" for path in deep if TOKEN in path.name)


# The whole


def main() -> int:
    """Split the work over processes, add up what they found; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--mutants", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=int, metavar="SEED")
    options = parser.parse_args()
    folders = [folder.absolute() for folder in options.folders]
    if options.replay is not None:
        return replay(folders, options.replay)
    out = (options.out or Path(tempfile.mkdtemp(prefix="fuzz-"))).absolute()
    out.mkdir(parents=True, exist_ok=True)
    done = {row["seed"] for row in _rows(out)}
    wanted = [seed for seed in range(options.first, options.first + options.mutants) if seed not in done]
    if options.part is not None:
        mine = [seed for seed in wanted if seed % options.processes == options.part]
        return 1 if mine and run_part(folders, mine, out, options.part) else 0
    begun = time.monotonic()
    again = [sys.executable, __file__, *map(str, folders), "--mutants", str(options.mutants), "--out", str(out)]
    again += ["--first", str(options.first), "--processes", str(options.processes)]
    parts = [subprocess.Popen([*again, "--part", str(part)]) for part in range(options.processes)]
    codes = [part.wait() for part in parts]
    return summary(out, range(options.first, options.first + options.mutants), codes, time.monotonic() - begun)


def summary(out: Path, seeds: range, codes: list[int], seconds: float) -> int:
    """Print the sums; 1 if anything failed."""
    rows = [row for row in _rows(out) if row["seed"] in seeds]
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes.update(row["outcomes"])
    failed = [row for row in rows if row["wrong"]]
    print(f"{len(rows):,} of {len(seeds):,} mutants read; this run took {seconds:.0f} s")
    print(f"containers: {sum(row['containers'] for row in rows):,}; items: {outcomes.total():,}: {counted(outcomes)}")
    crashed = sum(code not in (0, 1) for code in codes)
    print(f"mutants that failed: {len(failed):,}; processes of the trusted side that ended: {crashed}")
    for row in failed[:20]:
        print(f"  seed {row['seed']}: {'; '.join(row['wrong'])[:300]}")
    return 1 if failed or any(codes) or len(rows) != len(seeds) else 0


def replay(folders: list[Path], seed: int) -> int:
    """Read one mutant, and print every row."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "placeholder").write_text("a source must hold a file")
        ledgers: list[Ledger] = []
        name, data = mutant(Seeds(folders), seed)
        path = home / f"{seed}-{name}"
        path.write_bytes(data)
        defects = Defects()
        notes = Notes(lambda task: True, ledgers.append)
        with workers([home], replace(load({}), workers=1)) as executor:
            executor.run([notes.begin(task_of(seed, path))], notes)
    ledgers[0].wrong += [f"a defect: {told.splitlines()[-1]}" for told in defects.take()]
    print(f"{name}: {len(data):,} bytes")
    for position, entry in sorted(ledgers[0].entries.items()):
        print(f"{position:6} {ledgers[0].outcomes.get(position)} {entry.locator.path} {entry.detail}")
    for wrong in ledgers[0].wrong:
        print(f"WRONG {wrong}")
    return 1 if ledgers[0].wrong else 0


def _rows(out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(out.glob("part-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # the line that a stop cut off


if __name__ == "__main__":
    sys.exit(main())
