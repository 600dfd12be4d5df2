"""False candidates: as many as were announced? On people that the calibration has never seen.

    python benchmarks/false_candidates.py PHOTOS.zip [--splits N] [--cache FILE] [--errata FILE] [--json FILE]

PHOTOS.zip holds one folder per person. Again and again the people are split in two halves. On one half everything is
learned as scripts/make_calibration.py does it: the normalisation, the impostor distribution, its tail. The other half
is scanned: in one large scan, and in a dozen small scans of people who are in no other. Half of the people with two
photos or more are enrolled, with one photo or with half of their photos; all other photos are searched, those of
enrolled people and of strangers mixed, with a second look near the bands as in a scan. For X = 1, 10 and 100 accepted
false candidates, those decided match whose person is another are counted.

Labels are never quite right. Counted are all ("all labels") and all but pairs of people listed as errors ("known errors
left out": published ones and same pictures, as in the calibration).

The interval of a ratio is a bootstrap over people: splits share them, and one pair of look-alikes is false in many.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from leakmatch.bench.machine import machine
from leakmatch.matching.impostors import GRID, Impostors
from leakmatch.matching.normalisation import Normalisation
from leakmatch.pipeline.second_look import near
from leakmatch.records import LARGEST_CHANCE
from leakmatch.settings import DEFAULT_PACK

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from make_calibration import ERRATA, numbered, people_left_out, seen

ACCEPTED = (1, 10, 100)
SMALL_SCANS = 12
RESAMPLES = 2000


class Half:
    """The templates of some people, normalised with what was learned on the others."""

    def __init__(self, found: dict[str, np.ndarray], people: np.ndarray, learn: np.ndarray, left_out: set) -> None:
        mine = np.isin(people, learn)
        renumbered = np.searchsorted(np.sort(learn), people[mine])
        number = {int(person): i for i, person in enumerate(np.sort(learn))}
        known = {(number[a], number[b]) for a, b in left_out if a in number and b in number}
        self.normalisation = Normalisation.learn(found["enrolled"][mine], renumbered)
        self.plain, self.mirrored = (self.normalisation.apply(found[kind]) for kind in ("probes", "enrolled"))
        impostors = Impostors.of(self.plain[mine], renumbered, self.mirrored[mine], renumbered, known)
        self._log_rates = np.log(impostors.rates(np.ones(impostors.people)))

    def fmr(self, scores: np.ndarray) -> np.ndarray:
        return np.exp(np.interp(scores.round(4), GRID, self._log_rates))


def scanned(
    half: Half, people: np.ndarray, members: np.ndarray, several: bool, generator: np.random.Generator
) -> Iterator[tuple[int, int, float]]:
    """Every pair of a face and another person with a figure of at most 100 in one scan: the two people, the figure."""
    rows = {person: generator.permutation(np.flatnonzero(people == person)) for person in members}
    mated = generator.permutation([person for person in members if len(rows[person]) > 1])
    enrolled = np.sort(mated[: (len(mated) + 1) // 2])
    photos = {person: rows[person][: max(1, len(rows[person]) // 2) if several else 1] for person in enrolled}
    sums = np.stack([half.mirrored[photos[person]].sum(axis=0, dtype=np.float64) for person in enrolled])
    gallery = half.normalisation.mean_template(sums, np.array([len(photos[person]) for person in enrolled]))
    used = np.concatenate(list(photos.values()))
    probes = np.setdiff1d(np.concatenate(list(rows.values())), used)
    pairs = len(probes) * len(gallery)
    figures = half.fmr(half.plain[probes] @ gallery.T) * pairs
    best = figures.min(axis=1)
    for accepted in ACCEPTED:
        looked_again = near(best, accepted) & (best <= LARGEST_CHANCE * pairs)
        seen = figures.copy()
        seen[looked_again] = half.fmr(half.mirrored[probes[looked_again]] @ gallery.T) * pairs
        reached = np.minimum(accepted, LARGEST_CHANCE * pairs) * (1 + 1e-6)
        for probe, subject in zip(*np.nonzero(seen <= reached), strict=True):
            if people[probes[probe]] != enrolled[subject]:
                yield accepted, int(people[probes[probe]]), int(enrolled[subject])
    yield from ((-accepted, 0, 0) for accepted in ACCEPTED if accepted > LARGEST_CHANCE * pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--cache", type=Path, help="templates, as scripts/make_calibration.py --cache writes them")
    parser.add_argument("--errata", type=Path, default=ERRATA)
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()
    found = seen(arguments.photos, DEFAULT_PACK, arguments.cache)
    names, people = numbered(found)
    errors = set(people_left_out(found, names, people, arguments.errata))

    wrong: dict[tuple[str, int, str], Counter[tuple[int, int]]] = defaultdict(Counter)
    scans: Counter[tuple[str, int, str]] = Counter()
    for split in range(arguments.splits):
        generator = np.random.default_rng(split)
        order = generator.permutation(len(names))
        for learn, test in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            half = Half(found, people, learn, errors)
            for size, groups in (("large", [test]), ("small", np.array_split(test, SMALL_SCANS))):
                for several in (False, True):
                    kind = f"{size}, {'half of the photos' if several else 'one photo'} enrolled"
                    for members in groups:
                        pairs = list(scanned(half, people, members, several, generator))
                        for x in ACCEPTED:
                            if (-x, 0, 0) in pairs:
                                continue
                            false = [(min(a, b), max(a, b)) for accepted, a, b in pairs if accepted == x]
                            for labels, kept in (
                                ("all labels", false),
                                ("known errors left out", [pair for pair in false if pair not in errors]),
                            ):
                                wrong[kind, x, labels].update(kept)
                                scans[kind, x, labels] += 1
        print(f"split {split + 1} of {arguments.splits}", file=sys.stderr)

    generator = np.random.default_rng(0)
    weights = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    rows = []
    for (kind, x, labels), number in scans.items():
        false = wrong[kind, x, labels]
        pairs = np.array(list(false), np.int64).reshape(-1, 2)
        drawn = (weights[:, pairs[:, 0]] * weights[:, pairs[:, 1]]) @ np.array(list(false.values()), np.int64)
        low, high = np.quantile(drawn / (number * x), [0.025, 0.975])
        row = {
            "scans": kind,
            "accepted": x,
            "labels": labels,
            "number_of_scans": number,
            "expected": number * x,
            "observed": false.total(),
            "different_pairs_of_people": len(false),
            "ratio": round(false.total() / (number * x), 3),
            "interval_95": [round(float(low), 3), round(float(high), 3)],
        }
        rows.append(row)
        print(
            f"{kind:36} X {x:>3}  {labels:22} expected {row['expected']:>6} observed {row['observed']:>6} "
            f"({len(false):>5} pairs of people) ratio {row['ratio']:.2f} ({low:.2f} to {high:.2f})"
        )
    often = wrong["large, one photo enrolled", 1, "all labels"].most_common(20)
    listed = [{"people": [str(names[a]), str(names[b])], "times": n, "known": (a, b) in errors} for (a, b), n in often]
    for entry in listed:
        print("most often false at X = 1, large:", entry)
    if arguments.json:
        body = {"machine": machine(), "splits": arguments.splits, "results": rows, "most_often_false": listed}
        arguments.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
