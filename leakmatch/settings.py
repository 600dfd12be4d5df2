"""Knobs and budgets: defaults, overridden by a TOML file, by the environment, by the command line.

The file is ``$LEAKMATCH_CONFIG``, else ``leakmatch.toml`` in :func:`home` if it is there::

    workers = 2
    expected_false = 1.0
    [budget]
    pixels = 100000000

The environment uses the same names in capitals: ``LEAKMATCH_WORKERS``, ``LEAKMATCH_BUDGET_PIXELS``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from leakmatch.errors import UsageError, os_error
from leakmatch.offered import offered, offered_at_first
from leakmatch.records import Budget

DEFAULT_PACK = "opencv-zoo"
AUTO = "auto"
#: What an analyser takes: 190 MB on onnxruntime and 260 MB on OpenVINO with small photos, 120 MB more with one of 12
#: megapixels (measured). What a picture may take at the most is bounded by the budget, and too rare to plan for.
WORKER_BYTES = 400 << 20
#: Libraries that can run the models; ``auto`` is the fastest of those installed.
ENGINES = (AUTO, "onnxruntime", "openvino")

#: Comparisons (faces times templates) that are made exactly before an approximate index is made: to make it takes about
#: as long as these, so that a search or a small scan never pays for one.
APPROXIMATE_FROM = 50_000_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is told. ``workers`` 0 means one for each core that this process may use, as far as memory carries.

    ``engine`` is one of :data:`ENGINES`.
    ``expected_false`` is the number of false candidates the user accepts in a whole scan; ``threshold`` a raw
    score instead. ``isolation`` false parses input in this process (for platforms without it).
    ``passwords`` is a file of passwords for locked archives, one on each line. ``scratch`` is the folder in which the
    scratch space of a run is made, empty for the system's folder for temporary files.
    ``approximate`` lets a search miss one in a thousand candidates where that is faster; ``approximate_from`` is the
    number of comparisons after which it is tried (docs/approximate.md).
    """

    pack: str = DEFAULT_PACK
    engine: str = AUTO
    workers: int = 0
    expected_false: float = 1.0
    threshold: float | None = None
    isolation: bool = True
    passwords: str = ""
    scratch: str = ""
    approximate: bool = False
    approximate_from: int = APPROXIMATE_FROM
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"engine: {self.engine!r} is not one of {', '.join(ENGINES)}.")
        if not 0 <= self.workers <= 1024:
            raise UsageError(f"workers: {self.workers} is not between 0 (automatic) and 1024.")
        if not 0 < self.expected_false < float("inf"):
            raise UsageError(f"expected_false: {self.expected_false} is not a positive number.")
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise UsageError(f"threshold: {self.threshold} is not a cosine between -1 and 1.")
        if self.approximate_from < 1:
            raise UsageError(f"approximate_from: {self.approximate_from} is not a number of comparisons, 1 or more.")
        for entry in fields(self.budget):
            if getattr(self.budget, entry.name) <= 0:
                raise UsageError(f"budget.{entry.name}: must be more than 0.")

    @property
    def worker_count(self) -> int:
        """The number of workers to start: as told, else one for each core as far as memory carries."""
        return self.workers or offered_at_first().workers(WORKER_BYTES)


def usable_cores() -> int:
    """The cores this process can keep busy: by affinity, and by the quota of its control groups."""
    return offered().cores


def home() -> Path:
    """The model store: ``LEAKMATCH_HOME``, else the platform's folder for user data."""
    told = os.environ.get("LEAKMATCH_HOME")
    if told:
        return Path(told)
    import platformdirs  # costs start-up time, and is not needed where LEAKMATCH_HOME is set

    return platformdirs.user_data_path("leakmatch", appauthor=False)


def load(overrides: Mapping[str, object] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from every layer. ``overrides`` come from the command line; values of ``None`` are not set.

    Raises :class:`UsageError` for an unknown name or a value of the wrong type, naming where it was set.
    """
    settings = Settings()
    told = environ.get("LEAKMATCH_CONFIG")
    file = Path(told) if told else home() / "leakmatch.toml"
    if told or file.is_file():
        settings = _apply(settings, _read_toml(file), str(file))
    settings = _apply(settings, _from_environment(environ), "the environment")
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    return _apply(settings, given, "the command line")


def _read_toml(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise os_error(error, file) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not a TOML file ({error}).") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    budget: dict[str, object] = {}
    for entry in fields(Settings):
        if entry.name != "budget" and (text := environ.get(f"LEAKMATCH_{entry.name.upper()}")):
            found[entry.name] = text
    for entry in fields(Budget):
        if text := environ.get(f"LEAKMATCH_BUDGET_{entry.name.upper()}"):
            budget[entry.name] = text
    if budget:
        found["budget"] = budget
    return found


def _apply(settings: Settings, layer: Mapping[str, object], where: str) -> Settings:
    values: dict[str, Any] = {}
    for name, value in layer.items():
        if name == "budget" and isinstance(value, Mapping):
            values[name] = replace(settings.budget, **_typed(settings.budget, value, f"{where}, budget"))
        else:
            values |= _typed(settings, {name: value}, where)
    return replace(settings, **values)


def _typed(target: Settings | Budget, layer: Mapping[str, object], where: str) -> dict[str, Any]:
    known = {entry.name for entry in fields(target)} - {"budget"}
    values: dict[str, Any] = {}
    for name, value in layer.items():
        if name not in known:
            raise UsageError(f"{where}: there is no setting {name!r}; known: {', '.join(sorted(known))}.")
        wanted = float if name == "threshold" else type(getattr(target, name))
        try:
            values[name] = _convert(value, wanted)
        except ValueError as error:
            raise UsageError(f"{where}: {name} = {value!r} is not {_WANTED[wanted]}.") from error
    return values


_WANTED: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _convert(value: object, wanted: type) -> Any:
    if wanted is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in {"1", "true", "yes", "on"}:
            return True
        if str(value).lower() in {"0", "false", "no", "off"}:
            return False
        raise ValueError(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    if wanted is int and isinstance(value, float):
        raise ValueError(value)
    return wanted(value)
