"""From labelled photos to figures: pictures are real files, faces are colours, and one test uses real models."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from colours import ANNA, BERT, CLEO, DORA, NOBODY, Colours, photo

from leakmatch.cli.app import run
from leakmatch.errors import UsageError
from leakmatch.evaluation.verification import Verification, read_pairs, verify_pairs
from leakmatch.records import Outcome
from leakmatch.settings import Settings

SHARED = Path(__file__).parents[4] / "shared" / "data"

PHOTOS = {
    f"{name}/{number}.png": photo(colour)
    for name, colour in (("anna", ANNA), ("bert", BERT), ("cleo", CLEO), ("dora", DORA))
    for number in (1, 2)
}
ROWS = [(1, name, 1, name, 2) for name in ("anna", "bert", "cleo", "dora")] + [
    (0, "anna", 1, "bert", 1),
    (0, "cleo", 1, "bert", 2),
    (0, "anna", 2, "cleo", 2),
    (0, "dora", 1, "cleo", 1),
]
PAIRS = [(same, f"{a}/{i}.png", f"{b}/{j}.png") for same, a, i, b, j in ROWS]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name, data in PHOTOS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def table(folder: Path, rows: Sequence[Sequence[object]], header: str = "same,a,b") -> Path:
    path = folder / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])
    return path


def verified(pack: Path, images: Path, pairs: Path) -> Verification:
    return verify_pairs(images, pairs, Settings(pack=str(pack), isolation=False))


# --- the table


def test_without_folds_the_pairs_of_each_kind_go_round(tmp_path: Path) -> None:
    rows = [(1, f"a{i}", f"b{i}") for i in range(12)] + [(" 0", "c", "d")] * 11
    pairs = read_pairs(table(tmp_path, rows))
    assert [pair.fold for pair in pairs] == [str(i % 10) for i in range(12)] + [str(i % 10) for i in range(11)]
    assert [pair.same for pair in pairs] == [True] * 12 + [False] * 11


def test_folds_are_taken_as_they_are_named(tmp_path: Path) -> None:
    rows = [("x", 1, "./a", "b"), ("y", 1, "c", "d"), ("x", 0, "a", "d"), ("y", 0, "c", "b\u202e")]
    pairs = read_pairs(table(tmp_path, rows, "fold,same,a,b"))
    assert [(pair.fold, pair.a) for pair in pairs] == [("x", "a"), ("y", "c"), ("x", "a"), ("y", "c")]
    assert pairs[3].b == "b\\u202e"


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("same,left,right", [(1, "a", "b")], "needs the columns same, a and b"),
        ("same,a,b", [(1, "a", "b"), ("yes", "a", "b")], "line 3: same is not 0 or 1"),
        ("same,a,b", [(1, "a")], "line 2: .* a cell is empty"),
        ("fold,same,a,b", [("", 1, "a", "b")], "line 2: .* a cell is empty"),
        ("same,a,b", [(1, "a", "b")] * 3, "both kinds"),
        ("same,a,b", [(1, "a", "b"), (0, "a", "b")], "two folds or more"),
        ("same,a,b", [], "both kinds"),
    ],
)
def test_a_wrong_table_is_refused(header: str, rows: list[tuple[object, ...]], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        read_pairs(table(tmp_path, rows, header))


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(b"same,a,b\n1,\xff,b\n")
    with pytest.raises(UsageError, match="not a CSV file in UTF-8"):
        read_pairs(tmp_path / "pairs.csv")
    with pytest.raises(UsageError, match="No such file"):
        read_pairs(tmp_path / "missing.csv")


# --- the run


def test_only_named_photos_are_looked_at(pack: Path, images: Path, tmp_path: Path) -> None:
    (images / "eve").mkdir()
    (images / "eve" / "1.png").write_bytes(photo(ANNA))
    found = verified(pack, images, table(tmp_path, PAIRS))
    assert (found.same, found.different, found.images, found.failures) == (4, 4, 8, ())
    assert Colours.looked_at == 8
    assert found.accuracy.correct.count == 8
    assert found.equal_error.error == 0
    assert found.complete
    assert set(found.true_match.values()) == {None}


def test_archives_are_named_from_within(pack: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        for name, data in [*PHOTOS.items(), ("eve/1.png", photo(ANNA))]:
            archive.writestr(name, data)
    with tarfile.open(tmp_path / "i.tgz", "w:gz") as tar:
        for name, data in PHOTOS.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    inner = tmp_path / "folder"
    inner.mkdir()
    shutil.copy(tmp_path / "i.zip", inner / "i.zip")
    pairs = table(tmp_path, PAIRS)
    assert verified(pack, tmp_path / "i.zip", pairs).accuracy.correct.count == 8
    assert Colours.looked_at == 8
    assert verified(pack, tmp_path / "i.tgz", pairs).accuracy.correct.count == 8
    nested = table(tmp_path, [(same, f"i.zip!/{a}", f"i.zip!/{b}") for same, a, b in PAIRS])
    assert verified(pack, inner, nested).accuracy.correct.count == 8


def test_the_large_and_central_face_is_the_photos(pack: Path, images: Path, tmp_path: Path) -> None:
    (images / "anna" / "2.png").write_bytes(photo(BERT, ANNA, CLEO))
    assert verified(pack, images, table(tmp_path, PAIRS)).accuracy.correct.count == 8


def test_failures_to_acquire_are_listed_and_counted(pack: Path, images: Path, tmp_path: Path) -> None:
    (images / "anna" / "2.png").write_bytes(photo(NOBODY))
    (images / "bert" / "2.png").write_bytes(b"no picture")
    (images / "cleo" / "2.png").unlink()
    (images / "cleo" / "2.png").symlink_to(images / "cleo" / "1.png")
    (images / "dora" / "2.png").write_bytes(photo(DORA)[:40])
    found = verified(pack, images, table(tmp_path, PAIRS))
    assert [(failure.path, failure.outcome) for failure in found.failures] == [
        ("anna/2.png", Outcome.NO_FACE),
        ("bert/2.png", Outcome.NOT_IMAGE),
        ("cleo/2.png", Outcome.NOT_IMAGE),
        ("dora/2.png", Outcome.UNREADABLE),
    ]
    assert all(failure.detail for failure in found.failures if failure.path != "bert/2.png")
    assert found.failed_pairs == 6
    assert found.equal_error.missed.count == 4
    assert found.accuracy.correct.count == 4  # the different-pairs
    assert not found.complete


def test_a_pair_that_names_nothing_is_refused(pack: Path, images: Path, tmp_path: Path) -> None:
    rows = [*PAIRS, (1, "zoe/1.png", "yan/1.png")]
    with pytest.raises(UsageError, match=r": 2 of the images .* first is yan/1\.png\. A path .* like this: anna/1.png"):
        verified(pack, images, table(tmp_path, rows))
    assert Colours.looked_at == 0
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        for name, data in PHOTOS.items():
            archive.writestr(f"set/{name}", data)
    with pytest.raises(UsageError, match=r": 8 of the images .* like this: set/anna/1\.png"):
        verified(pack, tmp_path / "i.zip", table(tmp_path, PAIRS))


def test_an_archive_that_cannot_be_read_is_said_to_be(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "i.rar").write_bytes(b"Rar!\x1a\x07\x01\0" + bytes(100))
    with pytest.raises(
        UsageError, match=r"No picture was found in it\. It could not be read to its end: it is damaged"
    ):
        verified(pack, tmp_path / "i.rar", table(tmp_path, PAIRS))


# --- the command


def test_the_command_from_photos_to_figures(
    pack: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "anna" / "2.png").write_bytes(photo(NOBODY))
    pairs = table(tmp_path, PAIRS)
    command = ["evaluate", "verification", str(images), "--pairs", str(pairs), "--pack", str(pack), "--no-isolation"]
    assert run(command) == 0
    shown = capsys.readouterr()
    assert "7 of 8 pairs decided rightly" in shown.out
    assert "1 of 4 same-pairs not matched" in shown.out
    assert "too few pairs" in shown.out
    assert "no-face  anna/2.png: no face was found" in shown.out
    assert "1 images without a usable face, in 2 pairs" in shown.err
    assert run([*command, "--json", "--plots", str(tmp_path / "plots")]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert shown.err == ""
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == ["roc.png", "roc.svg"]
    assert found["roc"][0] == {"threshold": pytest.approx(1, abs=0.1), "fmr": 0, "tmr": 0}
    assert found["roc"][-1]["fmr"] <= 1
    assert found["pairs"] == {"same": 4, "different": 4, "failed": 2}
    assert found["failures_to_acquire"] == [{"path": "anna/2.png", "outcome": "no-face", "detail": "no face was found"}]
    assert found["accuracy"]["correct"]["count"] == 7
    assert [fold["of"] for fold in found["accuracy"]["folds"]] == [2, 2, 2, 2]
    assert found["equal_error_rate"]["fnmr"]["count"] == 1
    assert {"at_fmr": 0.01, "too_few_pairs": True} in found["true_match_rate"]
    assert found["pack"]["name"] == "opencv-zoo"


def test_what_could_not_be_read_gives_exit_code_3_and_wrong_use_2(
    pack: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = table(tmp_path, PAIRS)
    (images / "anna" / "2.png").write_bytes(PHOTOS["anna/2.png"][:40])
    command = ["evaluate", "verification", str(images), "--pairs", str(pairs), "--pack", str(pack), "--no-isolation"]
    assert run([*command, "--quiet"]) == 3
    assert capsys.readouterr().err == ""
    (images / "anna" / "1.png").unlink()
    assert run(command) == 2
    assert "1 of the images it names are not in" in capsys.readouterr().err


@pytest.mark.models
def test_real_photos_in_worker_processes(pack_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    archive, every = SHARED / "lfw_dev.zip", SHARED / "lfw_dev_pairs.csv"
    if not archive.is_file():
        pytest.skip("../shared/data/lfw_dev.zip is not here")
    with every.open(newline="", encoding="utf-8") as stream:
        rows = [[row["same"], row["a"], row["b"]] for row in csv.DictReader(stream)]
    some = [row for kind in "10" for row in [row for row in rows if row[0] == kind][:8]]
    found = verify_pairs(archive, table(tmp_path, some), Settings(workers=1))
    assert found.failures == ()
    assert found.accuracy.correct.count >= 15
    assert found.equal_error.error <= 1 / 16
