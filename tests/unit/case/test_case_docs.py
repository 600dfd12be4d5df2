"""docs/ledger.md names every field, outcome and incident code there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leakmatch.case.columns import COLUMNS
from leakmatch.records import INCIDENT_CODES, LOOKED_AT, Outcome

TEXT = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text(encoding="utf-8")


def first_cells(title):
    """The names in code in the first column of the tables below a heading."""
    section = re.split(r"^#+ ", TEXT.partition(f"# {title}")[2], flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| (.*?) \|", section, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}


@pytest.mark.parametrize("what", COLUMNS)
def test_every_field_is_explained(what):
    heading = {"items": "`items`: the ledger"}.get(what, f"`{what}`")
    placed = what not in ("subjects", "run")
    explained = first_cells(heading) | (
        first_cells("Fields of every table but `subjects` and `run`") if placed else set()
    )
    assert set(COLUMNS[what]) <= explained


def test_every_outcome_is_explained_and_rightly_counted():
    assert first_cells("Outcomes") == set(map(str, Outcome))
    looked_at = set(re.findall(r"^\| `([\w-]+)` \|.*\| yes \|$", TEXT, flags=re.MULTILINE))
    assert looked_at == set(map(str, LOOKED_AT))


def test_every_incident_code_is_explained():
    assert first_cells("`incidents`") >= INCIDENT_CODES
