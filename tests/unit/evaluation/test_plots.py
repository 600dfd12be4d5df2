"""Plots: whole files, the same each time, and a clear word where matplotlib is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from leakmatch.errors import MissingExtra, UsageError
from leakmatch.evaluation import plots
from leakmatch.evaluation.figures import NOT_COMPARED, equal_error, fold_accuracy, roc, true_match_rates
from leakmatch.evaluation.identification import Identification, compare
from leakmatch.evaluation.photos import Face, Photo
from leakmatch.evaluation.steps import steps
from leakmatch.evaluation.trial import Protocol, Trial, draw
from leakmatch.evaluation.verification import Verification
from leakmatch.records import Outcome


def identification(strangers: int = 40) -> Identification:
    rng = np.random.default_rng(1)

    def photos(name: str, count: int) -> list[Photo]:
        face = rng.normal(size=8)
        found = []
        for number in range(count):
            plain, mirrored = (face + 0.4 * rng.normal(size=8) for _ in range(2))
            vectors = (np.asarray(v / np.linalg.norm(v), np.float32) for v in (plain, mirrored))
            found.append(Photo(f"{name}/{number}", Outcome.DONE, face=Face(*vectors)))
        return found

    people = {f"p{n}": photos(f"p{n}", 2) for n in range(20)} | {f"s{n}": photos(f"s{n}", 1) for n in range(strangers)}
    people["s0"] = [Photo("s0/0", Outcome.NO_FACE)]
    trial = Trial(*draw(people, Protocol()))
    results = tuple(compare(trial, steps(None, None, several_photos=True), 1))
    return Identification(
        {},
        None,
        False,
        None,
        Protocol(),
        80,
        0,
        20,
        20,
        (),
        trial.searches,
        (),
        (),
        (),
        complete=True,
        steps=results,
        slices=(),
    )


def verification(scores: np.ndarray, same: np.ndarray) -> Verification:
    folds = [str(n % 2) for n in range(len(same) // 2)] * 2
    return Verification(
        {},
        int(same.sum()),
        int((~same).sum()),
        len(same),
        0,
        (),
        0,
        fold_accuracy(scores, same, folds),
        equal_error(scores, same),
        true_match_rates(scores, same),
        roc(scores, same),
    )


def pairs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    scores = np.concatenate([rng.normal(0.6, 0.1, 200), rng.normal(0.1, 0.1, 200)]).round(4)
    return scores, np.arange(400) < 200


def sound(files: list[Path]) -> dict[str, bytes]:
    for file in files:
        if file.suffix == ".svg":
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
            assert b"<dc:date>" not in file.read_bytes()
        else:
            assert file.read_bytes().startswith(b"\x89PNG")
    return {file.name: file.read_bytes() for file in files}


def test_plots_are_the_same_each_time(tmp_path: Path) -> None:
    one, other = identification(), identification()
    first = sound(plots.plot_identification(one, tmp_path / "a" / "b"))
    assert sorted(first) == ["det.png", "det.svg", "scores.png", "scores.svg"]
    assert sound(plots.plot_identification(other, tmp_path / "c")) == first
    curves = [sound(plots.plot_verification(verification(*pairs()), tmp_path / name)) for name in "de"]
    assert curves[0] == curves[1]
    assert sorted(curves[0]) == ["roc.png", "roc.svg"]


@pytest.mark.filterwarnings("error")
def test_sets_without_a_rate_or_a_miss_can_be_drawn(tmp_path: Path) -> None:
    sound(plots.plot_identification(identification(strangers=2), tmp_path))
    apart = np.append(np.full(200, 0.9), np.full(200, 0.1))
    sound(plots.plot_verification(verification(apart, apart > 0.5), tmp_path))
    nothing = np.full(400, NOT_COMPARED)
    sound(plots.plot_verification(verification(nothing, apart > 0.5), tmp_path))


def test_a_missing_extra_and_a_folder_that_is_none_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        plots.plot_verification(verification(*pairs()), tmp_path / "file")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'leakmatch\[plots\]'"):
        plots.require(tmp_path)
