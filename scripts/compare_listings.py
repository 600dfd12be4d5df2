#!/usr/bin/env python3
"""Compares the ledger of LeakMatch with what other programs list in the same archives.

    python scripts/compare_listings.py FOLDER... [--each] [--table]

Every file below the folders is read by the workers of a real scan: all in one run, or with ``--each`` one run for each
file, held to 30 seconds and 1 GiB of memory. What ``bsdtar -tv``, ``7zz l -slt`` and Python's ``zipfile`` list in it is
compared with the members that LeakMatch found, name by name, folders aside. A difference that no line of ``KNOWN``
(in known_differences.py) explains is printed as UNEXPLAINED and makes the exit code 1. ``--table`` prints ``KNOWN`` for
docs/hostile_input.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import subprocess
import sys
import time
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from known_differences import KNOWN, Known
from ledgers import MEMORY_LIMIT, SECONDS_LIMIT, Defects, Ledger, Notes, Watch, counted, task_of, workers

from leakmatch.locator import APPENDED
from leakmatch.records import LOOKED_AT, ItemKind, Outcome
from leakmatch.settings import load

SLACK_SECONDS = 5.0  # what the watching itself takes: a worker is ended, another one starts
_TOOL_SECONDS = 20
_TOOL_MEMORY = 2 << 30


@dataclass(frozen=True)
class Listing:
    """What a tool lists: names as bytes, folders aside. ``whole``: it met no error."""

    names: tuple[bytes, ...]
    whole: bool


@dataclass(frozen=True)
class Difference:
    """``kind``: ``missing`` (the tool lists members that LeakMatch has not), ``more`` (the other way round), ``closed``
    (LeakMatch says that it cannot read the container)."""

    file: Path
    tool: str
    kind: str
    theirs: int
    ours: int
    names: tuple[bytes, ...]
    said: str

    def known(self) -> Known | None:
        """The line of the table that explains it."""
        for line in KNOWN:
            if (
                fnmatch.fnmatch(self.file.as_posix(), f"*{line.pattern}")
                and line.tool in ("*", self.tool)
                and line.kind in ("*", self.kind)
                and line.needs in self.said
            ):
                return line
        return None


# What other programs list


def in_bsdtar(path: Path) -> Listing | None:
    """Names from ``-t``, and from ``-tv``, which has the same lines, what is a folder."""
    plain = _run("bsdtar", "-tf", str(path))
    long = _run("bsdtar", "-tvf", str(path))
    if plain is None or long is None or len(plain[0]) != len(long[0]):
        return None
    names = [_unescaped(name) for name, line in zip(plain[0], long[0], strict=True) if not line.startswith(b"d")]
    whole = plain[1]
    return Listing(tuple(names), whole) if names or whole else None


def in_7zz(path: Path) -> Listing | None:
    """Entries of ``l -slt`` that are no folders."""
    done = _run("7zz", "l", "-slt", "-ba", "-sccUTF-8", "-pnone", "--", str(path))
    if done is None:
        return None
    names: list[bytes] = []
    entry: dict[bytes, bytes] = {}
    for line in [*done[0], b""]:
        key, _, value = line.partition(b" = ")
        if line and not (key == b"Path" and entry):
            entry[key.strip()] = value
            continue
        folder = entry.get(b"Folder") == b"+" or b"D" in entry.get(b"Attributes", b"").split(b" ")[0]
        if entry and not folder:
            names.append(entry.get(b"Path", b""))  # the only member of a stream may have none
        entry = {key.strip(): value} if line else {}
    return Listing(tuple(names), done[1]) if names or done[1] else None


def in_zipfile(path: Path) -> Listing | None:
    """The central directory as Python reads it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(path) as archive:
                found = [info for info in archive.infolist() if not info.orig_filename.endswith("/")]
    except Exception:  # noqa: BLE001 - not a zip, or none that it reads
        return None
    names = (i.orig_filename.encode("utf-8" if i.flag_bits & 0x800 else "cp437", "surrogateescape") for i in found)
    return Listing(tuple(names), True)


TOOLS: dict[str, Callable[[Path], Listing | None]] = {"bsdtar": in_bsdtar, "7zz": in_7zz, "zipfile": in_zipfile}


