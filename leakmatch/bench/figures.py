"""What a benchmark found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, and the limit that it cannot pass, if one was measured beside it."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
