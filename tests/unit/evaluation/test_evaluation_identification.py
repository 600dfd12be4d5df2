"""From photos of enrolled people and strangers to figures: pictures are real files, faces are colours."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from colours import ANNA, BERT, CLEO, DORA, NOBODY, Colours, calibration_of, photo
from hypothesis import given
from hypothesis import strategies as st

from leakmatch.assets import sha256_of
from leakmatch.cli.app import run
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.evaluation.figures import NOT_COMPARED
from leakmatch.evaluation.identification import Identification, identify
from leakmatch.evaluation.photos import Face, Photo
from leakmatch.evaluation.steps import BEST_PHOTO, DEFAULT, PLAIN
from leakmatch.evaluation.trial import ALL, Protocol, Subject, Trial, draw
from leakmatch.faces.packs import CALIBRATION, load_pack
from leakmatch.records import Outcome
from leakmatch.settings import Settings

NAMES = ["plain", "mirrored-gallery", "mirrored-both", "normalised", "default"]
PEOPLE = {"anna": ANNA, "bert": BERT, "cleo": CLEO, "dora": DORA}


def shade(colour: tuple[int, int, int], number: int) -> tuple[int, int, int]:
    """Another photo of the same colour: not the same file."""
    return (colour[0] + number, colour[1], colour[2])


PHOTOS = {
    f"{name}/{number}.png": photo(shade(colour, number)) for name, colour in PEOPLE.items() for number in (1, 2, 3)
} | {f"stranger{n}/1.png": photo((60 + n, 60, 60)) for n in range(12)}


def write(folder: Path, photos: Mapping[str, bytes]) -> Path:
    for name, data in photos.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write(tmp_path / "images", PHOTOS)


def identified(
    pack: Path, images: Path, protocol: Protocol | None = None, labels: Path | None = None
) -> Identification:
    return identify(images, Settings(pack=str(pack), isolation=False), protocol, labels)


# --- who is enrolled, and who is searched for


def people(sizes: Mapping[str, int]) -> dict[str, list[Photo]]:
    return {name: [Photo(f"{name}/{n}.jpg", Outcome.DONE) for n in range(size)] for name, size in sizes.items()}


names = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 5), min_size=1)


@given(names, st.integers(0, 4), st.booleans(), st.integers(0, 3), st.sampled_from([0.0, 0.3, 0.9]))
def test_no_photo_is_on_both_sides_and_strangers_are_not_enrolled(
    sizes: dict[str, int], enrol: int, all_probes: bool, seed: int, strangers: float
) -> None:
    mated, non_mated = draw(people(sizes), Protocol(enrol, all_probes, seed, strangers))
    assert sorted(subject.name for subject in (*mated, *non_mated)) == sorted(sizes)
    several = sum(size > 1 for size in sizes.values())
    assert len(mated) == several - round(strangers * several)
    for subject in non_mated:
        assert not subject.gallery
        assert len(subject.probes) == (sizes[subject.name] if all_probes else 1)
    for subject in mated:
        size = sizes[subject.name]
        if enrol == ALL and all_probes:
            assert len(subject.gallery) == len(subject.probes) == size
            continue
        assert not set(subject.gallery) & set(subject.probes)
        assert len(subject.gallery) == (size - 1 if enrol == ALL else min(enrol, size - 1))
        assert len(subject.probes) == (size - len(subject.gallery) if all_probes else 1)


@given(names, st.integers(0, 3))
def test_a_draw_depends_on_the_seed_and_the_subject_alone(sizes: dict[str, int], seed: int) -> None:
    alone = {name: draw(people({name: size}), Protocol(seed=seed)) for name, size in sizes.items()}
    mated, non_mated = draw(dict(reversed(people(sizes).items())), Protocol(seed=seed))
    assert [subject for name in sorted(alone) for subject in alone[name][0]] == mated
    assert [subject for name in sorted(alone) for subject in alone[name][1]] == non_mated


def test_seeds_draw_differently_and_more_enrolled_photos_leave_the_probe() -> None:
    given = people({str(n): 6 for n in range(30)})
    one, three, others = (draw(given, protocol)[0] for protocol in (Protocol(1), Protocol(3), Protocol(1, seed=2)))
    assert [subject.probes for subject in one] == [subject.probes for subject in three]
    assert all(set(a.gallery) < set(b.gallery) for a, b in zip(one, three, strict=True))
    assert sum(a.probes == b.probes for a, b in zip(one, others, strict=True)) < 15


# --- the searches, against one comparison at a time


def random_photo(rng: np.random.Generator, path: str) -> Photo:
    """Sometimes without a face, sometimes one that enrolment refuses."""
    if rng.random() < 0.15:
        return Photo(path, Outcome.NO_FACE, "no face was found", refusal="no-face")
    plain, mirrored = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 4)).astype(np.float32))
    return Photo(path, Outcome.DONE, face=Face(plain, mirrored), refusal="too-blurred" if rng.random() < 0.15 else "")


def own_score(probe: Photo, gallery: tuple[Photo, ...]) -> float:
    """The slow reference of one step: mirrored in the gallery, plain in the probe, the best photo."""
    others = [photo.face.mirrored for photo in gallery if photo.face and not photo.refusal and photo is not probe]
    if probe.face is None or not others:
        return NOT_COMPARED
    return max(round(float(np.dot(probe.face.plain, other)), 4) for other in others if other is not None)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("protocol", [Protocol(), Protocol(2, all_probes=True), Protocol(ALL), Protocol(ALL, True)])
def test_searches_find_what_comparing_one_by_one_finds(
    seed: int, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leakmatch.evaluation.trial._BLOCK", 5)
    rng = np.random.default_rng(seed)
    given = {str(s): [random_photo(rng, f"{s}/{n}") for n in range(rng.integers(1, 5))] for s in range(12)}
    mated, non_mated = draw(given, protocol)
    found = Trial(mated, non_mated).search(BEST_PHOTO)
    mates, rivals = [], []
    for subject in mated:
        for probe in subject.probes:
            mates.append(own_score(probe, subject.gallery))
            rivals.append(max(own_score(probe, other.gallery) for other in mated if other is not subject))
    strangers = [
        max(own_score(probe, other.gallery) for other in mated) for subject in non_mated for probe in subject.probes
    ]
    assert found.mate == pytest.approx(mates, abs=1.1e-4)
    assert found.rival == pytest.approx(rivals, abs=1.1e-4)
    assert found.stranger == pytest.approx(strangers, abs=1.1e-4)


def test_without_a_template_no_one_is_enrolled() -> None:
    nothing = (Photo("a", Outcome.NO_FACE, refusal="no-face"),)
    with pytest.raises(UsageError, match="No photo could be enrolled"):
        Trial([Subject("a", nothing, nothing)], [Subject("b", (), nothing)])


# --- the run


def test_everyone_is_found_and_no_stranger(pack: Path, images: Path) -> None:
    found = identified(pack, images)
    assert (found.photos, found.enrolled, found.enrolled_photos, found.repeated) == (24, 4, 4, 0)
    assert (len(found.searches.mated), len(found.searches.non_mated)) == (4, 12)
    assert Colours.looked_at == 24
    assert found.complete
    for step in found.steps:
        assert step.rank_1.value == 1
        at = step.at[0.1]
        assert at is not None
        assert (at.fnir.value, at.fnir.interval, at.fnir_first) == (0, (0, 0), 0)
        assert at.fpir <= 0.1
        assert step.at[0.03] is None  # 12 strangers bear no finer rate
    assert found.steps[0].step is PLAIN
    assert found.default.step.name == DEFAULT
    assert found.default is found.steps[-1]
    assert not found.in_sample
    assert found.steps[0].at[0.1].to_plain is None
    assert found.default.at[0.1].to_plain.value == 0


def test_the_default_step_needs_a_calibration_of_this_model_and_says_so(pack: Path, images: Path) -> None:
    (pack / CALIBRATION).write_bytes(calibration_of("another", 3, None))
    with pytest.raises(IntegrityError, match="made for the model another"):
        identified(pack, images)
    (pack / CALIBRATION).unlink()
    found = identified(pack, images)
    assert found.calibration is None
    assert "the pack has no normalisation" in found.steps[-2].step.what
    assert (found.default.again, found.in_sample) == (None, False)
    assert found.default.found.mate.tolist() == found.steps[1].found.mate.tolist()


def test_photos_that_the_calibration_is_from_are_noticed(
    pack: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        for name, data in PHOTOS.items():
            archive.writestr(name, data)
    data = {"sha256": sha256_of(tmp_path / "i.zip"), "people": 16}
    (pack / CALIBRATION).write_bytes(calibration_of(load_pack(str(pack)).model_id, 3, None, data))
    found = identified(pack, tmp_path / "i.zip")
    assert found.in_sample
    assert found.to_json()["calibration"]["people"] == 16
    assert not identified(pack, images).in_sample  # unpacked, nobody can tell
    run(["evaluate", "identification", str(tmp_path / "i.zip"), "--pack", str(pack), "--no-isolation", "--quiet"])
    assert "in-sample" in capsys.readouterr().out


def test_a_raw_threshold_takes_no_second_look(pack: Path, images: Path) -> None:
    assert identified(pack, images).default.again is not None
    found = identify(images, Settings(pack=str(pack), isolation=False, threshold=0.4))
    assert (found.accepted, found.default.again) == (None, None)


def test_failures_are_misses_and_are_told_apart(pack: Path, images: Path) -> None:
    for name in ("1", "2", "3"):
        (images / "anna" / f"{name}.png").write_bytes(photo(NOBODY, NOBODY)[: -int(name)] + bytes(int(name)))
    protocol = Protocol()
    subjects = {name: [Photo(f"{name}/{n}.png", Outcome.DONE) for n in (1, 2, 3)] for name in PEOPLE}
    bert = next(subject for subject in draw(subjects, protocol)[0] if subject.name == "bert")
    (images / bert.probes[0].path).write_bytes(photo(NOBODY))
    found = identified(pack, images, protocol)
    assert found.not_enrolled == ("anna",)
    assert [failure.path.split("/")[0] for failure in found.failures_to_enrol] == ["anna"]
    assert sorted(failure.path.split("/")[0] for failure in found.failures_to_acquire) == ["anna", "bert"]
    assert found.default.at[0.1].fnir.value == 0.5
    assert found.default.rank_1.value == 0.5
    assert all(failure.detail for failure in (*found.failures_to_enrol, *found.failures_to_acquire))


def test_of_equal_files_of_a_subject_one_counts(pack: Path, images: Path) -> None:
    (images / "stranger0" / "copy.png").write_bytes((images / "stranger0" / "1.png").read_bytes())
    found = identified(pack, images)
    assert (found.repeated, len(found.searches.mated), len(found.searches.non_mated)) == (1, 4, 12)


def test_a_folder_an_archive_and_a_table_give_the_same(pack: Path, images: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        for name, data in reversed(PHOTOS.items()):
            archive.writestr(name, data)
    with (tmp_path / "i.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = [(name.split("/")[0], f"images/{name}") for name in PHOTOS]
        csv.writer(stream).writerows([("subject_id", "path"), *rows])
    folder, zipped, table = (identified(pack, tmp_path / name).to_json() for name in ("images", "i.zip", "i.csv"))
    assert folder == zipped
    assert (table["mated"], table["enrolled"]) == (folder["mated"], folder["enrolled"])


def test_a_row_whose_file_is_missing_is_a_photo_that_failed(pack: Path, images: Path, tmp_path: Path) -> None:
    table = tmp_path / "i.csv"
    rows = [f"{name.split('/')[0]},images/{name}" for name in PHOTOS]
    table.write_text("\n".join(["subject_id,path", *rows, "zoe,images/z1.png", "zoe,images/z2.png", ""]))
    found = identified(pack, table)
    assert found.not_enrolled == ("zoe",)
    assert len(found.failures_to_acquire) == len(found.failures_to_enrol) == 1
    assert found.default.at[0.1].fnir.value == pytest.approx(0.2)
    assert not found.complete


def test_several_photos_and_every_probe(pack: Path, images: Path) -> None:
    two = identified(pack, images, Protocol(2))
    assert two.enrolled_photos == 8
    assert "best-photo" in [step.step.name for step in two.steps]
    each = identified(pack, images, Protocol(ALL, all_probes=True))
    assert (each.enrolled_photos, len(each.searches.mated)) == (12, 12)
    assert each.default.at[0.1].fnir.value == 0


def test_people_may_be_held_out_and_someone_must_be_left(pack: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "known", {name: data for name, data in PHOTOS.items() if "stranger" not in name})
    with pytest.raises(UsageError, match=r"each of its 4 subjects is enrolled.*--strangers"):
        identified(pack, folder)
    found = identified(pack, folder, Protocol(strangers=0.5))
    assert (found.enrolled, len(found.searches.non_mated)) == (2, 2)
    assert set(found.default.at.values()) == {None}
    assert found.default.rank_1.value == 1
    lonely = write(tmp_path / "lonely", {name: data for name, data in PHOTOS.items() if "stranger" in name})
    with pytest.raises(UsageError, match="two photos or more"):
        identified(pack, lonely)
    flat = write(tmp_path / "flat", {"1.png": photo(ANNA), "2.png": photo(BERT)})
    with pytest.raises(UsageError, match=r"no photo of a subject\. .*lies in no folder"):
        identified(pack, flat)


def test_slices_by_the_users_table(pack: Path, images: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"{name},{'ab'[name.startswith('s')]}" for name in {path.split("/")[0] for path in PHOTOS}]
    labels.write_text("\n".join(["subject_id,group", *rows, ""]))
    found = {(part.dimension, part.value): part for part in identified(pack, images, None, labels).slices}
    assert (found["group", "a"].mated, found["group", "a"].non_mated) == (4, 0)
    assert (found["group", "b"].mated, found["group", "b"].non_mated) == (0, 12)
    assert found["group", "b"].fpir[0.1].rate <= 0.1
    assert not found["group", "a"].fnir  # four searches say nothing
    assert found["JPEG quality", "not a JPEG"].non_mated == 12


# --- the command


def test_the_command_from_photos_to_figures(
    pack: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "loose.png").write_bytes(photo(ANNA))
    command = ["evaluate", "identification", str(images), "--pack", str(pack), "--no-isolation"]
    assert run(command) == 3  # a photo of no one
    shown = capsys.readouterr()
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line.strip()}
    assert "100.00 (100.00, 100.00)" in next(line for line in shown.out.splitlines() if line.startswith("plain"))
    assert "too few non-mated searches" in shown.out
    assert "not used: loose.png" in lines["not"]
    assert "4 mated searches for 4 subjects, 12 non-mated searches for 12 others" in shown.err
    (images / "loose.png").unlink()
    assert run([*command, "--json", "--plots", str(tmp_path / "plots")]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert shown.err == ""
    assert found["protocol"] == {"enrol": 1, "probes": 1, "seed": 1, "strangers": 0.0}
    assert [step["step"] for step in found["steps"]] == NAMES
    assert found["steps"][-1]["fnir"][0]["fnir"]["value"] == 0
    assert found["steps"][-1]["fnir"][1] == {"at_fpir": 0.03, "too_few_searches": True}
    assert found["steps"][-1]["det"][0]["fpir"] == 0
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == [
        "det.png",
        "det.svg",
        "scores.png",
        "scores.svg",
    ]


@pytest.mark.parametrize(
    "wrong", [["--enrol", "0"], ["--enrol", "some"], ["--probes", "2"], ["--strangers", "1"], ["--slices", "no.csv"]]
)
def test_wrong_use_is_refused(wrong: list[str], pack: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "identification", str(images), "--pack", str(pack), "--no-isolation", *wrong]) == 2
    assert Colours.looked_at == 0
