"""Writing the rows of a case: JSON lines, CSV or Parquet, to a stream or in place of a file."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Final

from leakmatch.case.columns import Columns, Kind, Record
from leakmatch.case.frames import flattened, write_parquet
from leakmatch.errors import UsageError, os_error
from leakmatch.files import replacing
from leakmatch.locator import is_printable, printable

# A spreadsheet takes a cell that begins so for a formula, and runs it (owasp.org/www-community/attacks/CSV_Injection).
# Some take the full-width forms as well, and some split a line at semicolons whatever it was written with.
_STARTS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = re.compile(rf"\s*[{_STARTS}]|[\t\r]")
_FORMULA_WITHIN: Final = re.compile(rf";(?=\s*\"?\s*[{_STARTS}])")


def write(rows: Iterable[Record], columns: Columns, format: str, target: Path | IO[bytes]) -> None:
    """Write ``rows`` as ``format`` (a key of ``FORMATS``) to a binary stream or a file.

    A file appears with all of its rows or not at all. No rows give an empty file, for CSV and Parquet one with its
    columns. Raises :class:`UsageError` (unknown format, no such folder), :class:`MissingExtra` (Parquet without
    pyarrow), :class:`StorageError` (disk full), and ``BrokenPipeError`` where a reader of the stream went away.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}. There are: {', '.join(FORMATS)}.")
    if isinstance(target, Path):
        with replacing(target) as stream:
            FORMATS[format](rows, columns, stream)
        return
    try:
        FORMATS[format](rows, columns, target)
        target.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise os_error(error, "standard output") from error


def _write_jsonl(rows: Iterable[Record], columns: Columns, stream: IO[bytes]) -> None:
    for row in rows:
        stream.write(_inert(json.dumps(row, ensure_ascii=False, allow_nan=False)).encode() + b"\n")


def _inert(line: str) -> str:
    """JSON with escapes for what would act on a terminal or end a line; all of it lies within strings."""
    if line.isascii() and line.isprintable():
        return line
    return "".join(c if is_printable(c) else json.dumps(c)[1:-1] if c != "\x7f" else "\\u007f" for c in line)


def _write_csv(rows: Iterable[Record], columns: Columns, stream: IO[bytes]) -> None:
    writer = csv.writer(codecs.getwriter("utf-8")(stream, "backslashreplace"))
    writer.writerow(columns)
    for row in rows:
        flat = flattened(row, columns)
        writer.writerow([_cell(flat[name], kind) for name, kind in columns.items()])


def _cell(value: object, kind: Kind) -> object:
    if kind is Kind.TEXT and isinstance(value, str):
        text = _FORMULA_WITHIN.sub(";'", printable(value))
        return f"'{text}" if _FORMULA.match(value) else text
    if kind is Kind.FLAG:
        return "" if value is None else str(value).lower()
    return json.dumps(value) if isinstance(value, list) else value


FORMATS: Final[Mapping[str, Callable[[Iterable[Record], Columns, IO[bytes]], None]]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": write_parquet,
}
