"""Doubts about a gallery in words: in full for ``gallery doubts``, in a paragraph for ``enroll``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from leakmatch.locator import printable
from leakmatch.pipeline.doubts import EXPECTED_PAIRS, Alike, Doubts, Misfit

_NAMED: Final = 3  # of each kind, in a paragraph
_WIDTH: Final = 100
_UNBROKEN: Final = "\0"  # a space within a command, which is not broken over two lines


def in_full(doubts: Doubts, gallery: Path) -> Iterator[str]:
    """Lines: every doubt with its figures, and what to do."""
    if doubts.alike:
        yield f"{_count(doubts.alike_found, 'pair')} of subjects look like one person:"
        yield f"  {'score':>7} {'expected by chance':>19}"
        for pair in doubts.alike:
            yield f"  {pair.score:>7.4f} {_figure(pair.expected):>19}  {_pair(pair)}"
            if pair.shared:
                yield f"{'':>31}{pair.shared}: {', '.join(map(printable, pair.photos))}"
        yield from _more(doubts.alike_found, len(doubts.alike))
        yield from _paragraph(
            "Expected by chance: how many pairs of different people would be as much alike in a gallery of this size. "
            f"Listed are those up to {EXPECTED_PAIRS:g}, and those with a picture in common."
        )
        yield from _paragraph(
            "What to do: look at the photos of both. One person twice: remove one of them "
            f"({_command('remove', gallery)}) and enrol those photos under the other. A photo in the wrong folder: "
            "remove it from the subject it does not show (add --enrolment ID, which `gallery show` has). Two people "
            "who are alike, such as twins: leave them, and expect each to be found where the other is."
        )
    if doubts.misfits:
        yield f"{_count(doubts.misfits_found, 'subject')} with photos that look like two people:"
        yield f"  {'score':>7} {'strangers as alike':>19}"
        for misfit in doubts.misfits:
            yield f"  {misfit.score:>7.4f} {f'{misfit.strangers:.1%}':>19}  {_misfit(misfit)}"
        yield from _more(doubts.misfits_found, len(doubts.misfits))
        yield from _paragraph(
            "Strangers as alike: the share of pairs of two different people whose score is as high. What to do: look "
            "at the photos named. Another person's, or a face that was wrongly taken from a group: remove them "
            f"({_command('remove', gallery)} --enrolment ID). The same person, but turned, small or blurred "
            f"({_command('show', gallery)} says so, and has the ids): better photos find more."
        )


def summary(doubts: Doubts) -> str:
    """How much was compared and found."""
    return (
        f"{doubts.people:,} subjects with {doubts.photos:,} photos: {_count(doubts.alike_found, 'pair')} of subjects "
        f"like one person, {_count(doubts.misfits_found, 'subject')} like two.\n"
    )


def in_brief(doubts: Doubts, gallery: Path) -> str:
    """One paragraph, empty where there is no doubt."""
    parts = []
    if doubts.alike:
        parts.append(
            f"{_count(doubts.alike_found, 'pair')} of subjects look like one person "
            f"({_first([_pair(pair) for pair in doubts.alike], doubts.alike_found)})"
        )
    if doubts.misfits:
        named = _first([printable(misfit.subject) for misfit in doubts.misfits], doubts.misfits_found)
        joined = "and " if parts else ""
        parts.append(f"{joined}the photos of {_count(doubts.misfits_found, 'subject')} look like two people ({named})")
    if not parts:
        return ""
    to_see = f"leakmatch gallery doubts {printable(str(gallery))}"
    return f"WARNING: {', '.join(parts)}. Such mistakes cost matches. See: {to_see}\n"


def _paragraph(text: str) -> Iterator[str]:
    lines = textwrap.wrap(
        text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
    yield from (line.replace(_UNBROKEN, " ") for line in lines)


def _command(verb: str, gallery: Path) -> str:
    return f"leakmatch gallery {verb} {printable(str(gallery))} SUBJECT".replace(" ", _UNBROKEN)


def _pair(pair: Alike) -> str:
    return " and ".join(map(printable, pair.subjects))


def _misfit(misfit: Misfit) -> str:
    photos, subject = ", ".join(map(printable, misfit.photos)), printable(misfit.subject)
    if not misfit.others:
        return f"{subject}: these do not fit each other: {photos}"
    verb = "does" if len(misfit.photos) == 1 else "do"
    return f"{subject}: {photos} {verb} not fit the other {_count(misfit.others, 'photo')}"


def _more(found: int, told: int) -> Iterator[str]:
    if found > told:
        yield f"  and {found - told:,} more"


def _first(named: list[str], found: int) -> str:
    more = f"; {found - _NAMED:,} more" if found > _NAMED else ""
    return "; ".join(named[:_NAMED]) + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _figure(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-6 else "less than 1e-6"
