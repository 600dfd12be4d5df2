"""Slices: a user's labels, ranges of numbers, and the figures of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmatch.errors import UsageError
from leakmatch.evaluation.figures import Proportion
from leakmatch.evaluation.photos import Face, Photo
from leakmatch.evaluation.slices import FEWEST, Dimension, Labels, labelled, measured, ranges, read_labels, sliced
from leakmatch.records import Outcome


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_of_a_photo_or_of_its_subject(tmp_path: Path) -> None:
    by_subject = read_labels(table(tmp_path, "subject_id,sex,Age\nanna,F,30\nbert,M,\n"))
    assert by_subject.dimensions == ("sex", "Age")
    assert by_subject.of("sex", "anna/1.jpg", "anna") == "F"
    assert by_subject.of("Age", "bert/1.jpg", "bert") == by_subject.of("sex", "x", "cleo") == "unknown"
    by_path = read_labels(table(tmp_path, "pose;path\nleft;./anna/1.jpg\n"))
    assert by_path.of("pose", "anna/1.jpg", "anna") == "left"
    assert by_path.of("pose", str(tmp_path / "anna" / "1.jpg"), "anna") == "left"
    assert by_path.of("pose", "anna/2.jpg", "anna") == "unknown"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,sex\nanna,F\n", "needs the column path or subject_id"),
        ("subject_id\nanna\n", "and one more"),
        ("subject_id,sex\nanna,F\nanna,M\n", "line 3: subject_id anna has a row already"),
        ("subject_id,sex\n,F\n", "line 2: subject_id is empty"),
        ("", "needs the column"),
    ],
)
def test_a_wrong_table_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        read_labels(table(tmp_path, text))


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"path,sex\n\xff,b\n")
    with pytest.raises(UsageError, match="not a CSV file in UTF-8"):
        read_labels(tmp_path / "labels.csv")
    with pytest.raises(UsageError, match="No such file"):
        read_labels(tmp_path / "missing.csv")


def test_few_numbers_stay_themselves_and_many_are_cut_into_quarters() -> None:
    few = ranges("quality", [75, 90, None], [75.4], digits=0, otherwise="not a JPEG")
    assert few.values == ("75", "90", "not a JPEG")
    assert (few.mated, few.non_mated) == (["75", "90", "not a JPEG"], ["75"])
    many = ranges("size", list(range(100)), [], digits=1)
    assert many.values == ("0.0 to 24.8", "24.8 to 49.5", "49.5 to 74.2", "74.2 and more")
    assert [many.mated.count(value) for value in many.values] == [25, 25, 25, 25]
    assert ranges("size", [], [], digits=1).values == ()


@given(st.lists(st.one_of(st.none(), st.floats(-50, 50)), max_size=40), st.integers(0, 2))
def test_every_number_has_one_range_that_holds_it(numbers: list[float | None], digits: int) -> None:
    found = ranges("x", numbers, [], digits=digits)
    assert set(found.mated) <= set(found.values)
    assert len(set(found.values)) == len(found.values)
    for number, value in zip(numbers, found.mated, strict=True):
        words = value.split()
        if number is None:
            assert value == "unknown"
        elif len(words) == 3 and words[1] == "to":
            assert float(words[0]) <= round(number, digits) < float(words[2])
        else:
            assert float(words[0]) <= round(number, digits)


def test_ages_are_cut_and_words_are_not() -> None:
    people = [(f"{n}.jpg", f"{n}") for n in range(20)]
    labels = Labels(("age", "sex"), by_subject={str(n): {"age": str(20 + n), "sex": "FM"[n % 2]} for n in range(19)})
    age, sex = labelled(labels, people, people[:2])
    assert age.values == ("20 to 23", "23 to 28", "28 to 33", "33 and more", "unknown")
    assert sex.values == ("F", "M", "unknown")
    assert sex.non_mated == ["F", "M"]


def test_what_is_measured_of_a_probe() -> None:
    face = Face(np.zeros(3, np.float32), None, 41.26, 0.2)
    photos = [Photo("a", Outcome.DONE, face=face, jpeg_quality=75), Photo("b", Outcome.NO_FACE)]
    found = measured(photos, [])
    assert [(d.name, d.mated) for d in found] == [
        ("eye distance, px", ["41.3", "no face"]),
        ("sharpness", ["0.200", "no face"]),
        ("JPEG quality", ["75", "not a JPEG"]),
    ]


def test_a_slice_counts_its_searches_and_rates_those_that_are_enough() -> None:
    dimension = Dimension("sex", ("F", "M"), ["F"] * 20 + ["M"] * (FEWEST - 1), ["M"] * 40)
    missed = np.arange(29) < 5
    women, men = sliced([dimension], np.ones(29), np.ones(40), {0.01: missed}, {0.01: np.arange(40) < 2})
    assert (women.value, women.mated, women.non_mated, dict(women.fpir)) == ("F", 20, 0, {})
    assert women.fnir[0.01].rate == 0.25
    assert women.to_json()["fnir"] == [{"at_fpir": 0.01, "rate": 0.25, "interval_95": Proportion(5, 20).interval()}]
    assert (men.mated, men.non_mated, dict(men.fnir)) == (FEWEST - 1, 40, {})
    assert men.fpir[0.01].rate == 0.05


def test_in_a_slice_too_every_subject_weighs_alike() -> None:
    dimension = Dimension("x", ("a",), ["a"] * 12, [])
    weights = np.array([0.1] * 10 + [1.0, 1.0])
    (one,) = sliced([dimension], weights, np.zeros(0), {0.1: np.arange(12) < 10}, {0.1: np.zeros(0, np.bool_)})
    assert one.fnir[0.1].rate == pytest.approx(1 / 3)
    assert one.fnir[0.1].subjects == pytest.approx(3)
