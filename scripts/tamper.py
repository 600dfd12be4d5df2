"""Changes every byte of a sealed gallery, and makes every exchange of its parts: all must be noticed.

    python scripts/tamper.py [--step 1] [--processes 2] [--json FILE]

A small gallery with removals, a compaction, changes of its keys and openings is made. Then each byte of it is changed,
one at a time; and blocks and headers are swapped, moved, taken out, cut off, wiped, forged with a fitting check sum and
put back from each earlier state, from its predecessor and from another gallery under the same key (tests/tampering.py).
After each attack the gallery is opened. It must be refused with an IntegrityError, and be left as it is; or, where the
attack looks like a crash between two writes, open in its newest state and say so. ``--step``: one byte of so many.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tampering import ATTACKS, every_place, victim


def flips(part: int, parts: int, step: int) -> tuple[int, int, list[str]]:
    """Change every byte of one of ``parts`` of a gallery: its size, how many were changed, what was unnoticed."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="tamper-") as folder:
        made = victim(Path(folder))
        count = made.suffers_flips(every_place(made, step)[part::parts])
        return len(made.whole), count, made.failures


def exchanges() -> tuple[dict[str, int], list[str]]:
    """Make every other attack: how many, by kind, and what went unnoticed."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="tamper-") as folder:
        made = victim(Path(folder))
        return {kind: made.suffers(each(made)) for kind, each in ATTACKS.items()}, made.failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=1, help="change one byte of so many")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    began = time.monotonic()
    with ProcessPoolExecutor(options.processes) as pool:
        other = pool.submit(exchanges)
        sweeps = [pool.submit(flips, n, options.processes, options.step) for n in range(options.processes)]
        counts, failures = other.result()
        swept = [sweep.result() for sweep in sweeps]
    failures += [failure for _, _, found in swept for failure in found]
    told = {
        "gallery_bytes": swept[0][0],
        "bytes_changed": sum(count for _, count, _ in swept),
        **counts,
        "unnoticed": len(failures),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(told, indent=2))
    for failure in failures[:50]:
        print(failure)
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
