"""What a case says where faces were compared approximately."""

from __future__ import annotations

import copy

import pytest

from leakmatch.case.approximate import in_words, was_used
from leakmatch.case.batch import Batch
from leakmatch.case.report import report
from leakmatch.case.store import Case
from leakmatch.case.tables import rows

MEASURED = {
    "threshold": 0.64,
    "visited": 12,
    "share": 0.0141,
    "pairs": 20000,
    "found": 19995,
    "recall": 0.99975,
    "at_least": 0.999474,
    "own_pairs": 412,
    "own_found": 412,
    "pays": True,
}
RECORD = {
    "index": "IVF2048,SQfp16",
    "lists": 2048,
    "searches": 1234,
    "exact_searches": 50,
    "start": 1000000,
    "recall": 0.99975,
    "at_least": 0.999474,
    "build_seconds": 30.5,
    "measured": [MEASURED | {"threshold": 0.5, "share": 0.3, "pays": False}, MEASURED],
}


def written(path, record):
    with Case.resume(path) as case:
        batch = Batch()
        batch.approximate = record
        case.write(batch)
    return path


def test_an_exact_case_says_nothing_of_it(case):
    assert case.approximate is None
    assert next(rows(case, "run"))["approximate"] is None
    assert "approximately" not in report(case)


def test_the_run_and_the_report_say_what_was_measured(sample):
    written(sample, RECORD)
    with Case.open(sample) as case:
        case.verify()
        assert next(rows(case, "run"))["approximate"] == RECORD
        page = report(case)
    assert "Faces were compared approximately." in page
    for words in in_words(RECORD):
        assert words in page, "cut, or not there"
    text = " ".join(in_words(RECORD))
    for figure in (
        "1,234 faces",
        "the 12 of 2,048 lists",
        "1.4%",
        "0.64",
        "19,995 of 20,000",
        "99.95 %",
        "50 other faces were",
    ):
        assert figure in text


def test_where_it_did_not_pay_the_report_says_that_all_was_compared(sample):
    record = copy.deepcopy(RECORD) | {"searches": 0, "index": None, "measured": RECORD["measured"][:1]}
    written(sample, record)
    with Case.open(sample) as case:
        page = report(case)
    assert "Faces were compared approximately." not in page
    assert "compared with at least 30.0% of the gallery" in page
    assert not was_used(record)


def test_before_it_is_tried_the_words_say_when(sample):
    assert "only after 1,000,000 comparisons" in in_words(RECORD | {"searches": 0, "measured": []})[0]


@pytest.mark.parametrize("record", [None, {}])
def test_no_record_is_no_use(record):
    assert not was_used(record)


def test_the_record_is_kept_in_the_transaction_of_its_batch(sample):
    written(sample, RECORD)
    later = RECORD | {"searches": 2000}
    written(sample, later)
    written(sample, None)
    with Case.open(sample) as case:
        assert case.approximate == later
        case.verify()
