"""Reads declared data (TOML) key by key: each value has a type, and an error names the file and the key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from leakmatch.errors import UsageError, os_error


class Table:
    """One table of a TOML file. ``where`` names it in errors.

    The getters raise :class:`UsageError` where the key is missing (and no default was given) or of another type.
    """

    def __init__(self, values: dict[str, object], where: str) -> None:
        self._values = values
        self._where = where

    @classmethod
    def read(cls, file: Path) -> Table:
        """The whole of ``file``. Raises :class:`UsageError` if it cannot be read or is not TOML."""
        try:
            return cls(tomllib.loads(file.read_text(encoding="utf-8")), str(file))
        except OSError as error:
            raise os_error(error, file) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: not a TOML file ({error}).") from error

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """A string that is not empty; ``default`` where it is missing."""
        value = self._get(key, default, "text")
        if not isinstance(value, str) or (not value and value != default):
            raise self.wrong(key, "text")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        value = self.text(key)
        if value not in choices:
            raise self.wrong(key, " or ".join(f'"{choice}"' for choice in choices))
        return value

    def whole(self, key: str, minimum: int = 0) -> int:
        """A whole number of at least ``minimum``."""
        value = self._get(key, None, "a whole number")
        if type(value) is not int or value < minimum:
            raise self.wrong(key, f"a whole number from {minimum} up")
        return value

    def number(self, key: str, low: float = float("-inf"), high: float = float("inf")) -> float:
        """A number from ``low`` to ``high``."""
        value = self._get(key, None, "a number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of positive whole numbers that is not empty."""
        value = self._get(key, None, "a list of whole numbers")
        if not isinstance(value, list) or not value or any(type(v) is not int or v < 1 for v in value):
            raise self.wrong(key, "a list of whole numbers from 1 up")
        return tuple(value)

    def table(self, key: str) -> Table:
        """The table ``[key]``."""
        value = self._get(key, None, "a table")
        if not isinstance(value, dict):
            raise self.wrong(key, "a table")
        return Table(value, f"{self._where} [{key}]")

    def tables(self, key: str) -> Iterator[Table]:
        """Each table of the list ``[[key]]``; none where it is missing."""
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            raise self.wrong(key, "a list of tables")
        for number, row in enumerate(value, start=1):
            yield Table(row, f"{self._where} [[{key}]] {number}")

    def wrong(self, key: str, wanted: str) -> UsageError:
        """The error for a value of ``key`` that is not ``wanted``."""
        return UsageError(f"{self._where}: {key} = {self._values.get(key)!r} is not {wanted}.")

    def _get(self, key: str, default: object, wanted: str) -> object:
        value = self._values.get(key, default)
        if value is None:
            raise UsageError(f"{self._where}: {key} is missing ({wanted}).")
        return value
