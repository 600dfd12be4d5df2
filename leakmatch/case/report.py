"""The report of a case: one self-contained HTML file without scripts, for an examiner and for a court.

It is a function of the case and of X: the same case gives the same file. The prose is in ``report.html``, the looks are
in ``report.css``; everything that comes from the case goes through ``markup.safe``.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from string import Template
from typing import Any, Final

from leakmatch.case import approximate
from leakmatch.case.coverage import Coverage, coverage
from leakmatch.case.decisions import Judge
from leakmatch.case.explained import (
    calibrated,
    calibration_words,
    candidate_example,
    comparisons,
    joint_example,
    joint_words,
    looked_again,
    planned_words,
)
from leakmatch.case.markup import Html, count, figure, join, plural, safe, tag
from leakmatch.case.sections import (
    CANDIDATES,
    CONTAINERS,
    candidates,
    chip,
    covered,
    facts_table,
    flat,
    incidents,
    people,
    sources,
)
from leakmatch.case.store import Case
from leakmatch.case.summary import Summary, summarise
from leakmatch.records import LARGEST_CHANCE, REVIEW_BAND, STORED_BAND, Decision

# Parts of how the scan ended that the record shows in words of its own.
_SHOWN: Final = {"finished", "searches", "pictures", "face_pairs", "picture_pairs", "threshold"}


NOT_STATED: Final = "not stated"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the sections are written from."""

    case: Case
    run: Mapping[str, Any]
    finished: Mapping[str, Any] | None
    judge: Judge
    summary: Summary
    coverage: Coverage

    def part(self, key: str) -> Mapping[str, Any]:
        """A nested part of the run, empty where it is missing."""
        value = self.run.get(key)
        return value if isinstance(value, Mapping) else {}


def report(case: Case, accepted: float | None = None) -> str:
    """The report of ``case`` as one HTML document. ``accepted`` decides anew, see :class:`Judge`.

    Checks the case first. Raises :class:`IntegrityError` for a damaged case and :class:`UsageError` for an X that does
    not apply.
    """
    with case.snapshot():
        judge = Judge.of(case, accepted)
        case.verify()
        facts = _Facts(
            case, case.run, case.finished, judge, summarise(case, judge, CANDIDATES), coverage(case, CONTAINERS)
        )
        return _page(facts)


def _page(facts: _Facts) -> str:
    folder = resources.files(__package__)
    style = folder.joinpath("report.css").read_text(encoding="utf-8")
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    totals, gallery = facts.judge.totals, facts.part("gallery")
    name = facts.case.path.name
    parts: dict[str, str] = {
        "style": style,
        "style_hash": style_hash,
        "title": safe(f"LeakMatch report: {name}"),
        "heading": safe(name),
        "about": _about(facts),
        "purpose": _purpose(facts),
        "answer": _answer(facts),
        "notices": _notices(facts),
        "figures": _figures(facts),
        "people": people(facts.case, facts.summary),
        "candidates": candidates(facts.case, facts.summary),
        "coverage": covered(facts.case, facts.coverage),
        "incidents": incidents(facts.case),
        "gallery_words": safe(
            f"{plural(totals.gallery_people, 'template')}{_without_template(totals.gallery_people, gallery)} for "
            f"{_people_count(gallery)} from "
            f"{plural(totals.gallery_pictures, 'photo')}"
        ),
        "pictures_words": safe(f"{plural(totals.pictures, 'different picture')} (frames of animations included)"),
        "picture_words": safe(comparisons(totals.pictures, "picture", totals.gallery_pictures, "enrolled photo")),
        "face_words": safe(comparisons(totals.searches, "face", totals.gallery_people, "person", "people")),
        "approximate": _approximate(facts),
        "looks_words": safe(looked_again(facts.case)),
        "calibration": calibration_words(facts.judge, facts.run),
        "planned": planned_words(facts.judge, facts.run, facts.finished),
        "example": candidate_example(facts.judge, facts.summary, facts.run),
        "joint": joint_words(facts.judge),
        "joint_example": joint_example(facts.judge, facts.summary),
        "decisions": _decisions(facts),
        "models": _models(facts),
        "record": _record(facts),
        "sources": sources(facts.case),
        "settings": facts_table(flat(facts.part("settings"))),
        "case_file": safe(shlex.quote(name)),
        "footer": safe("Written by LeakMatch from the case alone. The same case gives the same report."),
    }
    template = folder.joinpath("report.html").read_text(encoding="utf-8")
    return Template(template).substitute(parts)


# Result


def _about(facts: _Facts) -> Html:
    sources = [safe(name) for name in facts.run.get("sources", ())]
    shown = join(sources[:6], ", ") + (f" and {len(sources) - 6:,} more" if len(sources) > 6 else "")
    ended = (facts.finished or {}).get("finished")
    when = f"from {_time(facts.run.get('started'))}{f' to {_time(ended)}' if facts.finished else '; not finished'}"
    if of := facts.part("rescan"):
        when = f"from {_time(of.get('started'))} to {_time(of.get('finished'))}. Compared with this gallery {when}"
    return Html(f"Sources: {shown}. Scanned {safe(when)}. Case {safe(facts.run.get('case_id', 'without an id'))}.")


