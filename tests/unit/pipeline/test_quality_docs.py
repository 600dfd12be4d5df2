"""Every reason of a low quality is explained where users look."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakmatch.pipeline.enrol import SEVERAL
from leakmatch.records import QualityReason

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", ["tutorial.md", "ledger.md"])
def test_reasons_are_explained(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    reasons = {str(reason) for reason in QualityReason if reason} | ({SEVERAL} if page == "tutorial.md" else set())
    assert {reason for reason in reasons if f"`{reason}`" not in text} == set()
