"""What needs an optional package, without it."""

from __future__ import annotations

import subprocess
import sys

import datasets
import documents
import pytest
from archives import PICTURES, picture, walked, zip_of

from leakmatch.records import Outcome

CASES = {
    "pyarrow": (datasets.parquet(PICTURES), "Parquet files", "datasets"),
    "pyarrow.parquet": (datasets.arrow_stream(PICTURES), "Arrow files", "datasets"),
    "h5py": (datasets.hdf5(PICTURES), "HDF5 files", "datasets"),
    "pypdf": (documents.pdf({}), "PDF documents", "documents"),
    "olefile": (documents.ole({"a": b""}), "OLE files (.doc, .xls, .ppt, .msg)", "documents"),
}


@pytest.mark.parametrize("package", CASES)
def test_the_outcome_has_the_line_that_installs_it(package, monkeypatch):
    data, what, extra = CASES[package]
    monkeypatch.setitem(sys.modules, package, None)
    walk = walked(zip_of([(b"first", data), (b"beside.jpg", picture(1))]))
    entry = walk.named(b"first")
    assert entry.outcome is Outcome.NEEDS_EXTRA
    assert entry.detail == f"{what} need an optional part of LeakMatch: pip install 'leakmatch[{extra}]'"
    assert walk.codes_of(entry) == {"extra-missing"}
    assert walk.pictures == [picture(1)]


def test_lmdb_and_the_others_need_none(monkeypatch):
    for package in ("lmdb", *CASES):
        monkeypatch.setitem(sys.modules, package, None)
    for kind in ("lmdb", "sqlite", "recordio", "tfrecord", "tsv", "json", "pickle 4"):
        made = {"lmdb": LMDB}.get(kind) or datasets.WHOLE[kind](PICTURES)
        assert sorted(walked(made).pictures) == sorted(data for _, data in PICTURES)


LMDB = datasets.lmdb(PICTURES)


def test_nothing_optional_is_imported_before_it_is_needed():
    code = (
        "import sys, leakmatch.sources.walk, leakmatch.sources.datasets\n"
        "print([name for name in ('pyarrow', 'h5py', 'pypdf', 'olefile', 'lmdb', 'pickle') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() in ("[]", "['pickle']")  # numpy brings pickle along
