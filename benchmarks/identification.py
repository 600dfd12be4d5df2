"""What each step of the pipeline gains on people of whom nothing was learned: identification, cross-fitted.

    python benchmarks/identification.py PHOTOS.zip [--cache FILE] [--seeds 8] [--json FILE]

PHOTOS.zip holds one folder per person. A pack's normalisation is learned from labelled photos, so it looks better than
it is on these very photos. Here, seed by seed, the people are split in halves; the calibration (with its normalisation,
and the chances by which faces are looked at again) is made from one half, as scripts/make_calibration.py makes that of
a pack, and the protocol of ``leakmatch evaluate identification`` is run on the other half; and the other way round. Two
protocols:

- one photo: of people with two photos or more one is enrolled and one searched for;
- leave-one-out: each photo of them is searched for among all the others.

Everybody else is a stranger. Each half has its own gallery and its own thresholds; a figure is the mean over the people
of both, then over seeds. Intervals (95 %) are a bootstrap over people: the same draws for every step, every half and
every seed, so that they are those of the mean over seeds and of paired differences; what was learned stays as it is.
The spread over seeds is the standard deviation of one split.

Everything is done twice: with all people, and without those whom --errata (a CSV with columns a, b: people; why) names.
``--cache`` is that of scripts/make_calibration.py.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from leakmatch.assets import sha256_of
from leakmatch.bench.machine import machine
from leakmatch.evaluation.open_set import TARGETS, Weights, interval, refigured
from leakmatch.evaluation.photos import Face, Photo
from leakmatch.evaluation.steps import DEFAULT, Step, best_photo, steps
from leakmatch.evaluation.trial import ALL, Protocol, Trial, draw
from leakmatch.faces.packs import load_pack
from leakmatch.matching import impostors, normalisation
from leakmatch.matching.calibration import Calibration, make_calibration
from leakmatch.matching.impostors import Impostors
from leakmatch.matching.normalisation import Normalisation
from leakmatch.records import Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from make_calibration import ERRATA, seen

RESULTS = Path(__file__).with_name("results") / "identification_cross.json"

SHRINKAGES = (0.1, 0.3, 0.5, 0.7)
POWERS = (0.125, 0.25, 0.5)
PROTOCOLS = {"one photo": (1, False), "leave-one-out": (ALL, True)}

RESAMPLES = 1000
SEED = 20_261_126  # of the bootstrap

#: FNIR at each FPIR, its mean over them, and rank 1: the columns of all that is measured.
FIGURES = (*(f"FNIR at FPIR {100 * fpir:g} %" for fpir in TARGETS), "mean FNIR", "rank 1")
MEAN = len(TARGETS)
AGAIN = "looked at again"

People = Mapping[str, list[Photo]]


# --- photos --------------------------------------------------------------------------------------------------------


def people_of(found: Mapping[str, NDArray[Any]]) -> People:
    """The photos of each person, from what scripts/make_calibration.py keeps."""
    people: dict[str, list[Photo]] = defaultdict(list)
    for name, plain, mirrored in zip(found["names"].tolist(), found["probes"], found["enrolled"], strict=True):
        people[PurePosixPath(name).parts[-2]].append(Photo(name, Outcome.DONE, face=Face(plain, mirrored)))
    return people


def halves(people: People, seed: int) -> tuple[set[str], set[str]]:
    """Two halves of the people, with as many of those who have several photos in each."""
    generator = np.random.default_rng(seed)
    sides: tuple[set[str], set[str]] = (set(), set())
    for several in (True, False):
        names = sorted(name for name in people if (len(people[name]) > 1) is several)
        for place, i in enumerate(generator.permutation(len(names))):
            sides[place % 2].add(names[i])
    return sides


# --- what is learned -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learned:
    """The calibration that a pack would have, had it been made from some people alone; and their normalisations by
    other constants, by name."""

    calibration: Calibration
    others: Mapping[str, Normalisation]


def learned(people: People, names: Collection[str], kin: Sequence[tuple[str, str]]) -> Learned:
    """From the people of these ``names``; ``kin`` may be one person."""
    in_order = sorted(names)
    photos = [(number, photo.face) for number, name in enumerate(in_order) for photo in people[name] if photo.face]
    person = np.array([number for number, _ in photos])
    enrolled = np.stack([face.mirrored for _, face in photos if face.mirrored is not None])
    norm = Normalisation.learn(enrolled, person)
    probes = norm.apply(np.stack([face.plain for _, face in photos]))
    number = {name: i for i, name in enumerate(in_order)}
    left_out = {(min(number[a], number[b]), max(number[a], number[b])) for a, b in kin if {a, b} <= number.keys()}
    pairs = Impostors.of(probes, person, norm.apply(enrolled), person, left_out)
    with patch.object(impostors, "RESAMPLES", 2):  # nobody asks how sure its rates are
        calibration = Calibration.parse(make_calibration("half", pairs, {}, norm), "a half of the people")
    others = {}
    for name, shrinkage, power in variants():
        with patch.multiple(normalisation, SHRINKAGE=shrinkage, POWER=power):
            others[name] = Normalisation.learn(enrolled, person)
    return Learned(calibration, others)


def compared(half: Learned, *, several_photos: bool) -> list[Step]:
    """The steps of the command, and what else decisions rest on."""
    chosen = list(steps(half.calibration, 1.0, several_photos=several_photos))
    shipped = next(step for step in chosen if step.name == "normalised")
    chosen.append(
        replace(shipped, name="normalised-both", what="as normalised, every probe mirrored", probe="mirrored")
    )
    if several_photos:
        what = "as normalised, but a subject's score is that of its best photo"
        chosen.append(replace(shipped, name="normalised-best-photo", what=what, fusion=best_photo))
    for name, other in half.others.items():
        chosen.append(replace(shipped, name=name, what="as normalised, with other constants", normalisation=other))
    return chosen


def variants() -> Iterator[tuple[str, float, float]]:
    """Names, shrinkages and powers of normalisations other than the one that is used."""
    yield "centred", 0.0, 0.0
    for power in POWERS:
        for shrinkage in SHRINKAGES:
            if (shrinkage, power) != (normalisation.SHRINKAGE, normalisation.POWER):
                yield f"shrinkage {shrinkage:g}, power {power:g}", shrinkage, power


# --- what is measured ----------------------------------------------------------------------------------------------


class Draws:
    """How often each person counts: float64[1+B] by name, once each and then in ``RESAMPLES`` bootstrap draws."""

    def __init__(self, people: People) -> None:
        generator = np.random.default_rng(SEED)
        self._of: dict[str, Weights] = {}
        for several in (True, False):
            names = sorted(name for name in people if (len(people[name]) > 1) is several)
            drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
            self._of |= dict(zip(names, np.vstack([np.ones(len(names)), drawn]).T, strict=True))

    def of(self, names: Sequence[str]) -> Weights:
        """float64[1+B,N]."""
        return np.stack([self._of[name] for name in names], axis=1)


#: Figures float64[1+B,6], of everybody once and of each draw, and the shares of mated and non-mated searches float64[2]
#: whose face was looked at again.
Measured = tuple[NDArray[np.float64], NDArray[np.float64]]


def split_measured(
    people: People, kin: Sequence[tuple[str, str]], seed: int, draws: Draws
) -> dict[tuple[str, str], Measured]:
    """By protocol and step: all steps on both halves, each with what was learned from the other."""
    sides = halves(people, seed)
    parts: dict[tuple[str, str], list[tuple[Measured, Weights]]] = defaultdict(list)
    for here, there in (sides, sides[::-1]):
        half = learned(people, there, kin)
        for name, (enrol, all_probes) in PROTOCOLS.items():
            mated, non_mated = draw({person: people[person] for person in here}, Protocol(enrol, all_probes, seed))
            drawn = draws.of([subject.name for subject in mated])
            others = draws.of([subject.name for subject in non_mated])
            trial = Trial(mated, non_mated)
            for step in compared(half, several_photos=enrol == ALL):
                parts[name, step.name].append((_measured(trial, step, drawn, others), drawn.sum(axis=1)))
    return {key: _both(of) for key, of in parts.items()}


def _measured(trial: Trial, step: Step, drawn: Weights, others: Weights) -> Measured:
    """``drawn`` float64[1+B,S] and ``others`` float64[1+B,T]: how often each mated and non-mated subject counts."""
    found, searches = trial.search(step), trial.searches
    figures = refigured(
        found,
        drawn[:, searches.mated] * searches.mated_weight,
        others[:, searches.non_mated] * searches.non_mated_weight,
    )
    fnir = np.stack([figures.fnir[fpir] for fpir in TARGETS], axis=1)
    again = np.divide(found.again or (0, 0), (len(found.mate), len(found.stranger)))
    return np.column_stack([fnir, fnir.mean(axis=1), figures.rank_1]), again


def _both(halves: Sequence[tuple[Measured, Weights]]) -> Measured:
    """The mean over the people of both halves, of whom ``weights`` float64[1+B] were drawn."""
    weights = np.stack([weight for _, weight in halves])
    figures = np.average(
        [figures for (figures, _), _ in halves], axis=0, weights=weights[..., None].repeat(len(FIGURES), 2)
    )
    return figures, np.mean([again for (_, again), _ in halves], axis=0)


# --- what is said --------------------------------------------------------------------------------------------------


def estimate(values: NDArray[np.float64]) -> dict[str, Any]:
    """``values`` float64[seeds,1+B]: the mean over seeds, its interval over draws, the spread over seeds."""
    of_mean = values.mean(axis=0)
    low, high = interval(of_mean[1:])
    spread = values[:, 0].std(ddof=1) if len(values) > 1 else 0.0
    return {"value": _short(of_mean[0]), "interval_95": [_short(low), _short(high)], "seed_sd": _short(spread)}


def change(values: NDArray[np.float64], base: NDArray[np.float64]) -> dict[str, Any]:
    """The difference to ``base``, both float64[seeds,1+B], and the relative one of the means over seeds."""
    relative = values.mean(axis=0) / base.mean(axis=0) - 1
    limits = [_short(limit) for limit in interval(relative[1:])]
    return estimate(values - base) | {"relative": _short(relative[0]), "relative_interval_95": limits}


def _short(value: float) -> float:
    return float(f"{value:.5f}")


def rows_of(people: People, kin: Sequence[tuple[str, str]], seeds: int) -> Iterator[dict[str, Any]]:
    """Every protocol, step and figure over all seeds, as JSON values."""
    draws, splits = Draws(people), []
    for seed in range(seeds):
        splits.append(split_measured(people, kin, seed, draws))
        print(f"split {seed + 1} of {seeds} done", file=sys.stderr)
    small = {name for name, _, _ in variants()}
    for protocol, name in splits[0]:
        row = {"protocol": protocol, "step": name}
        of = {key: np.stack([split[protocol, key][0] for split in splits]) for key in (name, "plain", "normalised")}
        for i, figure in enumerate(FIGURES):
            if i == MEAN or name not in small:
                bases = {f"to_{base}": change(of[name][..., i], of[base][..., i]) for base in of if base != name}
                yield row | {"figure": figure, **estimate(of[name][..., i]), **bases}
        if name == DEFAULT:
            mated, non_mated = np.mean([split[protocol, name][1] for split in splits], axis=0).tolist()
            yield row | {"figure": AGAIN, "mated": _short(mated), "non_mated": _short(non_mated)}


def shown(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rows of one protocol as a table: figures in %, and the mean FNIR's difference to plain and to normalised."""

    def text(figure: Mapping[str, Any] | None) -> str:
        if figure is None:
            return "-"
        low, high = figure["interval_95"]
        return f"{100 * figure['value']:.2f} ({100 * low:.2f}, {100 * high:.2f})"

    line = "{:<28}" + "{:>22}" * (len(FIGURES) + 2)
    yield line.format("", *FIGURES, "mean to plain", "mean to normalised")
    for name in dict.fromkeys(row["step"] for row in rows):
        of = {row["figure"]: row for row in rows if row["step"] == name}
        mean = of[FIGURES[MEAN]]
        differences = (text(mean.get("to_plain")), text(mean.get("to_normalised")))
        yield line.format(name, *(text(of.get(figure)) for figure in FIGURES), *differences)
        if AGAIN in of:
            yield f"  {AGAIN}: {of[AGAIN]['mated']:.1%} of mated, {of[AGAIN]['non_mated']:.1%} of non-mated searches"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--cache", type=Path, help="keep what was seen here (.npz) for another run")
    parser.add_argument("--errata", type=Path, default=ERRATA, help="default: what is known of LFW")
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found = seen(arguments.photos, arguments.pack, arguments.cache)
    everybody = people_of(found)
    with arguments.errata.open(newline="", encoding="utf-8") as stream:
        kin = [(row["a"], row["b"]) for row in csv.DictReader(stream)]
    named = {name for pair in kin for name in pair}
    groups = {
        "everybody": everybody,
        "without the published label errors": {name: own for name, own in everybody.items() if name not in named},
    }
    rows = [
        {"photos_of": group, **row} for group, people in groups.items() for row in rows_of(people, kin, arguments.seeds)
    ]
    for group in groups:
        for protocol in PROTOCOLS:
            of = [row for row in rows if (row["photos_of"], row["protocol"]) == (group, protocol)]
            print(f"\n{protocol}, {group}", *shown(of), sep="\n")
    record = {
        "machine": machine(),
        "photos_sha256": sha256_of(arguments.photos),
        "model_id": load_pack(arguments.pack).model_id,
        "failures_to_acquire": int(found["failures"]),
        "people": {
            group: {"all": len(people), "with_several_photos": sum(len(own) > 1 for own in people.values())}
            for group, people in groups.items()
        },
        "normalisation": {"shrinkage": normalisation.SHRINKAGE, "power": normalisation.POWER},
        "seeds": arguments.seeds,
        "resamples": RESAMPLES,
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items()]
    figures = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    arguments.json.write_text("{\n" + ",\n".join(lines) + f',\n "rows": [\n{figures}\n ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
