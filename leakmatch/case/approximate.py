"""An approximate comparison of faces in words: what it was, what was measured, what it may have missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leakmatch.case.markup import plural


def was_used(record: Mapping[str, Any] | None) -> bool:
    """Whether any face was compared with a part of the gallery only. ``record``: ``approximate`` of a run."""
    return bool(record and record.get("searches"))


def in_words(record: Mapping[str, Any]) -> list[str]:
    """``approximate`` of a run as sentences for a reader who is no programmer."""
    measured = record.get("measured") or []
    if was_used(record):
        return _used(record, [found for found in measured if found["pays"]])
    allowed = "An approximate comparison of faces was allowed, but every face was compared with every template:"
    if not measured:
        return [f"{allowed} it is tried only after {record['start']:,} comparisons."]
    last = measured[-1]
    return [
        f"{allowed} at scores of {last['threshold']:.2f} and above, a face would have to be compared with at least "
        f"{last['share']:.1%} of the gallery to find 99.9 % of the pairs, and that is no faster."
    ]


def _used(record: Mapping[str, Any], used: list[Mapping[str, Any]]) -> list[str]:
    weakest = min(used, key=lambda found: found["at_least"])
    lists = sorted({found["visited"] for found in used})
    visited = f"{lists[0]:,}" if len(lists) == 1 else f"{lists[0]:,} to {lists[-1]:,}"
    faces = record["searches"]
    words = [
        f"For speed, {plural(faces, 'face')} {_was(faces)} not compared with every template, but with the {visited} of "
        f"{record['lists']:,} lists of like templates that were nearest ({max(f['share'] for f in used):.1%} of the "
        f"gallery; index {record['index']}) and with the templates that are like no others.",
        f"So a few candidates may be missing: in a test at scores of {weakest['threshold']:.2f} and above, "
        f"{weakest['found']:,} of {weakest['pairs']:,} pairs were found ({_percent(weakest['recall'])}), which stands "
        f"for at least {_percent(weakest['at_least'])} with a confidence of 95 %.",
    ]
    if weakest["own_pairs"]:
        words.append(f"Of {weakest['own_pairs']:,} pairs within the gallery, {weakest['own_found']:,} were found.")
    if record["exact_searches"]:
        others = plural(record["exact_searches"], "other face")
        words.append(f"{others} {_was(record['exact_searches'])} compared with every template.")
    return [*words, "The scores of what was found are exact."]


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
