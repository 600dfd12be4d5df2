"""Interrupts everything that changes a gallery, at every write: it ends in the old state or the new one.

    python scripts/crash_gallery.py [--every 1] [--seeds 5] [--kinds KIND ...] [--changes NAME ...] [--json FILE]

Creating, opening, enrolling, importing, removing, compacting, sealing, adding, removing and rotating keys, and putting
right what an interruption left (tests/gallery_changes.py) are each repeated with a fault at the n-th call that changes
the gallery or what is beside it, for every n; the kinds of faults are those of scripts/crash_disk.py. ``--seeds``: how
often the power is cut at each sync with another random part of the unsynced writes lost.

Then the gallery must open with the keys and the content of the old state, or with those of the new one; open for
writing; and nothing may be left beside it. Needs a C compiler (cc); without one it says so and ends with 77.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from crash_disk import DIED, KINDS, NO_COMPILER, STORAGE, Disk, Fault, Figures, points, preloaded
from crash_loop import arguments, conclude

_COUNT, _ANY_CHANGE, _SYNCS, _SOME = 0, 0, 1, 2


def interrupted(
    disk: Disk, folder: Path, kinds: list[str], every: int, seeds: int, figures: Figures, name: str
) -> None:
    """Faults at every call of one change."""
    from gallery_changes import CHANGES, judged, state_of

    (change,) = (change for change in CHANGES if change.name == name)
    keys, path = folder / "keys", folder / "store" / "a.gallery"
    old_file = folder / "old"
    change.begin(path, keys)
    before = path.exists()
    if before:
        shutil.copyfile(path, old_file)
    old = state_of(path, keys) if before else None

    def begin() -> None:
        for left in path.parent.iterdir():
            left.unlink()
        if before:
            shutil.copyfile(old_file, path)

    counts = {}
    for what in (_ANY_CHANGE, _SYNCS):
        begin()
        code, counts[what] = disk.run(_done(change.act, path, keys), path, Fault(_COUNT, what), 0)
        if code:
            raise SystemExit(f"{name} ended with {code} without any fault: {disk.said}")
    new = state_of(path, keys)
    figures.calls += counts[_ANY_CHANGE]
    figures.syncs += counts[_SYNCS]
    for kind in kinds:
        fault = KINDS[kind]
        for seed in range(1, 1 + (seeds if fault.lose == _SOME else 1)):
            for at in points(fault, counts[_ANY_CHANGE], counts[_SYNCS], every, seed):
                begin()
                code, _ = disk.run(_done(change.act, path, keys), path, fault, at, seed * 1000 + at)
                figures.faults[kind] = figures.faults.get(kind, 0) + 1
                endings = figures.endings.setdefault(kind, {})
                endings[str(code)] = endings.get(str(code), 0) + 1
                wrong = judged(path, keys, old, new)
                if code not in ({DIED} if fault.mode == KINDS["killed"].mode else {STORAGE, 0}):
                    wrong = f"ended with {code}: {disk.said[-300:]} {wrong}"
                if wrong:
                    figures.failures.append(f"{name}, {kind} at {at}, seed {seed}: {wrong}")
                    shutil.copytree(path.parent, folder / f"{name}-{kind}-{at}-{seed}", dirs_exist_ok=True)
    begin()
    path.unlink(missing_ok=True)
    print(f"{name}: {counts[_ANY_CHANGE]} calls, {len(figures.failures)} failures", flush=True)


def _done(act: Callable[[Path, Path], None], path: Path, keys: Path) -> Callable[[], int]:
    """The change as a command makes it: its exit code, and the error on standard error."""

    def done() -> int:
        from leakmatch.errors import LeakMatchError

        try:
            act(path, keys)
        except LeakMatchError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return error.exit_code
        except Exception as error:  # noqa: BLE001 - a defect, which is told of
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return 1
        return 0

    return done


def main() -> int:
    """Run it; 0 where nothing was lost."""
    from gallery_changes import CHANGES

    names = [change.name for change in CHANGES]
    parser = arguments(__doc__)
    parser.add_argument("--every", type=int, default=1, help="one call of each so many in a row")
    parser.add_argument("--seeds", type=int, default=5, help="power cuts at each sync in which a random part is lost")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--changes", nargs="*", choices=names, default=names)
    options = parser.parse_args()
    library = preloaded()
    if library is None:
        return NO_COMPILER
    folder, began = library.parent, time.monotonic()
    for name in ("keys", "store"):
        (folder / name).mkdir()
    logging.disable(logging.CRITICAL)
    disk, figures = Disk(library, folder / "store"), Figures()
    for name in options.changes:
        interrupted(disk, folder, options.kinds, options.every, options.seeds, figures, name)
    told: dict[str, object] = asdict(figures) | {"seconds": round(time.monotonic() - began)}
    return conclude(options, folder, told, figures.failures)


if __name__ == "__main__":
    sys.exit(main())