def _run(*command: str) -> tuple[list[bytes], bool] | None:
    limited = ["prlimit", f"--as={_TOOL_MEMORY}", f"--cpu={_TOOL_SECONDS}", "--", *command]
    try:
        done = subprocess.run(
            limited, capture_output=True, stdin=subprocess.DEVNULL, timeout=2 * _TOOL_SECONDS, check=False,
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.split(b"\n")[:-1], done.returncode == 0


def _unescaped(name: bytes) -> bytes:
    """What ``bsdtar -t`` writes of a name: octal and letter escapes."""
    letters = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"\\": b"\\"}

    def plain(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return letters[code] if code in letters else bytes([int(code, 8) & 0xFF])

    return re.sub(rb"\\([0-7]{3}|[nrtabfv\\])", plain, name)


# Comparing


class Listings:
    """What the tools list, kept in a file between runs: their answers do not change, and some of them take long."""

    def __init__(self, kept: Path | None) -> None:
        self._kept = kept
        self._known: dict[str, Any] = json.loads(kept.read_text()) if kept and kept.exists() else {}

    def of(self, path: Path, tool: str) -> Listing | None:
        """What ``tool`` lists in the file."""
        status = path.stat()
        key = f"{tool} {status.st_size} {status.st_mtime_ns} {path}"
        if key not in self._known:
            listing = TOOLS[tool](path)
            self._known[key] = listing and [[name.hex() for name in listing.names], listing.whole]
        names, whole = self._known[key] or (None, False)
        return None if names is None else Listing(tuple(map(bytes.fromhex, names)), whole)

    def close(self) -> None:
        """Keep them."""
        if self._kept:
            self._kept.write_text(json.dumps(self._known))


def differences(ledger: Ledger, path: Path, listings: Listings) -> Iterator[Difference | str]:
    """For every tool: how its listing differs, or the tool's name where it lists the same."""
    for tool, listing in ((name, listings.of(path, name)) for name in TOOLS):
        if listing is None or (not listing.names and not _containers(ledger)):
            continue
        yield _compared(ledger, path, tool, listing) or tool


def _containers(ledger: Ledger) -> dict[str, list[bytes]]:
    """The names of the members of every container in the file, by its locator."""
    inside: dict[str, list[bytes]] = defaultdict(list)
    for entry in ledger.entries.values():
        if entry.kind is ItemKind.CONTAINER:
            inside[entry.locator.to_json()] += []
        behind = entry.locator.kind == APPENDED and entry.locator.raw.startswith(
            b"data at "
        )  # which others do not list
        if entry.locator.parent is not None and not behind:
            inside[entry.locator.parent.to_json()].append(entry.locator.raw)
    return inside


def _compared(ledger: Ledger, path: Path, tool: str, listing: Listing) -> Difference | None:
    theirs = Counter(map(_comparable, listing.names))
    best: tuple[int, Counter[bytes], Counter[bytes]] | None = None
    for names in _containers(ledger).values():
        ours = Counter(map(_comparable, names))
        missing, more = theirs - ours, ours - theirs
        for_others = min(sum(n for m, n in c.items() if b"?" in m or not m) for c in (missing, more))
        if len(listing.names) == len(names) and missing.total() <= max(1, for_others):
            missing, more = Counter(), Counter()  # names written in another way
        distance = missing.total() + (more.total() if listing.whole else 0)
        if best is None or distance < best[0]:
            best = distance, missing, more
    failed = [entry for entry in ledger.entries.values() if entry.outcome and entry.outcome not in LOOKED_AT]
    said = "; ".join([ledger.entries[0].detail, *sorted({f"{e.outcome}: {e.detail}"[:160] for e in failed})])
    ours_count = len(ledger.entries) - 1
    if best is None:
        names = tuple(theirs)[:3]
        return Difference(path, tool, "closed", theirs.total(), ours_count, names, said) if theirs else None
    _, missing, more = best
    if missing:
        kind = "closed" if ledger.entries[0].outcome not in LOOKED_AT and ours_count == 0 else "missing"
        return Difference(path, tool, kind, theirs.total(), ours_count, tuple(missing)[:3], said)
    if more and listing.whole:
        return Difference(path, tool, "more", theirs.total(), ours_count, tuple(more)[:3], said)
    return None


def _comparable(name: bytes) -> bytes:
    """Names without what each program writes in its own way."""
    name = name.replace(b"\\", b"/").strip(b"/")
    while name.startswith(b"./"):
        name = name[2:]
    return re.sub(rb"[^\w./ -]|_", b"?", name)


# The run


def main() -> int:
    """Read, compare, tell. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--each", action="store_true", help="one run for each file, with its time and memory")
    parser.add_argument("--table", action="store_true", help="print the named limits as a table, and end")
    parser.add_argument("--passwords", type=Path)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep what the other programs listed, for later runs")
    options = parser.parse_args()
    if options.table:
        print(table())
        return 0
    files = sorted(path for folder in options.folders for path in _below(folder) if path.is_file())
    settings = load({"passwords": options.passwords and str(options.passwords.absolute())})
    ledgers, troubles = read_all(files, options.folders, replace(settings, workers=2), each=options.each)
    listings = Listings(options.keep)
    read = [path for path in files if path in ledgers]
    found = [(path, result) for path in read for result in differences(ledgers[path], path, listings)]
    listings.close()
    return tell(files, ledgers, troubles, found)


def _below(folder: Path) -> Iterator[Path]:
    return folder.rglob("*") if folder.is_dir() else iter([folder])


def read_all(files: list[Path], sources: list[Path], settings, *, each: bool) -> tuple[dict[Path, Ledger], list[str]]:  # type: ignore[no-untyped-def]
    """Every file through the workers; what went wrong in words."""
    ledgers: dict[Path, Ledger] = {}
    troubles: list[str] = []
    defects = Defects()

    def done(ledger: Ledger) -> None:
        path = ledger.task.path
        ledgers[path] = ledger
        troubles.extend(f"{path}: {wrong}" for wrong in ledger.wrong)
        tries = 2 if Outcome.QUARANTINED in ledger.outcomes.values() else 1
        if ledger.longest > SECONDS_LIMIT * tries + SLACK_SECONDS:
            troubles.append(f"{path}: {ledger.longest:.0f} s without a word")

    notes = Notes(lambda task: True, done)
    tasks = [task_of(number, path) for number, path in enumerate(files)]
    begun = time.monotonic()
    with workers(sources, settings) as executor:
        watch = Watch(executor)
        for group in [[task] for task in tasks] if each else [tasks]:
            notes.waits()
            at = time.monotonic()
            executor.run(map(notes.begin, group), notes)
            where = str(group[0].path) if each else "all files"
            longest = SECONDS_LIMIT + SLACK_SECONDS
            if each and time.monotonic() - at > longest and ledgers[group[0].path].longest <= longest:
                print(f"{where}: {time.monotonic() - at:.0f} s in all, none of its items more than {longest:.0f} s")
            if (most := watch.take()) > MEMORY_LIMIT:
                troubles.append(f"{where}: a worker took {most >> 20:,} MiB")
            elif not each:
                print(f"most memory of a worker: {most >> 20:,} MiB")
            told = Counter(told.splitlines()[-1] for told in defects.take())
            troubles.extend(f"{where}: a defect, {number} times: {what}" for what, number in told.items())
        watch.close()
    print(f"{len(files):,} files read in {time.monotonic() - begun:.0f} s{', each alone' if each else ''}")
    return ledgers, troubles


def tell(
    files: list[Path], ledgers: dict[Path, Ledger], troubles: list[str], found: list[tuple[Path, Difference | str]]
) -> int:
    """Print it all; the exit code."""
    outcomes = Counter(str(outcome) for ledger in ledgers.values() for outcome in ledger.outcomes.values())
    print(f"items: {outcomes.total():,}: {counted(outcomes)}")
    same = Counter(result for _, result in found if isinstance(result, str))
    differing = [result for _, result in found if isinstance(result, Difference)]
    explained = [(d, known) for d in differing if (known := d.known())]
    for tool in TOOLS:
        theirs = [d for d in differing if d.tool == tool]
        reasons = sum(d.known() is not None for d in theirs)
        print(f"{tool}: {same[tool]:,} files listed alike, {len(theirs):,} differ, {reasons:,} of them explained")
    for line, number in Counter(known for _, known in explained).most_common():
        print(f"explained {number:4}: {line.pattern} ({line.tool}, {line.kind}): {line.reason}")
    unexplained = [d for d in differing if d.known() is None]
    for d in unexplained:
        print(f"UNEXPLAINED {d.kind}: {d.file} {d.tool}: {d.theirs} there, {d.ours} here; {list(d.names)}; {d.said}")
    missed = [path for path in files if path not in ledgers]
    for path in missed:
        print(f"WRONG {path}: no ledger")
    for trouble in troubles:
        print(f"WRONG {trouble}")
    return 1 if unexplained or troubles or missed else 0


def table() -> str:
    """The named limits in Markdown."""
    rows = [f"| `{k.pattern}` | {k.tool} | {k.kind} | {k.reason} |" for k in KNOWN]
    return "\n".join(["| files | program | difference | reason |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    sys.exit(main())
