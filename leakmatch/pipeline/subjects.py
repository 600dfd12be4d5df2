"""Which photo is whose: what enrolment and evaluation are given.

The subject of a photo is the first part of its path below the source, or is named in a CSV.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leakmatch.errors import UsageError, os_error
from leakmatch.gallery.people import parse_date
from leakmatch.locator import Locator, storable
from leakmatch.pipeline.start import Inventory, take_inventory
from leakmatch.pipeline.tasks import FileTask


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a CSV ``subject_id,path[,name][,expires]``. ``expires``: a day as 2027-01-31; empty: none is given."""

    subject_id: str
    path: Path
    name: str
    expires: str = ""


@dataclass(frozen=True, slots=True)
class Labelled:
    """The files to read, and whose they are. ``subjects``: by number of the file, where a CSV names the subject.
    ``names`` of subjects, and ``expires``, until when to keep them, where a CSV says so. ``missing``: rows of a CSV
    whose file cannot be read, and why."""

    inventory: Inventory
    subjects: Mapping[int, str]
    names: Mapping[str, str]
    expires: Mapping[str, str]
    missing: tuple[tuple[Row, str], ...]

    def tasks(self) -> Iterator[FileTask]:
        """The files that can be read."""
        for number, file in enumerate(self.inventory.files):
            if file.outcome is None:
                yield FileTask(number, file.path, file.locator, file.size)

    def subject(self, task: FileTask, locator: Locator) -> str:
        """The subject of an item: the first folder on the way to it, on disk or in an archive. Empty for none."""
        if task.file in self.subjects:
            return self.subjects[task.file]
        for link in locator.chain():
            folders = [part for part in link.name.split("/")[:-1] if part not in {"", ".", ".."}]
            if folders:
                return storable(folders[0])
        return ""

    def path(self, task: FileTask, locator: Locator) -> str:
        """Where an item is, for the user: its path in an archive, or that of its file on disk."""
        return locator.path if locator.parent else storable(str(self.inventory.files[task.file].path))


def label(sources: Sequence[Path]) -> Labelled:
    """What is below ``sources``: folders or archives with one folder per subject, or CSV files (:func:`read_csv`).

    Raises :class:`UsageError` for a source that is missing or empty, and for a CSV that is none, or that gives a
    subject two dates.
    """
    tables = [source for source in sources if source.suffix.lower() == ".csv" and source.is_file()]
    rows = [row for table in tables for row in read_csv(table)]
    folders = [source for source in sources if source not in tables]
    listed: list[Row] = []
    missing: list[tuple[Row, str]] = []
    for row in rows:
        try:
            take_inventory([row.path])
            listed.append(row)
        except UsageError as error:
            missing.append((row, str(error)))
    inventory = take_inventory([*folders, *(row.path for row in listed)])
    by_source = {len(folders) + i: row.subject_id for i, row in enumerate(listed)}
    subjects = {
        number: by_source[source]
        for number, file in enumerate(inventory.files)
        if (source := next(file.locator.chain()).ordinal) in by_source
    }
    names = {row.subject_id: row.name for row in rows if row.name}
    return Labelled(inventory, subjects, names, _dates(rows), tuple(missing))


def _dates(rows: Sequence[Row]) -> dict[str, str]:
    dates: dict[str, str] = {}
    for row in rows:
        if row.expires and dates.setdefault(row.subject_id, row.expires) != row.expires:
            raise UsageError(
                f"The CSV gives the subject {row.subject_id!r} two dates: {dates[row.subject_id]} and {row.expires}."
            )
    return dates


def read_csv(table: Path) -> list[Row]:
    """Columns ``subject_id,path[,name][,expires]``, by comma or semicolon; paths are relative to the table's folder.

    Raises :class:`UsageError` for a table that cannot be read, lacks a column, or has an empty subject or path, or a
    date that is none.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            head = stream.readline()
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=";" if ";" in head and "," not in head else ",")
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            if not {"subject_id", "path"} <= set(reader.fieldnames or ()):
                raise UsageError(f"{table}: needs the columns subject_id and path (and may have name, expires).")
            rows = []
            for row in reader:
                subject_id, path = (row["subject_id"] or "").strip(), (row["path"] or "").strip()
                if not subject_id or not path:
                    raise UsageError(f"{table}, line {reader.line_num}: subject_id or path is empty.")
                expires = (row.get("expires") or "").strip()
                if expires:
                    _require_date(expires, f"{table}, line {reader.line_num}")
                rows.append(Row(subject_id, table.parent / path, (row.get("name") or "").strip(), expires))
            return rows
    except OSError as error:
        raise os_error(error, table) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: not a CSV file in UTF-8 ({error}).") from error


def _require_date(text: str, where: str) -> None:
    try:
        parse_date(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
