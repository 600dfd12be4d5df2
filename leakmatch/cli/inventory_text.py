"""The inventory in words, for ``leakmatch scan --inventory``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from leakmatch.locator import printable
from leakmatch.pipeline.inventory import Estimate, Place, Survey, Tally
from leakmatch.records import Outcome

SHOWN: Final = 20  # places of each kind of problem
_FORMATS_SHOWN: Final = 8

_PROBLEMS: Final[tuple[tuple[str, str, tuple[Outcome, ...]], ...]] = (
    (
        "Locked",
        "Give passwords with --passwords FILE, one on each line.",
        (Outcome.NEEDS_PASSWORD,),
    ),
    (
        "Parts missing",
        "Put every part of a split archive into the same folder.",
        (Outcome.NEEDS_VOLUME,),
    ),
    (
        "An optional part of LeakMatch is needed",
        "Install what is named behind it, then scan.",
        (Outcome.NEEDS_EXTRA,),
    ),
    (
        "Damaged, or in a form that is not read",
        "",
        (Outcome.UNREADABLE, Outcome.PARTIAL),
    ),
    (
        "Past a limit on size, depth, ratio or time",
        "Such limits protect this machine. They are settings: docs/inventory.md tells how to raise them.",
        (Outcome.OVER_BUDGET,),
    ),
    (
        "Crashed or stopped a worker process",
        "",
        (Outcome.QUARANTINED,),
    ),
)


def in_words(found: Survey) -> Iterator[str]:
    """The lines to print."""
    yield f"{_count(found.files, 'file')} on disk, {size(found.stored)}; in them {_count(found.members, 'member')}" + (
        f", nested up to {found.deepest} deep." if found.deepest > 1 else "."
    )
    yield f"Without the archives themselves that is {size(found.expanded)}."
    yield ""
    yield from _kinds("Pictures", found.pictures)
    yield from _kinds("Archives and other containers", found.containers)
    yield f"Other files: {_tally(found.other)}"
    if found.opened:
        yield f"Opened with a password of the list: {found.opened:,}"
    for title, advice, outcomes in _PROBLEMS:
        yield from _problem(found, title, advice, outcomes)
    yield ""
    if found.estimate is not None:
        yield from _time(found.estimate, sum(tally.items for tally in found.pictures.values()))
    if found.incomplete:
        yield (
            f"As things are, a scan would leave at least {_count(found.incomplete, 'item')} not looked at in full, and "
            "end with exit code 3. What is in a locked or missing part cannot be counted."
        )
    else:
        yield "Nothing was met that a scan could not look at in full."
    yield "Pictures were counted by their first bytes; the scan finds which are damaged and which are copies."


def size(count: int) -> str:
    """A number of bytes for people: ``12.3 MB``."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def duration(seconds: float) -> str:
    """A time for people, two units at most: ``2 h 10 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(minutes / 60) if minutes >= 10 * 60 else minutes / 60
    if isinstance(hours, float):
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours} h" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def _kinds(title: str, tallies: Mapping[str, Tally]) -> Iterator[str]:
    total = Tally()
    for tally in tallies.values():
        total.items += tally.items
        total.bytes += tally.bytes
    most = sorted(tallies.items(), key=lambda pair: (-pair[1].items, pair[0]))
    names = [f"{tally.items:,} {printable(name)}" for name, tally in most[:_FORMATS_SHOWN]]
    if len(most) > _FORMATS_SHOWN:
        names.append(f"{sum(tally.items for _, tally in most[_FORMATS_SHOWN:]):,} of other formats")
    yield f"{title}: {_tally(total)}" + (f" ({', '.join(names)})" if names else "")


def _problem(found: Survey, title: str, advice: str, outcomes: tuple[Outcome, ...]) -> Iterator[str]:
    places = found.worst(*outcomes)
    if not places:
        return
    yield ""
    items = sum(place.tally.items for place in places)
    yield f"{title}: {_count(items, 'item')} in {_count(len(places), 'place')}."
    for place in places[:SHOWN]:
        yield f"  {_place(place, len(found.sources) > 1)}"
    if len(places) > SHOWN:
        yield f"  and {len(places) - SHOWN:,} more (--json lists all)"
    if advice:
        yield f"  {advice}"


def _place(place: Place, several: bool) -> str:
    where = f"{printable(place.source)}: {place.path}" if several and place.source != place.path else place.path
    what = f"{_count(place.tally.items, 'member')}, " if place.item else ""
    return f"{_shortened(where)}: {what}{printable(place.detail)}"


def _shortened(text: str, longest: int = 160) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def _time(estimate: Estimate, pictures: int) -> Iterator[str]:
    yield f"A scan will take about {duration(estimate.seconds)} on this machine. This is an estimate:"
    if estimate.sampled:
        yield (
            f"  {estimate.sampled:,} of {_count(pictures, 'picture')}, spread over all of them, were looked at as a "
            f"scan does; that took {1000 * estimate.each:.0f} ms each, and {_count(estimate.workers, 'worker')} share "
            f"the work. Listing took {duration(estimate.listed)}."
        )
        yield (
            f"  {estimate.with_faces:,} of these {estimate.sampled:,} show faces; at that rate there are about "
            f"{_rounded(estimate.faces):,} faces in all. Copies cost no time; a very large gallery costs more."
        )
    else:
        yield "  there is no picture to look at; listing took as long."


def _rounded(value: int) -> int:
    """To two digits: it is an estimate."""
    digits = len(str(value))
    return round(value, 2 - digits) if digits > 2 else value


def _tally(tally: Tally) -> str:
    return f"{tally.items:,}, {size(tally.bytes)}" if tally.items else "none"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
