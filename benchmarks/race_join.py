"""The exact join against faiss IndexFlatIP: every pair of a probe and a template at or above a threshold.

    python benchmarks/race_join.py [--templates N] [--dimension 128 512] [--probes 64 1024] [--json FILE]
    python benchmarks/race_join.py --sizes [--probes 256] --json FILE --plot FILE.svg     (needs matplotlib)

One thread, the sides by turns in one process (leakmatch.bench.search says how the work is made equal); medians. The
pairs of both sides are held to a float64 product of all templates, and may differ within 1e-6 of the threshold only.
faiss is raced as it comes, and with its BLAS path forced (faiss.cvar.distance_compute_blas_threshold = 1). The limit is
numpy's float32 matrix product with as many multiply-adds, at the best of a few sizes.

With --sizes the gallery grows from 10^3 to 10^7 templates, and the pairs are held to those of faiss. A file that is
there is added to, so that a race can be run in pieces.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from leakmatch.bench.limits import Limits, limits
from leakmatch.bench.machine import machine
from leakmatch.bench.search import OURS, compare

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
SLOW_UP_TO = 300_000  # faiss as it comes takes minutes beyond


def raced(
    templates: int, dimension: int, probes: Iterable[int], rounds: int, *, as_it_comes: bool, reference: bool
) -> dict[str, object]:
    """The record of one gallery."""
    before = limits(1)
    found = compare(templates, dimension, list(probes), rounds=rounds, as_it_comes=as_it_comes, reference=reference)
    after = limits(1)
    limit = Limits(1, max(before.sgemm, after.sgemm), max(before.read, after.read))
    record: dict[str, object] = {
        "templates": templates,
        "dimension": dimension,
        "plan": asdict(found.plan),
        "open_seconds": round(found.open_seconds, 3),
        "held_to": "a float64 product" if reference else "faiss",
        "sgemm_million_multiply_adds_per_s": round(1e-6 * limit.sgemm),
        "read_gb_per_s": round(1e-9 * limit.read, 2),
        "races": [
            {
                "probes": race.probes,
                "threshold": race.threshold,
                "pairs_found": race.pairs,
                "million_pairs_per_s": {
                    side: round(1e-6 * found.pairs_per_second(race, side), 1) for side in race.seconds
                }
                | {"sgemm limit": round(1e-6 * limit.sgemm / dimension, 1)},
                "times": {
                    side: round(taken / race.seconds[OURS], 2) for side, taken in race.seconds.items() if side != OURS
                },
            }
            for race in found.races
        ],
    }
    print(json.dumps(record["races"], indent=1), flush=True)
    return record


def plot(records: list[dict], file: Path) -> None:
    """Throughput against gallery size, one line for each side."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    sides = dict.fromkeys(side for record in records for side in record["races"][0]["million_pairs_per_s"])
    for side in sides:
        points = [
            (record["templates"], rates[side])
            for record in sorted(records, key=lambda record: record["templates"])
            if side in (rates := record["races"][0]["million_pairs_per_s"])
        ]
        axes.plot(*zip(*points, strict=True), label=side, marker="o", linestyle=":" if "limit" in side else "-")
    first = records[0]
    axes.set(xscale="log", yscale="log", xlabel="templates in the gallery", ylabel="million pairs a second")
    axes.set_title(f"Exact join, {first['races'][0]['probes']} probes, {first['dimension']}-D, one core")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=int, nargs="+")
    parser.add_argument("--dimension", type=int, nargs="+")
    parser.add_argument("--probes", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", action="store_true", help="a race for each size of the gallery")
    parser.add_argument("--json", type=Path, help="also write the result here, or add it to what is there")
    parser.add_argument("--plot", type=Path, help="draw what was found, and what the file holds already")
    arguments = parser.parse_args()
    sizes = arguments.templates or (SIZES if arguments.sizes else (1_000_000,))
    dimensions = arguments.dimension or ((128,) if arguments.sizes else (128, 512))
    probes = arguments.probes or ((256,) if arguments.sizes else (64, 1024))
    records = []
    if arguments.json and arguments.json.exists():
        records = json.loads(arguments.json.read_text(encoding="utf-8"))["results"]
    for templates in sizes:
        for dimension in dimensions:
            slow = not arguments.sizes or templates <= SLOW_UP_TO
            record = raced(
                templates, dimension, probes, arguments.rounds, as_it_comes=slow, reference=not arguments.sizes
            )
            key = (templates, dimension, list(probes))
            records = [
                old
                for old in records
                if (old["templates"], old["dimension"], [race["probes"] for race in old["races"]]) != key
            ]
            records.append(record)
    if arguments.json:
        result = {"machine": machine(), "threads": 1, "rounds": arguments.rounds, "results": records}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(records, arguments.plot)


if __name__ == "__main__":
    main()
