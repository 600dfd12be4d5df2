"""Writing rows: the three formats hold the same, files appear whole or not at all, spreadsheets run nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.case import frames
from leakmatch.case.columns import COLUMNS, Kind
from leakmatch.case.export import FORMATS, write
from leakmatch.case.tables import rows, table
from leakmatch.errors import StorageError, UsageError
from leakmatch.files import replacing
from leakmatch.locator import printable


def written(case, what, format, **told):
    """The bytes of an export."""
    stream = io.BytesIO()
    write(rows(case, what, **told), COLUMNS[what], format, stream)
    return stream.getvalue()


@pytest.mark.parametrize("what", COLUMNS)
def test_json_lines_hold_the_rows(case, what):
    lines = written(case, what, "jsonl").decode("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == list(rows(case, what))


@pytest.mark.parametrize("what", COLUMNS)
def test_parquet_holds_the_rows_with_their_types(case, what, tmp_path):
    target = tmp_path / "out.parquet"
    write(rows(case, what), COLUMNS[what], "parquet", target)
    found = pyarrow.parquet.read_table(target)
    assert found.to_pylist() == table(case, what).to_arrow().to_pylist()
    if what == "candidates":
        assert str(found.schema.field("box").type) == "list<element: double>"
        assert str(found.schema.field("face").type) == "int64"
        assert found.column("box")[1].as_py() == [10.13, 20.0, 110.13, 140.0]


def test_parquet_is_written_in_row_groups(case, tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "_GROUP", 5)
    write(rows(case, "items"), COLUMNS["items"], "parquet", tmp_path / "g.parquet")
    assert pyarrow.parquet.ParquetFile(tmp_path / "g.parquet").num_row_groups == 3


@pytest.mark.parametrize("what", COLUMNS)
def test_csv_holds_the_rows(case, what):
    text = written(case, what, "csv").decode("utf-8")
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    expected = list(rows(case, what))
    assert len(found) == len(expected)
    for cells, row in zip(found, expected, strict=True):
        assert list(cells) == list(COLUMNS[what])
        for name, kind in COLUMNS[what].items():
            cell, value = cells[name], row[name]
            if value is None:
                assert cell == ""
            elif kind in (Kind.BOX, Kind.POINTS, Kind.NESTED):
                assert json.loads(cell) == value
            elif kind is Kind.FLAG:
                assert cell == str(value).lower()
            elif kind is Kind.TEXT:
                assert cell.removeprefix("'") == value
            else:
                assert float(cell) == value


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False))
def test_no_cell_is_a_formula_and_numbers_stay_numbers(text, number):
    stream = io.BytesIO()
    columns = {"text": Kind.TEXT, "number": Kind.REAL}
    write([{"text": text, "number": number}], columns, "csv", stream)
    _, (cell, figure) = csv.reader(io.StringIO(stream.getvalue().decode("utf-8"), newline=""))
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell in (printable(text), f"'{printable(text)}")
    assert float(figure) == number


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =cmd|'/c calc'!A1"])
def test_a_formula_gets_an_apostrophe(text):
    stream = io.BytesIO()
    write([{"t": text}], {"t": Kind.TEXT}, "csv", stream)
    ((cell,),) = list(csv.reader(io.StringIO(stream.getvalue().decode(), newline="")))[1:]
    assert cell == f"'{printable(text)}"


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_lone_surrogate_is_escaped(format):
    stream = io.BytesIO()
    write([{"t": "a\udcff"}], {"t": Kind.TEXT}, format, stream)
    assert "a\\udcff" in stream.getvalue().decode("utf-8")


@pytest.mark.parametrize("format", FORMATS)
def test_no_rows_are_a_valid_file(format, tmp_path):
    target = tmp_path / "empty"
    write([], COLUMNS["items"], format, target)
    if format == "parquet":
        assert pyarrow.parquet.read_table(target).column_names == list(COLUMNS["items"])
    else:
        expected = ",".join(COLUMNS["items"]) + "\r\n" if format == "csv" else ""
        assert target.read_bytes().decode() == expected


def test_an_unknown_format_is_refused(case):
    with pytest.raises(UsageError, match="jsonl, csv, parquet"):
        write(rows(case, "items"), COLUMNS["items"], "xls", io.BytesIO())


def test_parquet_without_pyarrow_says_what_to_install(case, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'leakmatch\[parquet\]'"):
        write(rows(case, "items"), COLUMNS["items"], "parquet", tmp_path / "out.parquet")
    assert [entry.name for entry in tmp_path.iterdir()] == ["sample.case"]


class TestReplacing:
    """A file appears whole or not at all."""

    def test_a_file_is_replaced(self, tmp_path):
        target = tmp_path / "out"
        target.write_bytes(b"old")
        with replacing(target) as stream:
            stream.write(b"new")
            assert target.read_bytes() == b"old"
        assert target.read_bytes() == b"new"

    @pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
    def test_on_a_failure_nothing_has_changed(self, tmp_path, failure):
        target = tmp_path / "out"
        target.write_bytes(b"old")
        with pytest.raises(failure), replacing(target) as stream:
            stream.write(b"new")
            raise failure
        assert target.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [target]

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "real").write_bytes(b"old")
        (tmp_path / "link").symlink_to("real")
        with replacing(tmp_path / "link") as stream:
            stream.write(b"new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"new"

    def test_a_case_is_never_overwritten(self, sample):
        before = sample.read_bytes()
        with pytest.raises(UsageError, match="not overwritten"), replacing(sample) as stream:
            stream.write(b"gone")
        assert sample.read_bytes() == before

    def test_a_device_is_written_to_as_it_is(self, case):
        with pytest.raises(StorageError):
            write(rows(case, "items"), COLUMNS["items"], "jsonl", Path("/dev/full"))
        write(rows(case, "items"), COLUMNS["items"], "jsonl", Path(os.devnull))
        assert not Path(os.devnull).is_file()

    @pytest.mark.parametrize("where", ["nowhere/out", "."])
    def test_a_place_that_cannot_be_is_a_usage_error(self, tmp_path, where):
        with pytest.raises(UsageError), replacing(tmp_path / where) as stream:
            stream.write(b"x")


def test_a_full_stream_is_a_storage_error(case):
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageError, match="standard output"):
        write(rows(case, "items"), COLUMNS["items"], "jsonl", full)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_reader_that_goes_away_is_told_as_such(case, format):
    read, write_ = os.pipe()
    os.close(read)
    with os.fdopen(write_, "wb", buffering=0) as stream, pytest.raises(BrokenPipeError):
        write(rows(case, "items"), COLUMNS["items"], format, stream)