def _purpose(facts: _Facts) -> Html:
    purpose, basis = _stated(facts, "purpose"), _stated(facts, "legal_basis")
    return Html(f"Purpose of the gallery: {purpose}. Legal basis: {basis}.")


def _stated(facts: _Facts, what: str) -> Html:
    """What the gallery is for, or what allows it, in the words of whoever made it."""
    return safe(str(facts.part("gallery").get(what) or NOT_STATED).rstrip("."))


def _answer(facts: _Facts) -> Html:
    """The result in words, most important line first."""
    summary, enrolled = facts.summary, _people_count(facts.part("gallery"))
    matched, review = summary.decided(Decision.MATCH), summary.decided(Decision.REVIEW)
    lines: list[Html] = []
    if matched:
        files = plural(summary.files[Decision.MATCH], "file")
        lines.append(
            join([tag("strong", f"{matched:,} of {enrolled}"), f" {_are(matched)} decided match, in {files}."])
        )
    if review:
        who = f"{review:,} more {_are(review)}" if matched else f"{review:,} of {enrolled} {_are(review)}"
        lines.append(safe(f"{who} to review, and no match."))
    if not lines:
        lines.append(safe(f"None of {enrolled} has a candidate in what was read."))
    shown = [tag("p", line, class_="line") for line in lines]
    if summary.files[Decision.REVIEW]:
        files = plural(summary.files[Decision.REVIEW], "file")
        shown.append(tag("p", f"Files with nothing stronger than a candidate to review: {files}."))
    return join(shown)


def _notices(facts: _Facts) -> Html:
    """What a reader must know before anything else."""
    alarms, notes = [], []
    if facts.finished is None:
        read, files = facts.case.count("finished_files"), plural(facts.case.count("files"), "source file")
        words = f"{read:,} of {files} were read to the end. This is what was found so far; every figure will change."
        alarms.append(("This scan has not finished.", words))
    if unread := facts.coverage.whole.unread:
        words = "Whoever is only in there may not have been found. They are listed under Coverage."
        alarms.append((f"{plural(unread, 'item')} could not be read in full.", words))
    if facts.run.get("isolation") is False:
        words = "A malicious file could have changed what is recorded here."
        alarms.append(("Hostile input was read without process isolation.", words))
    if missing := facts.part("confinement").get("missing"):
        words = f"A malicious file could {' and '.join(map(str, missing))} while the scan ran (docs/isolation.md)."
        alarms.append(("The machine could not hold the processes that read the input.", words))
    if facts.judge.threshold is None and not facts.part("pack").get("calibration_sha256"):
        words = "How often chance gives a score is not known, so no face is decided match."
        alarms.append(("The model has no calibration.", words))
    if approximate.was_used(facts.case.approximate):
        words = "A few candidates may be missing. How figures were obtained, under Same face, says what was measured."
        notes.append(("Faces were compared approximately.", words))
    if of := facts.part("rescan"):
        words = (
            f"What the case {of.get('path')} kept of the pictures was compared with another gallery. The sources were "
            "not read again; coverage and incidents are those of that scan."
        )
        notes.append(("This is a rescan.", words))
    if facts.case.keeps:
        words = "sealed with a key of its own. When nobody else is to be looked for, remove them: leakmatch forget."
        notes.append(("This case holds templates of everybody in the pictures, strangers too,", words))
    if facts.judge.accepted != facts.judge.begun_with:
        words = (
            f"with {facts.judge.accepted:g} accepted false candidates; the scan was told {facts.judge.begun_with:g}."
        )
        notes.append(("Decided anew", words))
    notes.append(("A candidate is a lead that a person must check,", "not an identification. See Limits."))
    kinds = (("notice alarm", alarms), ("notice", notes))
    return join(
        tag("div", tag("p", tag("strong", head), " ", words), class_=look, role="note")
        for look, notices in kinds
        for head, words in notices
    )


def _figures(facts: _Facts) -> Html:
    whole = facts.coverage.whole
    pairs = [
        ("people protected", facts.part("gallery").get("subjects")),
        ("with a match", facts.summary.decided(Decision.MATCH)),
        ("to review", facts.summary.decided(Decision.REVIEW)),
        ("items met", whole.total),
        ("not read in full", whole.unread),
        ("faces compared", facts.judge.totals.searches),
    ]
    boxes = (
        tag("div", tag("dt", name), tag("dd", "unknown" if value is None else f"{value:,}")) for name, value in pairs
    )
    return tag("dl", *boxes, class_="figures")


# Method and record


def _approximate(facts: _Facts) -> Html:
    record = facts.case.approximate
    return Html("") if record is None else join(["", *approximate.in_words(record)], " ")


