"""Evidence fused per person, measured: how many false people chance really gives, and how many more people are found.

    python benchmarks/joint_evidence.py PHOTOS.zip [--cache FILE] [--errata FILE] [--splits N] [--json FILE]

PHOTOS.zip holds one folder per person (the development part of LFW). For each split the people are halved at random.
One half calibrates: normalisation, impostor distribution, how alike photos of one stranger are. The other half is an
archive: half of its people are enrolled with one photo each, the others are strangers; then the other way round.

False people: only photos of strangers are in the archive, one folder a stranger (`sets`), ten strangers a folder
(`mixed`) or all of them in one (`flat`). Counted is who of the enrolled people, none of whom is there, gets a figure of
at most x; if the figures are right, at most x by the best candidate and 1.5 x jointly. Beside it, `one stranger a
folder`: the figure if a folder is taken to show one person only, which `mixed` and `flat` break. Intervals are
percentiles of a bootstrap over people. Labels are never quite right: who is listed as an error is left out, and the
pairs that are false most often with a figure of at most 0.1 are named.

Gain: the other photos of each enrolled person are one folder. Counted is who is decided match at X = 1, by the best
candidate alone and jointly, in archives of so many comparisons. As in a case, a figure that rests on a chance rarer
than one in the pairs of the calibration (here of a half, so a quarter of all pairs) makes no match.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.stats

from leakmatch.assets import sha256_of
from leakmatch.bench.machine import machine
from leakmatch.case.joint import MOST, Joint, Resemblance, price, together
from leakmatch.matching.calibration import Calibration, make_calibration
from leakmatch.matching.impostors import Impostors
from leakmatch.matching.normalisation import Normalisation
from leakmatch.records import LARGEST_CHANCE

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from make_calibration import ERRATA, numbered, people_left_out, seen

ACCEPTED = (0.1, 1.0, 10.0, 100.0)
PAIRS = (10**6, 10**7, 3 * 10**7, 10**8, 10**9)
SIZES = {"2": (2, 2), "3-5": (3, 5), "6-15": (6, 15), "16+": (16, 10**6)}
FOLDERS = {"sets": 1, "mixed": 10, "flat": 10**6}  # strangers in each folder
ROLES = 4  # times that a half is divided into enrolled people and strangers
RESAMPLES = 1000

Figure = Callable[[list[float], int, float, Resemblance], float]
People = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def worst(chances: list[float], pictures: int, pairs: float, alike: Resemblance) -> float:
    return together(chances, pictures, pairs, alike).expected_false


def alone(chances: list[float], pictures: int, pairs: float, alike: Resemblance) -> float:
    return min(chances) * pairs


def one_stranger(chances: list[float], pictures: int, pairs: float, alike: Resemblance) -> float:
    """The figure if all faces of a folder were of one stranger: P(r or more of c) / c instead of the worst case."""
    ranked, best = sorted(chances), min(chances) * pairs
    for hits, chance in enumerate(ranked[:MOST], start=1):
        if hits > 1:
            again = alike.at(chance)
            s = (1 - again) / (again - chance)
            likely = scipy.stats.betabinom.sf(hits - 1, pictures, chance * s, (1 - chance) * s)
            best = min(best, price(hits) * pairs / pictures * likely)
    return best


FIGURES: dict[str, Figure] = {"best candidate": alone, "joint": worst, "one stranger a folder": one_stranger}


def calibrated(
    found: dict[str, np.ndarray], people: np.ndarray, half: np.ndarray, errors: set[tuple[int, int]]
) -> Calibration:
    """A calibration made from the people of ``half`` alone."""
    mine = np.isin(people, half)
    within = {key: value[mine] for key, value in found.items() if key != "failures"}
    own, numbers = np.unique(people[mine], return_inverse=True)
    normalisation = Normalisation.learn(within["enrolled"], numbers)
    probes, enrolled = normalisation.apply(within["probes"]), normalisation.apply(within["enrolled"])
    number = {int(person): i for i, person in enumerate(own)}
    left_out = frozenset((number[a], number[b]) for a, b in errors if a in number and b in number)
    impostors = Impostors.of(probes, numbers, enrolled, numbers, left_out)
    return Calibration.parse(make_calibration("lfw", impostors, {}, normalisation, repeat=True), "a half")


def archives(
    found: dict[str, np.ndarray],
    people: np.ndarray,
    calibration: Calibration,
    half: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[People]:
    """Enrolled people int64[N], their templates, and people and templates of the photos that are not enrolled."""
    assert calibration.normalisation is not None
    plain = calibration.normalisation.apply(found["probes"])
    mirrored = calibration.normalisation.apply(found["enrolled"])
    for _ in range(ROLES // 2):
        order = rng.permutation(half)
        for who in (order[: len(half) // 2], order[len(half) // 2 :]):
            photo = {person: rng.choice(np.flatnonzero(people == person)) for person in who.tolist()}
            rest = np.isin(people, half)
            rest[list(photo.values())] = False
            yield who, mirrored[list(photo.values())], people[rest], plain[rest]


def false_people(
    archive: People,
    calibration: Calibration,
    alike: Resemblance,
    errors: set[tuple[int, int]],
    rng: np.random.Generator,
) -> Iterator[tuple[str, str, float, int, int]]:
    """Arrangement, figure's name, figure, stranger and enrolled person of everybody with a figure up to the largest."""
    who, gallery, people, probes = archive
    strangers = ~np.isin(people, who)
    people, probes = people[strangers], probes[strangers]
    chances = calibration.fmr(probes @ gallery.T)
    pairs = chances.size
    for i, j in zip(*np.nonzero(chances < LARGEST_CHANCE), strict=True):
        if (min(people[i], who[j]), max(people[i], who[j])) in errors:
            chances[i, j] = 1.0
    each = rng.permutation(np.unique(people))
    for arrangement, together_in in FOLDERS.items():
        folder = dict(zip(each.tolist(), (np.arange(len(each)) // together_in).tolist(), strict=True))
        folders = np.array([folder[person] for person in people.tolist()])
        size = np.bincount(folders)
        for j in range(len(who)):
            best = dict.fromkeys(FIGURES, (np.inf, -1))
            near = np.flatnonzero(chances[:, j] <= min(LARGEST_CHANCE, 1000 / pairs))
            for f in np.unique(folders[near]).tolist():
                mine = near[folders[near] == f]
                first = int(people[mine[np.argmin(chances[mine, j])]])
                for name, figure in FIGURES.items():
                    best[name] = min(best[name], (figure(chances[mine, j].tolist(), int(size[f]), pairs, alike), first))
            for name, (value, stranger) in best.items():
                if value <= max(ACCEPTED):
                    yield arrangement, name, value, stranger, int(who[j])


def found_people(
    archive: People, calibration: Calibration, alike: Resemblance
) -> Iterator[tuple[int, int, bool, bool]]:
    """Number of photos in the folder, comparisons in the archive, match by the best candidate, match jointly."""
    who, gallery, people, probes = archive
    for j, person in enumerate(who.tolist()):
        mine = people == person
        if mine.sum() < 2:
            continue
        raw = calibration.fmr(probes[mine] @ gallery[j]).tolist()
        chances = [max(chance, calibration.resolution) for chance in raw if chance <= LARGEST_CHANCE]
        for pairs in PAIRS:
            kept = [chance for chance in chances if chance * pairs <= 1000]
            single = bool(kept) and min(kept) * pairs <= 1
            joint: Joint | None = together(kept, int(mine.sum()), pairs, alike) if kept else None
            yield int(mine.sum()), pairs, single, joint is not None and joint.expected_false <= 1


def observed(events: list[tuple[float, int, int]], x: float, archives: int, people: int) -> dict[str, object]:
    """False people at a figure of at most ``x``, over ``x`` in each archive, with its 95 % interval."""
    rng = np.random.default_rng(0)
    pairs = np.array([(a, b) for value, a, b in events if value <= x], np.int64).reshape(-1, 2)
    drawn = []
    for _ in range(RESAMPLES):
        weights = rng.multinomial(people, np.full(people, 1 / people))
        drawn.append((weights[pairs[:, 0]] * weights[pairs[:, 1]]).sum() / (x * archives))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"count": len(pairs), "ratio": round(len(pairs) / (x * archives), 3), "95%": [round(low, 3), round(high, 3)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument(
        "--cache", type=Path, help="keep what was seen here (.npz), as scripts/make_calibration.py does"
    )
    parser.add_argument("--errata", type=Path, default=ERRATA)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()
    found = seen(arguments.photos, arguments.pack, arguments.cache)
    names, people = numbered(found)
    errors = set(people_left_out(found, names, people, arguments.errata))
    false: Counter[tuple[int, int]] = Counter()
    events: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    gains: dict[tuple[str, int], list[tuple[bool, bool]]] = {}
    number = 0
    for split in range(arguments.splits):
        rng = np.random.default_rng(split)
        order = rng.permutation(len(names))
        calibration = calibrated(found, people, order[: len(names) // 2], errors)
        assert calibration.repeat is not None
        alike = Resemblance.parse(calibration.repeat)
        for archive in archives(found, people, calibration, order[len(names) // 2 :], rng):
            number += 1
            for arrangement, name, value, a, b in false_people(archive, calibration, alike, errors, rng):
                events.setdefault((arrangement, name), []).append((value, a, b))
                if (arrangement, name) == ("sets", "joint") and value <= min(ACCEPTED):
                    false[min(a, b), max(a, b)] += 1
            for photos, pairs, *decided in found_people(archive, calibration, alike):
                size = next(name for name, (low, high) in SIZES.items() if low <= photos <= high)
                gains.setdefault((size, pairs), []).append((decided[0], decided[1]))
        print(f"split {split}: {calibration.pairs:,} pairs, again {calibration.repeat['high']}", file=sys.stderr)
    record = {
        "machine": machine(),
        "photos_sha256": sha256_of(arguments.photos),
        "splits": arguments.splits,
        "archives": number,
        "false_people_over_x": {
            arrangement: {
                name: {f"{x:g}": observed(events.get((arrangement, name), []), x, number, len(names)) for x in ACCEPTED}
                for name in FIGURES
            }
            for arrangement in FOLDERS
        },
        "most_often_false": [
            {"people": [str(names[a]), str(names[b])], "times": times} for (a, b), times in false.most_common(12)
        ],
        "decided_match": {
            size: {
                f"{pairs:,}": {
                    "people": len(gains.get((size, pairs), [])),
                    "best candidate": round(float(np.mean([a for a, _ in gains.get((size, pairs), [(0, 0)])])), 4),
                    "joint": round(float(np.mean([b for _, b in gains.get((size, pairs), [(0, 0)])])), 4),
                }
                for pairs in PAIRS
            }
            for size in SIZES
        },
    }
    print(json.dumps(record, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
