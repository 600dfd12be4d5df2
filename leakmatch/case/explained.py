"""How the figures of a case were obtained: in words, with its own numbers, where a reader of the report meets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from leakmatch.case.decisions import Judge
from leakmatch.case.joint import Joint, price
from leakmatch.case.markup import Html, count, figure, join, plural, tag
from leakmatch.case.people import Person
from leakmatch.case.store import Case
from leakmatch.case.summary import Summary
from leakmatch.case.tables import calibration
from leakmatch.records import Decision, Evidence


def looked_again(case: Case) -> str:
    """How many faces had a second look."""
    looks = case.count("second_looks")
    return f"{plural(looks, 'face')} {'was' if looks == 1 else 'were'} looked at again"


def calibration_words(judge: Judge, run: Mapping[str, Any]) -> Html:
    """Where chances and their intervals come from, and what an extrapolated figure is."""
    resolution = judge.totals.resolution
    if not resolution:
        return tag("p", "This case does not record on how many pairs its chances rest.")
    one_pair = join(["1 in ", figure(1 / resolution)])
    paragraphs: tuple[tuple[object, ...], ...] = (
        (
            f"The model was calibrated{calibrated(run)}: ",
            "photos of each person were compared with those of every other. How often two different people reach a "
            "common score was counted. ",
            "High scores are rare; for those that fewer than about one pair in a thousand reaches, a curve is fitted "
            "to the highest scores seen: the generalised Pareto distribution of extreme-value statistics.",
        ),
        (
            "Each person is in many pairs, so the pairs tell less than their number. The interval below a figure takes "
            "that in: the calibration was repeated many times with its people drawn at random (a bootstrap over "
            "people), and 95 in 100 of the results lie in it. It does not say how well the people of the calibration "
            "stand for those of this case.",
        ),
        (
            tag("strong", "Extrapolated"),
            " marks a figure that rests on a chance rarer than ",
            one_pair,
            ", one pair in all of the calibration. Nothing so rare can have been counted; the curve alone says it. On "
            "such a figure alone nothing is decided match: it is a match only where a chance of ",
            one_pair,
            " would be enough as well.",
        ),
    )
    return join(tag("p", *words) for words in paragraphs)


def planned_words(judge: Judge, run: Mapping[str, Any], finished: Mapping[str, Any] | None) -> Html:
    """With how many faces the scan reckoned when it began, and with how many it ended."""
    planned, ended = run.get("planned"), (finished or {}).get("threshold")
    lines = []
    if isinstance(planned, Mapping) and {"searches", "threshold"} <= planned.keys():
        begins = (
            "no face alone would be decided match"
            if planned["threshold"] is None
            else f"the same face would be decided match from a score of {planned['threshold']:.4f} upwards"
        )
        lines.append(f"The scan was planned for about {whole(planned['searches'])} faces; with so many, {begins}.")
    lines.append(
        "How many faces there are is known at the end only. So every figure here is computed anew from the final "
        f"number, {plural(judge.totals.searches, 'face')}."
    )
    if len(lines) > 1 and finished is not None and judge.accepted == judge.begun_with:
        lines.append("With it, no face alone is." if ended is None else f"With it, that score is {ended:.4f}.")
    return tag("p", " ".join(lines))


def joint_words(judge: Judge) -> Html:
    """Whether several pictures of one person strengthen each other in this case."""
    if judge.threshold is not None:
        return tag("p", "Here a raw score decides, so the figure of a person is that of the best candidate.")
    if judge.resemblance is None:
        words = "How alike photos of one stranger are was not measured for this model. So here several pictures of a "
        return tag("p", words + "person do not strengthen each other: the figure is that of the best candidate.")
    return Html("")


def candidate_example(judge: Judge, summary: Summary, run: Mapping[str, Any]) -> Html:
    """The figure of one candidate of this case; nothing where no face has a figure."""
    totals = judge.totals
    told = [
        (number, finding)
        for number, finding in enumerate(summary.strongest, start=1)
        if finding.candidate.evidence is Evidence.SAME_FACE and finding.candidate.chance and finding.candidate.score
    ]
    if not told:
        return Html("")
    # The weakest match is the one whose figure matters most.
    number, finding = max((t for t in told if t[1].decision is Decision.MATCH), default=told[0], key=lambda t: t[0])
    candidate, chance = finding.candidate, finding.candidate.chance or 0.0
    low, high = judge.interval(candidate)
    lines: list[tuple[object, ...]] = [
        (tag("strong", "Worked through, with a candidate of this case."),),
        (f"Candidate no. {number:,} (", candidate.subject_id, f") has the score {candidate.score:.4f}."),
        (
            f"According to the calibration of the model{calibrated(run)}, a comparison of two "
            "different people gives that score or a higher one with a probability of ",
            join([figure(chance, 5), " (1 in ", figure(1 / chance), ")."]),
        ),
        (f"This scan made {comparisons(totals.searches, 'face', totals.gallery_people, 'person', 'people')}.",),
        (
            "Expected by chance: ",
            join([count(totals.face_pairs), " × ", figure(chance, 5), " = "]),
            join([tag("strong", figure(judge.expected_false(candidate), 5)), _interval((low, high)), ". "]),
            "It was decided by its score alone."
            if judge.threshold is not None
            else f"So it is decided {finding.decision}.",
        ),
    ]
    if judge.extrapolated(candidate) and judge.threshold is None:
        lines.append((_extrapolated(judge, totals.resolution * totals.face_pairs),))
    return tag("div", *(tag("p", *line) for line in lines), class_="example")


def joint_example(judge: Judge, summary: Summary) -> Html:
    """The joint figure of one person of this case; nothing where no figure rests on several pictures."""
    told = [person for person in summary.people if person.joint is not None and person.joint.hits > 1]
    if not told:
        return Html("")
    person = max((p for p in told if p.decision is Decision.MATCH), default=told[0], key=lambda p: p.shown or 0)
    assert person.joint is not None
    return tag("div", *(tag("p", *line) for line in _joint(judge, person, person.joint)), class_="example")


def _joint(judge: Judge, person: Person, joint: Joint) -> Iterator[tuple[object, ...]]:
    totals, resemblance = judge.totals, judge.resemblance
    again = 0.0 if resemblance is None else resemblance.at(joint.chance)
    hits, photos = joint.hits, plural(joint.photos, "photo")
    searched = plural(person.folder_pictures, "picture")
    weakest, best = person.rests_on[-1].best, person.rests_on[0].best.chance or 0.0
    actual = weakest.chance or 0.0
    raised = actual < joint.chance
    alone = max(best, totals.resolution if person.extrapolated else 0.0) * totals.face_pairs
    yield (tag("strong", "Worked through, with a person of this case."),)
    yield (
        tag("strong", person.subject_id),
        f": the decision rests on {hits} different pictures of the {searched} searched in ",
        tag("code", person.folder[1] or person.folder[0]),
        f". The lowest of their scores is {weakest.score or 0:.4f}, so all {hits} have that score or a higher one. Two "
        "different people reach it with a probability of ",
        join([figure(actual, 5), "."]),
        join([" That is extrapolated; 1 in ", figure(1 / joint.chance), " is taken in its place."]) if raised else "",
    )
    yield (
        "A stranger who reaches it with one photo reaches it with another one with a probability of at most ",
        join([figure(again), ": so alike are photos of one person to the model. So of "]),
        f"{photos} of one stranger {hits} or more reach it with a probability of ",
        join([figure(joint.likely, 5), " (beta-binomial distribution)."]),
    )
    yield (
        "How many strangers a folder shows is not known. The case that makes the evidence weakest is taken: "
        f"{photos} of each. Then the {plural(totals.searches, 'face')} of this scan are of ",
        join([figure(totals.searches / joint.photos), " strangers, and each is compared with "]),
        f"{plural(totals.gallery_people, 'person', 'people')}.",
    )
    yield (
        "The best of one picture, two pictures, three and so on is taken, which gives chance more tries. The price "
        f"is a factor of 2 × {hits} × {hits - 1} = {price(hits):,}.",
    )
    product = join(
        [
            f"{price(hits):,} × {totals.searches:,} ÷ {joint.photos:,} × {totals.gallery_people:,} × ",
            figure(joint.likely, 5),
            " = ",
        ]
    )
    yield (
        "Expected by chance: ",
        product,
        join([tag("strong", figure(person.shown, 5)), " people."]),
        f" So {person.subject_id} is decided {person.decision}.",
        join([" By the best of these pictures alone the figure would be ", figure(alone), "."]),
    )
    if person.extrapolated:
        yield (
            "With extrapolated chances, and the number of pictures that is best then, the figure is ",
            join([figure(person.expected_false, 5), _interval(person.interval), "; "]),
            "it is shown beside, and alone it makes no match.",
        )


def _extrapolated(judge: Judge, shown: float | None) -> Html:
    return join(
        [
            "That probability is rarer than anything the calibration could show (1 in ",
            figure(1 / judge.totals.resolution),
            "), so the figure is extrapolated. With 1 in ",
            figure(1 / judge.totals.resolution),
            " in its place the figure would be ",
            figure(shown),
            f"; only if that too is at most {judge.accepted:g} is it a match.",
        ]
    )


def _interval(limits: tuple[float | None, float | None]) -> Html:
    low, high = limits
    if low is None or high is None:
        return Html("")
    return join([" (95 % interval: ", figure(low), " to ", figure(high), ")"])


def calibrated(run: Mapping[str, Any]) -> str:
    """What the model was calibrated on, in words that follow "the calibration"; empty where it was not."""
    told = calibration(run)
    if told is None:
        return ""
    numbers = [f"{whole(told[key])} {key}" for key in ("people", "photos") if told.get(key) is not None]
    pairs = [f"{whole(told['pairs'])} pairs of different people"] if told.get("pairs") is not None else []
    words = ", ".join(numbers + pairs)
    return f" on {told.get('dataset', 'other photos')}" + (f" ({words})" if words else "")


def comparisons(probes: int, probe: str, enrolled: int, *words: str) -> str:
    """``5 faces × 4 people = 20 comparisons``."""
    return f"{plural(probes, probe)} × {plural(enrolled, *words)} = {plural(probes * enrolled, 'comparison')}"


def whole(value: object) -> str:
    """A whole number with thousands separated, or what else was recorded."""
    return f"{value:,}" if isinstance(value, int) else "unknown" if value is None else str(value)
