"""What is said on a terminal of doubts and of a gallery's own calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from galleries import gallery_of, pack, people

from leakmatch.cli.calibration_table import summary, table
from leakmatch.cli.doubts_text import in_brief, in_full
from leakmatch.matching.calibration import Calibration
from leakmatch.pipeline.calibrate import make_own
from leakmatch.pipeline.doubts import Alike, Doubts, Misfit

GALLERY = Path("school.gallery")


def doubts(alike: int = 0, misfits: int = 0) -> Doubts:
    pairs = tuple(Alike((f"a{i}", f"b{i}\u202e"), 0.9 - i / 100, 10.0 ** (i - 8)) for i in range(alike))
    unfit = tuple(Misfit(f"c{i}", (f"c{i}/1.jpg",), 3, 0.1, 0.125) for i in range(misfits))
    return Doubts(1000, 2000, pairs, alike, unfit, misfits, (0.5, 0.2))


def test_no_doubt_is_no_word() -> None:
    assert in_brief(doubts(), GALLERY) == ""
    assert list(in_full(doubts(), GALLERY)) == []


def test_in_brief_the_first_few_are_named_and_the_command() -> None:
    text = in_brief(doubts(1, 5), GALLERY)
    assert text == (
        "WARNING: 1 pair of subjects look like one person (a0 and b0\\u202e), and the photos of 5 subjects look like "
        "two people (c0; c1; c2; 2 more). Such mistakes cost matches. See: leakmatch gallery doubts school.gallery\n"
    )
    assert "WARNING: the photos of 1 subject look like two people (c0)." in in_brief(doubts(0, 1), GALLERY)


def test_in_full_each_has_its_figures_and_there_is_something_to_do() -> None:
    shared = Alike(("x", "y"), 0.95, 0.0, "the same file", ("x/1.jpg", "y/2.jpg"))
    both = Misfit("z", ("z/1.jpg", "z/2.jpg"), 0, 0.1, 0.2)
    found = replace(
        doubts(3, 1), alike=(shared, *doubts(3).alike), alike_found=9, misfits=(both, *doubts(0, 1).misfits)
    )
    lines = list(in_full(found, GALLERY))
    assert lines[0] == "9 pairs of subjects look like one person:"
    assert lines[2].split() == ["0.9500", "less", "than", "1e-6", "x", "and", "y"]
    assert lines[3].strip() == "the same file: x/1.jpg, y/2.jpg"
    assert lines[6].split()[:2] == ["0.8800", "1e-06"]
    assert lines[7] == "  and 5 more"
    text = "\n".join(lines)
    assert "z: these do not fit each other: z/1.jpg, z/2.jpg" in text
    assert "c0: c0/1.jpg does not fit the other 3 photos" in text
    assert "\u202e" not in text
    assert text.count("What to do:") == 2
    assert "leakmatch gallery remove" in text
    assert max(map(len, lines)) <= 100


def test_the_table_has_both_calibrations_and_says_which_is_used(tmp_path: Path) -> None:
    general = Calibration.load(pack().calibration)
    shots = people(np.random.default_rng(0), 120)
    shots[3] = replace(shots[3], content=shots[4].content, vector=shots[4].vector)
    with gallery_of(tmp_path / "a.gallery", shots) as gallery:
        made, alone = make_own(gallery, general), make_own(gallery, None)
    lines = list(table(made))
    assert " ".join(lines[0].split()) == (
        "1 in these people (95 %) the model pack (95 %) used from now on nobody left out"
    )
    for line, row in zip(lines[1:6], made.thresholds(), strict=True):
        figures = [row["own"]["score"], row["pack"]["score"], row["used"], row["with_nobody_left_out"]]
        assert [figure for figure in figures if f"{figure:.4f}" not in line] == []
        assert line.startswith(f"{round(1 / row['fmr']):,} ")
        assert ("*" in line) == (row["own"]["extrapolated"] or row["pack"]["extrapolated"])
    assert lines[6].startswith("* extrapolated")
    assert lines[7] == "left out: p0003 (p0003/4.jpg) and p0004 (p0004/4.jpg): the same file"
    assert "120 photos of 120 people" in "\n".join(summary(made))
    assert "a picture in common were left out (1)" in "\n".join(summary(made))
    assert "-" in list(table(alone))[1].split()
    assert "scans use this one alone" in "\n".join(summary(alone))


def test_people_who_are_no_more_alike_change_nothing(tmp_path: Path) -> None:
    with gallery_of(tmp_path / "a.gallery", people(np.random.default_rng(0), 120)) as gallery:
        made = make_own(gallery, None)
    assert "are not clearly more alike" in "\n".join(summary(replace(made, general=made.own)))
