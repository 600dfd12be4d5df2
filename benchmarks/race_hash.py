"""Hashing pictures against imagehash, and joining 64-bit hashes against faiss ``IndexBinaryFlat``, one core, one run.

    python benchmarks/race_hash.py [--json FILE] [--hashes N ...]

Both sides do the same work on the same generated data by turns, results are compared, and medians taken
(``leakmatch/bench/hash.py``). faiss counts comparisons alone; the time to make our index is given beside it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from leakmatch.bench import hash as race
from leakmatch.bench.machine import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 250, 500, 1000, 2000])
    parser.add_argument("--hashes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()
    figures = race.run(arguments.sizes, (), 1)
    for hashes in arguments.hashes:
        figures += race.run((), race.PROBES, hashes)
    for figure in figures:
        print(f"{figure.what:<44} {figure.value:16,.2f} {figure.unit:<9} {dict(figure.detail)}", flush=True)
    if arguments.json:
        record = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
