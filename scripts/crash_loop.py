"""Kills scans at random times, and checks that they end in the same case as one that was left alone.

    python scripts/crash_loop.py [--kills 200] [--seed 1] [--pictures 60] [--workers 2] [--photos DIR] [--keep]

Each scan is killed with SIGKILL again and again, the process alone, one of its workers, or all of them at once, and
started anew by the same command, until one run comes to its end. Then every exported row must be that of the
uninterrupted case, and `leakmatch verify` must say so. The model pack must be installed (LEAKMATCH_HOME).
How long a start takes, up to the line that a scan writes before it reads on, is measured on the way.

scripts/crash_disk.py does the same with failing disks and power cuts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from crash_kit import Kit, differences, exported, leakmatch, left_beside, make_kit

_INCOMPLETE = 3  # the set has damaged pictures in it
_WHILE_READING = 0.7  # of the kills; the others come at any time after the start
_PARENT, _WORKER, _ALL = "parent", "worker", "all"


@dataclass
class Figures:
    """What came of it."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys((_PARENT, _WORKER, _ALL), 0))
    scans: int = 0
    alone: float = 0.0  #: seconds of the uninterrupted scan
    reading: float = 0.0  #: of these after it was about to read
    starts: list[float] = field(default_factory=list)  #: seconds from the start of a resumed scan to its first line
    failures: list[str] = field(default_factory=list)


class Scan:
    """One run of the command. ``ready``: seconds until it was about to read."""

    def __init__(self, kit: Kit, case: Path) -> None:
        self.began = time.monotonic()
        self.ready: float | None = None
        self.said: list[str] = []
        self.process = subprocess.Popen(
            leakmatch(*kit.scan(case)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("Planned:"):
                self.ready = time.monotonic() - self.began
            self.said.append(line)

    def runs_for(self, seconds: float) -> bool:
        """Wait so long; whether it still runs."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def runs_until(self, seconds: float, *, reading: bool) -> bool:
        """Wait so long, ``reading``: from when it was about to read; whether it still runs."""
        while reading and self.ready is None and self.runs_for(0.02):
            pass
        return self.runs_for(seconds)

    def kill(self, target: str, chance: random.Random) -> bool:
        """Kill the process, a worker, or all; whether there was one."""
        workers = _below(self.process.pid)
        if target == _WORKER:
            return bool(workers) and _kill(chance.choice(workers))
        self.process.kill()
        if target == _ALL:
            for worker in workers:
                _kill(worker)
        return True

    def end(self) -> int:
        """Wait for its end."""
        code = self.process.wait()
        self._listener.join()
        return code


def _below(pid: int) -> list[int]:
    """Every process below this one."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return found + [deeper for child in found for deeper in _below(child)]


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def crash_loop(kit: Kit, kills: int, chance: random.Random) -> Figures:
    """Kill scans until ``kills`` have hit one that ran."""
    figures = Figures()
    whole = kit.folder / "whole.case"
    began = time.monotonic()
    alone = Scan(kit, whole)
    if alone.end() != _INCOMPLETE:
        raise SystemExit(f"the scan that was left alone failed: {''.join(alone.said)}")
    figures.alone = time.monotonic() - began
    figures.reading = figures.alone - (alone.ready or 0)
    truth = exported(whole)
    while sum(figures.kills.values()) < kills:
        case = kit.folder / f"{figures.scans:04}.case"
        _killed_until_done(kit, case, figures, kills, chance)
        figures.scans += 1
        wrong = list(differences(truth, exported(case))) + [f"left beside: {name}" for name in left_beside(case)]
        if subprocess.run(leakmatch("verify", case), check=False, capture_output=True).returncode != _INCOMPLETE:
            wrong.append("leakmatch verify refused it")
        figures.failures += [f"{case.name}: {words}" for words in wrong]
        if not wrong:
            case.unlink()
        told = ", ".join(f"{number} {target}" for target, number in figures.kills.items())
        print(f"scan {figures.scans}: kills so far: {told}; {len(figures.failures)} differences", flush=True)
    return figures


def _killed_until_done(kit: Kit, case: Path, figures: Figures, kills: int, chance: random.Random) -> None:
    resumed = False
    while True:
        scan = Scan(kit, case)
        targets = chance.choice(([_PARENT], [_ALL], [_WORKER], [_WORKER, _PARENT]))
        for target in targets:
            reading = chance.random() < _WHILE_READING
            seconds = chance.uniform(0, figures.reading if reading else figures.alone)
            if sum(figures.kills.values()) < kills and scan.runs_until(seconds, reading=reading):
                figures.kills[target] += scan.kill(target, chance)
        code = scan.end()
        if resumed and scan.ready is not None:
            figures.starts.append(round(scan.ready, 2))
        resumed = resumed or case.exists()
        if code == _INCOMPLETE:
            return
        if code != -signal.SIGKILL:
            figures.failures.append(f"{case.name}: ended with {code}: {''.join(scan.said)[-500:]}")
            return


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that both scripts have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--photos", type=Path, help="the sample photos of the demo; fetched where not given")
    parser.add_argument("--keep", action="store_true", help="leave the files for a look at them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def sample_photos(given: Path | None, folder: Path) -> Path:
    """The sample photos of the demo."""
    if given is not None:
        return given
    from leakmatch.assets import fetch_all, load_assets
    from leakmatch.cli.demo_cmd import SAMPLES

    fetch_all(load_assets(SAMPLES), folder / "samples")
    return folder / "samples"


def conclude(options: argparse.Namespace, folder: Path, figures: dict[str, object], failures: list[str]) -> int:
    """Print the figures, tidy up, and give the exit code."""
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if options.keep or failures:
        print(f"the files are in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failures else 0


def main() -> int:
    """Run it; 0 where every case is the same."""
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="crash-loop-"))
    workers = ("--workers", str(options.workers), "--engine", "onnxruntime")
    kit = make_kit(folder / "set", sample_photos(options.photos, folder), options.pictures, workers)
    figures = crash_loop(kit, options.kills, random.Random(options.seed))
    starts = sorted(figures.starts)
    told: dict[str, object] = asdict(figures) | {
        "alone": round(figures.alone, 2),
        "reading": round(figures.reading, 2),
        "starts": {"number": len(starts), "median": starts[len(starts) // 2], "slowest": starts[-1]} if starts else {},
    }
    return conclude(options, folder, told, figures.failures)


if __name__ == "__main__":
    sys.exit(main())
