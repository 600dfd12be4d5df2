"""The tables of the report: people, candidates, coverage, incidents, source files, settings."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from leakmatch.case.coverage import ADVICE, IN_WORDS, Coverage, Share, unread_items
from leakmatch.case.markup import Html, Number, count, figure, join, plural, safe, size, table, tag
from leakmatch.case.people import Person
from leakmatch.case.places import places
from leakmatch.case.store import Case
from leakmatch.case.summary import Summary, copies
from leakmatch.case.tables import Finding, rows, source_files
from leakmatch.locator import printable
from leakmatch.records import LOOKED_AT, Decision, Evidence, Outcome

# How much of each list is shown; what is left out is counted, and is in the exports.
CANDIDATES: Final = 2000
PEOPLE: Final = 1000
CONTAINERS: Final = 50
UNREAD: Final = 500
INCIDENTS: Final = 200
SOURCES: Final = 200

# A crop is written by a worker that has read hostile input: only a small JPEG is taken.
_LARGEST_CROP: Final = 64 << 10
_JPEG: Final = b"\xff\xd8\xff"

# Pictures named of those that the figure of a person rests on.
_NAMED: Final = 3

_At = Callable[[str, str], Html]
_Place = Callable[..., tuple[str, str, str]]


def people(case: Case, summary: Summary) -> Html:
    """Everybody decided match or review."""
    at, place = _naming(case), places(case)
    found = summary.people
    if not found:
        return tag("p", "Nobody.")
    heads = (
        "Person",
        "Decision",
        "Strongest evidence",
        _head("Best score"),
        _head("Expected by chance"),
        _head("Files"),
        _head("Different pictures"),
        "Rests on",
    )
    shown = table("Best first.", heads, (_person(person, at, place) for person in found[:PEOPLE]), "people")
    return join([shown, left_out(len(found) - PEOPLE, "people", "subjects")])


def _person(person: Person, at: _At, place: _Place) -> tuple[object, ...]:
    named = [place(seen.locator)[:2] for seen in person.rests_on[:_NAMED]]
    lines = [tag("span", at(*where), class_="more") for where in named]
    if len(person.rests_on) > len(named):
        lines.append(tag("span", f"and {len(person.rests_on) - len(named):,} more", class_="more"))
    return (
        person.subject_id,
        chip(person.decision),
        _evidence(person.evidence),
        _score(person.score),
        _expected(person.expected_false, person.interval, person.shown if person.extrapolated else None),
        count(person.files),
        count(person.pictures),
        join([_rests_on(person, at), *lines]),
    )


def _rests_on(person: Person, at: _At) -> Html:
    """``5 of 6 pictures in set/0001``."""
    source, path = person.folder
    where = at(source, path) if path else tag("code", source)
    if person.joint is None:
        what = "one picture" if person.expected_false is None else f"the {_evidence(person.rests_on[0].evidence)}"
        return join([what, " in ", where])
    return join([f"{len(person.rests_on):,} of {plural(person.folder_pictures, 'picture')} in ", where])


def _expected(value: float | None, interval: tuple[float | None, float | None], shown: float | None) -> Number:
    """A figure with its 95 % interval. ``shown``: of an extrapolated one, what it is without that; else ``None``."""
    low, high = interval
    lines: list[Html] = [figure(value)]
    if low is not None and high is not None and low < high:
        lines.append(tag("span", figure(low), " to ", figure(high), class_="more"))
    if shown is not None:
        lines.append(tag("span", "extrapolated; else ", figure(shown), class_="more"))
    return Number(join(lines))


def candidates(case: Case, summary: Summary) -> Html:
    """The strongest candidates, each with the crop of its face."""
    strongest = summary.strongest
    if not strongest:
        return tag("p", "There are no candidates decided match or review.")
    at = _naming(case)
    also = copies(case, {(f.candidate.key.file, f.candidate.key.position) for f in strongest})
    heads = (_head("No."), "Face", "Person", "Evidence", _head("Score"), _head("Expected by chance"), "Where")
    lines = (_candidate(case, number, finding, summary, also, at) for number, finding in enumerate(strongest, start=1))
    numbers = summary.candidates
    caption = (
        f"{numbers[Decision.MATCH]:,} decided match, {numbers[Decision.REVIEW]:,} decided review. "
        f"{numbers[Decision.WEAK]:,} weak ones are stored; of these only those are shown that the joint figure of a "
        "person rests on. The rank is that of the person for this face. Below each figure is its 95 % interval."
    )
    more = left_out(summary.shown - len(strongest), "candidates", "candidates")
    return join([table(caption, heads, lines, "candidates"), more])


def _candidate(
    case: Case,
    number: int,
    finding: Finding,
    summary: Summary,
    also: Mapping[tuple[int, int], tuple[int, list[tuple[str, str]]]],
    at: _At,
) -> tuple[object, ...]:
    candidate, record = finding.candidate, finding.record
    copied, places = also.get((candidate.key.file, candidate.key.position), (0, []))
    where = [at(str(record["source"]), str(record["path"]))]
    box = record["box"]
    if isinstance(box, list):
        x0, y0, x1, y1 = (round(side) for side in box)
        where.append(tag("span", f"face {candidate.face}: {x1 - x0} × {y1 - y0} pixels at ({x0}, {y0})", class_="more"))
    where.append(tag("span", f"SHA-256 {record['sha256'] or 'unknown'}", class_="hash"))
    if copied:
        more = f" and {copied - len(places):,} more" if copied > len(places) else ""
        words = join(
            [
                "identical " + ("copy: " if copied == 1 else "copies: "),
                join((at(*place) for place in places), "; "),
                more,
            ]
        )
        where.append(tag("span", words, class_="more"))
    person = [tag("span", candidate.subject_id, class_="subject"), tag("span", f"rank {candidate.rank}", class_="more")]
    jointly = summary.counts_as(finding)
    decided = [chip(finding.decision)]
    if jointly is not finding.decision:
        decided.append(tag("span", f"part of a joint {jointly}", class_="more"))
    evidence = [_evidence(candidate.evidence)]
    if candidate.hash_distance is not None and candidate.evidence is not Evidence.SAME_FILE:
        evidence.append(tag("span", f"distance {plural(candidate.hash_distance, 'bit')}", class_="more"))
    return (
        count(number),
        _crop(case, finding),
        join([*person, *decided]),
        join(evidence),
        _score(candidate.score),
        _expected(
            _real(record["expected_false"]),
            (_real(record["expected_false_low"]), _real(record["expected_false_high"])),
            summary.shown_at_least if record["extrapolated"] else None,
        ),
        join(where),
    )


def _crop(case: Case, finding: Finding) -> Html:
    """The face as an image inside the page, or words in its place."""
    candidate = finding.candidate
    if candidate.face is None:
        return tag("span", "whole picture", class_="noface")
    jpeg = case.crop(candidate.key, candidate.face)
    if jpeg is None or not jpeg.startswith(_JPEG) or len(jpeg) > _LARGEST_CROP:
        return tag("span", "no crop stored", class_="noface")
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
    words = safe(f"Face {candidate.face} of this picture")
    return Html(f'<img class="face" width="112" height="112" alt="{words}" src="{source}">')


def covered(case: Case, found: Coverage) -> Html:
    """How the items ended: in all, per source, per container, and which could not be read."""
    at, whole = _naming(case), found.whole
    if not whole.total:
        return tag("p", "The ledger is empty: nothing was met in the sources.")
    parts = [
        _bar(whole),
        table(
            f"All {whole.total:,} items by how they ended.",
            ("Outcome", "In words", _head("Items"), _head("Share")),
            (_outcome(outcome, whole) for outcome in Outcome if whole.outcomes[outcome]),
        ),
        table("Per source, worst first.", _SHARE_HEADS, _sources(found)),
    ]
    if found.worst:
        parts.append(tag("h3", "Containers with unread members"))
        shown = (_share(share, at(share.source, share.path)) for share in found.worst)
        parts.append(table("Worst first. Members of containers inside are counted there.", _SHARE_HEADS, shown))
        parts.append(left_out(found.affected - len(found.worst), "containers", "items"))
    if whole.unread:
        parts.append(tag("h3", "What could not be read"))
        unread = (outcome for outcome in Outcome if outcome not in LOOKED_AT and whole.outcomes[outcome])
        advice = ((tag("span", str(o), class_="unread"), count(whole.outcomes[o]), ADVICE[o]) for o in unread)
        parts.append(table("What would let more be read.", ("Outcome", _head("Items"), "What to do"), advice))
        shown = ((at(source, path), outcome, detail) for source, path, outcome, detail in unread_items(case, UNREAD))
        parts.append(table("In the order of the sources.", ("Item", "Outcome", "Reason"), shown))
        parts.append(left_out(whole.unread - UNREAD, "items", "items"))
    return join(parts)


def incidents(case: Case) -> Html:
    """The first incidents, and how many there are of each kind."""
    at = _naming(case)
    kinds = Counter(case.select("SELECT code, stage FROM incidents"))
    if not kinds:
        return tag("p", "None.")
    ranked = sorted(kinds.items(), key=lambda entry: (-entry[1], entry[0]))
    first = (
        (at(str(row["source"]), str(row["path"])), row["code"], row["stage"], row["message"])
        for row in islice(rows(case, "incidents"), INCIDENTS)
    )
    return join(
        [
            table("By kind.", ("Code", "Stage", _head("Number")), ((*kind, count(number)) for kind, number in ranked)),
            table("One by one.", ("Item", "Code", "Stage", "Message"), first),
            left_out(kinds.total() - INCIDENTS, "incidents", "incidents"),
        ]
    )


def sources(case: Case) -> Html:
    """The files on disk with their SHA-256."""
    at, total = _naming(case), case.count("files")
    lines = (
        (
            at(str(row["source"]), str(row["path"])),
            size(row["bytes"]) if isinstance(row["bytes"], int) else "",
            tag("code", row["sha256"] or "not read to its end"),
        )
        for row in source_files(case, SOURCES)
    )
    shown = table(f"{plural(total, 'file')} on disk.", ("File", _head("Size"), "SHA-256"), lines)
    return join([shown, left_out(total - SOURCES, "files", "run")])


def facts_table(pairs: Iterable[tuple[object, object]]) -> Html:
    """A table of names and values; a nested value is written as one line per part."""
    return tag("div", tag("table", tag("tbody", *(_fact(name, value) for name, value in pairs))), class_="wide record")


def flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested JSON, with dotted names."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from flat(part, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def left_out(number: int, what: str, export: str) -> Html:
    """A line on what a bounded list does not show; nothing where it shows all."""
    if number <= 0:
        return Html("")
    return tag(
        "p",
        f"{number:,} more {what} are not shown here. All of them: ",
        tag("code", f"leakmatch export CASE {export}"),
        ".",
    )


def chip(decision: Decision) -> Html:
    """A decision, set off."""
    return tag("span", str(decision), class_=f"chip {decision}")


_SHARE_HEADS: Final = ("Where", Number("Items"), Number("Read"), Number("Not read in full"), "Of these")


def _fact(name: object, value: object) -> Html:
    shown = join(tag("span", part, class_="more") for part in value) if isinstance(value, list) else value
    words = {None: "not told", True: "yes", False: "no"}
    return tag(
        "tr",
        tag("th", name, scope="row"),
        tag("td", words.get(shown, shown) if shown is None or isinstance(shown, bool) else shown),
    )


def _bar(whole: Share) -> Html:
    groups = (
        ("pictures looked at", "good", (Outcome.DONE, Outcome.NO_FACE, Outcome.DUPLICATE)),
        ("containers and other files", "plain", (Outcome.WALKED, Outcome.NOT_IMAGE)),
        ("not read in full", "bad", tuple(set(Outcome) - LOOKED_AT)),
    )
    x, pieces, keys = 0.0, [], []
    for name, look, outcomes in groups:
        number = sum(whole.outcomes[outcome] for outcome in outcomes)
        width = 1000 * number / whole.total
        if number:
            width = max(width, 4)  # one unread item in a million must still be seen
            pieces.append(tag("rect", x=f"{x:.1f}", y=0, width=f"{width:.1f}", height=16, class_=look))
        x += width
        square = tag("svg", tag("rect", width=12, height=12, class_=look), viewBox="0 0 12 12", aria_hidden="true")
        keys.append(tag("li", square, f"{name}: {number:,}"))
    bar = tag("svg", *pieces, class_="bar", viewBox=f"0 0 {x:.1f} 16", preserveAspectRatio="none", aria_hidden="true")
    return join([bar, tag("ul", *keys, class_="key")])


def _outcome(outcome: Outcome, whole: Share) -> tuple[object, ...]:
    number = whole.outcomes[outcome]
    name = tag("span", str(outcome), class_=None if outcome in LOOKED_AT else "unread")
    return name, IN_WORDS[outcome], count(number), Number(f"{number / whole.total:.2%}")


def _sources(found: Coverage) -> Iterator[tuple[object, ...]]:
    for share in found.sources:
        yield _share(share, tag("code", share.source))
    if len(found.sources) > 1:
        yield _share(found.whole, tag("strong", "All sources"))


def _share(share: Share, name: Html) -> tuple[object, ...]:
    unread = ", ".join(
        f"{share.outcomes[outcome]:,} {outcome}"
        for outcome in Outcome
        if outcome not in LOOKED_AT and share.outcomes[outcome]
    )
    return name, count(share.total), count(share.total - share.unread), count(share.unread), unread


def _head(words: str) -> Number:
    return Number(words)


def _naming(case: Case) -> _At:
    """How a place is written: its path, after the last part of the source's name where there are several sources."""
    sources = [printable(str(source)) for source in case.run.get("sources", ())]
    short = [source.rstrip("/").rpartition("/")[2] for source in sources]
    names = dict(zip(sources, short if len(set(short)) == len(set(sources)) else sources, strict=True))

    def at(source: str, path: str) -> Html:
        name = names.get(source, source)
        if len(names) < 2 or name == path:
            return tag("code", path)
        return join([tag("span", name, class_="in"), " ", tag("code", path)])

    return at


def _evidence(kind: Evidence) -> str:
    return {Evidence.SAME_FILE: "same file", Evidence.SAME_PICTURE: "same picture", Evidence.SAME_FACE: "same face"}[
        kind
    ]


def _score(value: float | None) -> Number:
    return Number("–" if value is None else f"{value:.4f}")


def _real(value: object) -> float | None:
    return value if isinstance(value, float) else None