def _decisions(facts: _Facts) -> Html:
    judge = facts.judge
    x, begins = judge.accepted, (facts.finished or {}).get("threshold")
    lines: list[tuple[object, object]] = [
        (chip(Decision.MATCH), join(["expected by chance: up to ", figure(x), " in the whole scan"])),
        (chip(Decision.REVIEW), join(["up to ", figure(REVIEW_BAND * x), ", or unknown"])),
        (
            chip(Decision.WEAK),
            join(["more; stored up to ", figure(STORED_BAND * judge.begun_with), ", and not shown in this report"]),
        ),
    ]
    if judge.threshold is not None:
        words = (
            f"The scan was told a raw score as the threshold: the same face with a score of {judge.threshold:g} or "
            "more is decided match, with any lower score weak. What follows is for the same file and the same picture."
        )
        more = ""
    else:
        words = (
            f"The number of false candidates accepted in the whole scan was set to {x:g}. So if none of the protected "
            f"people were in the material, up to about {x:g} of its candidates would still be decided match by chance, "
            f"and up to about {0.5 * x:g} people more by several pictures together."
        )
        more = (
            f"A score that more than one pair in {1 / LARGEST_CHANCE:g} of different people reaches makes no candidate "
            "at all, which in a small scan admits fewer. A person is decided by the joint figure, and never lower than "
            "by the best candidate."
        )
        if isinstance(begins, float) and x == judge.begun_with:
            more += f" In this scan the same face is decided match from a score of {begins:.4f} upwards."
    return join([tag("p", words), tag("p", more) if more else "", facts_table(lines)])


def _models(facts: _Facts) -> Html:
    pack = facts.part("pack")
    return facts_table(
        [
            ("Model pack", " ".join(str(pack[key]) for key in ("name", "version") if pack.get(key)) or None),
            ("Licence", pack.get("licence")),
            ("Face detector, SHA-256", _code(pack.get("detector_sha256"))),
            ("Face model, SHA-256", _code(pack.get("embedder_sha256"))),
            ("Model id of the templates", _code(pack.get("model_id"))),
            ("Calibration, SHA-256", _code(pack.get("calibration_sha256"))),
            ("Calibrated", calibrated(facts.run).strip() or None),
        ]
    )


def _record(facts: _Facts) -> Html:
    run, gallery, totals = facts.run, facts.part("gallery"), facts.judge.totals
    finished = facts.finished or {}
    return facts_table(
        [
            ("Case", run.get("case_id")),
            ("Content digest of the case", join([_code(facts.case.digest), " (checked when this report was written)"])),
            ("LeakMatch that scanned", run.get("version")),
            ("Started", _time(run.get("started"))),
            ("Finished", _time(finished.get("finished")) if facts.finished else "not finished"),
            *((name.capitalize().replace("_", " "), value) for name, value in flat(finished) if name not in _SHOWN),
            ("Gallery", " ".join(str(gallery[key]) for key in ("path", "id") if gallery.get(key)) or None),
            ("Purpose of the gallery", _stated(facts, "purpose")),
            ("Legal basis of the gallery", _stated(facts, "legal_basis")),
            ("Gallery holds", f"{_people_count(gallery)}, {plural(totals.gallery_people, 'template')}"),
            ("Gallery content digest", _code(gallery.get("digest"))),
            ("Faces compared", count(totals.searches)),
            ("Comparisons of faces", count(totals.face_pairs)),
            ("Pictures compared", count(totals.pictures)),
            ("Comparisons of pictures", count(totals.picture_pairs)),
            ("Templates of the faces met", _kept(facts.case)),
            *((f"Rescan of, {name}".replace("_", " "), value) for name, value in facts.part("rescan").items()),
            ("Process isolation", run.get("isolation")),
            *((f"Process isolation, {name}", value) for name, value in facts.part("confinement").items() if value),
            *((f"Machine, {name}", value) for name, value in flat(facts.part("machine"))),
        ]
    )


def _kept(case: Case) -> str:
    """Whether the case holds templates."""
    if case.keeps:
        return "kept, sealed with a key of the case's own"
    forgotten = case.forgotten
    return "not kept" if forgotten is None else f"were kept, and removed on {_time(forgotten.get('when'))}"


def _code(value: object) -> Html | None:
    return None if value is None else tag("code", value)


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _people_count(gallery: Mapping[str, Any]) -> str:
    number = gallery.get("subjects")
    return plural(number, "protected person", "protected people") if isinstance(number, int) else "the protected people"


def _without_template(enrolled: int, gallery: Mapping[str, Any]) -> str:
    """How many people cannot be found, because none of their photos could be enrolled."""
    missing = gallery.get("subjects", enrolled) - enrolled
    return f" ({plural(missing, 'person has', 'people have')} none and cannot be found)" if missing > 0 else ""


def _time(value: object) -> str:
    """An ISO 8601 time as people write it."""
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        return str(value or "unknown")
