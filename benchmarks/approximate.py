"""The approximate join against the exact one, on galleries that are kind and unkind to it.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/approximate.py KIND [--templates N] [--json FILE]

KIND: ``random`` (unit vectors in all directions), ``faces`` (one photo each; scores of two people are spread as those
of the default pack: 0.10 +- 0.09), ``people-50`` and ``people-500`` (such people with so many photos each, whose scores
are about 0.65). For each score it says what the index measured of itself, and what is true of it for new photos of the
people: pairs a second and the share of the exact join's pairs that it finds, even where it would not be used. FILE
keeps the other kinds that are in it. Medians of three, taken in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leakmatch.bench.machine import machine
from leakmatch.matching.approximate import ApproximateIndex
from leakmatch.matching.join import TemplateIndex

Vectors = NDArray[np.float32]

DIMENSION = 128
SCORES = (0.6, 0.7, 0.8)
PROBES = 128
COMMON = 0.1  # the mean score of two people
WITHIN = 0.65  # of two photos of one person
PHOTOS = {"random": 1, "faces": 1, "people-50": 50, "people-500": 500}


def unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def draw(random: np.random.Generator, count: int) -> Vectors:
    return unit(random.standard_normal((count, DIMENSION), np.float32))


def photo(random: np.random.Generator, people: Vectors) -> Vectors:
    return unit(np.float32(WITHIN**0.5) * people + np.float32((1 - WITHIN) ** 0.5) * draw(random, len(people)))


def gallery(kind: str, count: int) -> tuple[Vectors, Vectors]:
    """Templates, and new photos of some of the people in it."""
    random = np.random.default_rng(1)
    people = draw(random, count // PHOTOS[kind])
    if kind == "random":
        return people, photo(random, people[:PROBES])
    common = np.float32(COMMON**0.5) * draw(random, 1)
    people = unit(common + np.float32((1 - COMMON) ** 0.5) * people)
    if kind == "faces":
        return people, photo(random, people[:PROBES])
    templates = np.concatenate([photo(random, people) for _ in range(PHOTOS[kind])])
    return templates, photo(random, people[random.integers(0, len(people), PROBES)])


def measure(kind: str, count: int) -> dict[str, object]:
    templates, probes = gallery(kind, count)
    ids = np.arange(len(templates), dtype=np.int64)
    exact = TemplateIndex(templates, ids)
    index = ApproximateIndex(templates, ids, exact.plan, start=1)
    rows: list[dict[str, object]] = []
    for score in SCORES:
        began = time.perf_counter()
        measured = index._measure(score)
        tested = time.perf_counter() - began
        lists = index._lists
        assert lists is not None
        began = time.perf_counter()
        lists.fill()
        filled = time.perf_counter() - began
        step = measured.threshold
        index._measured[step] = replace(measured, pays=True)  # to see what it would do
        sides: dict[str, list[float]] = {"exact": [], "approximate": []}
        for _ in range(3):
            for name, side in (("exact", exact), ("approximate", index)):
                began = time.perf_counter()
                found = side.join(probes, score)
                sides[name].append(time.perf_counter() - began)
                if name == "exact":
                    known = set(zip(found.probe_index.tolist(), found.enrolment_id.tolist(), strict=True))
        got = set(zip(found.probe_index.tolist(), found.enrolment_id.tolist(), strict=True))
        index._measured[step] = measured
        assert got <= known
        seconds = {name: statistics.median(taken) for name, taken in sides.items()}
        rows.append(
            {
                "score": score,
                "measured": asdict(measured),
                "make_and_test_s": tested,
                "fill_s": filled,
                "pairs": len(known),
                "recall": len(got) / len(known) if known else None,
                "exact_pairs_per_s": PROBES * count / seconds["exact"],
                "approximate_pairs_per_s": PROBES * count / seconds["approximate"],
                "speed_up": seconds["exact"] / seconds["approximate"],
            }
        )
    return {
        "templates": count,
        "lists": lists.count,
        "outlying": len(lists.outlying),
        "exact": exact.plan.screen,
        "machine": machine(),
        "scores": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=PHOTOS)
    parser.add_argument("--templates", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.kind, arguments.templates)
    print(json.dumps(result, indent=2))
    if arguments.json:
        kept = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
        arguments.json.write_text(json.dumps(kept | {arguments.kind: result}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
