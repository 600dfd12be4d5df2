"""What the parts of a set are called, and which of them stands for it."""

from __future__ import annotations

import pytest

from leakmatch.sources.split.parts import part_of, part_set
from leakmatch.sources.split.volumes import Volumes

SETS = {
    "number": ["a.7z.001", "a.7z.002", "a.7z.003"],
    "number from 0": ["a.zip.000", "a.zip.001"],
    "four digits": ["a.tar.gz.0001", "a.tar.gz.0002"],
    "letters": ["a.zipaa", "a.zipab", "a.zipac"],
    "letters behind a point": ["a.tar.gz.aa", "a.tar.gz.ab"],
    "letters behind a word": ["a.zip.partaa", "a.zip.partab"],
    "numbers behind a word": ["a.zip.part1", "a.zip.part2"],
    "numbers behind a word alone": ["a.part1", "a.part2"],
    "numbers behind a word from 0": ["a.zip.part00", "a.zip.part01"],
    "zip": ["a.z01", "a.z02", "a.zip"],
    "capitals": ["A.Z01", "A.Z02", "A.ZIP"],
    "zipx": ["a.zx01", "a.zx02", "a.zipx"],
    "rar": ["a.part1.rar", "a.part2.rar"],
    "rar of many": ["a.part01.rar", "a.part02.rar"],
    "a program and rar": ["a.part1.exe", "a.part2.rar"],
    "old rar": ["a.rar", "a.r00", "a.r01"],
    "more than 100 of old rar": ["a.rar", *(f"a.{'rs'[n // 100]}{n % 100:02}" for n in range(103))],
}


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_every_part_knows_the_whole_set(tmp_path, names):
    for name in [*names, "b.zip", "other.001", "a.txt"]:
        (tmp_path / name).touch()
    carrier = names[-1] if names[-1].lower().endswith((".zip", ".zipx")) else names[0]
    for number, name in enumerate(names, start=1):
        found = part_set(Volumes(tmp_path / name))
        assert found is not None
        assert (found.carrier, found.names, found.missing) == (carrier, tuple(names), ())
        assert (found.own, found.number, found.is_carrier) == (name, number, name == carrier)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["a.001", "a.003"], "a.002"),
        (["a.zipaa", "a.zipac"], "a.zipab"),
        (["a.z01", "a.z03", "a.zip"], "a.z02"),
        (["a.z02", "a.zip"], "a.z01"),
        (["a.part1.rar", "a.part3.rar"], "a.part2.rar"),
        (["a.rar", "a.r01"], "a.r00"),
        (["a.r00"], "a.rar"),
        (["a.7z.002"], "a.7z.001"),
    ],
)
def test_a_gap_is_named(tmp_path, names, missing):
    for name in names:
        (tmp_path / name).touch()
    for name in names:
        found = part_set(Volumes(tmp_path / name))
        assert found is not None
        assert found.missing == (missing,)


def test_of_a_set_that_was_cut_anywhere_what_lies_before_the_gap_is_given(tmp_path):
    for number in (1, 2, 4):
        (tmp_path / f"a.7z.00{number}").touch()
    found = part_set(Volumes(tmp_path / "a.7z.001"))
    assert found is not None
    assert found.names == ("a.7z.001", "a.7z.002")


@pytest.mark.parametrize("name", ["a.jpg", "a.tar.gz", "001", ".001", "a.1", "a.zip2", "part1.rar.txt", "", "a.r0"])
def test_names_of_no_part(tmp_path, name):
    part = part_of(name)
    assert part is None or not part.certain


def test_what_lies_in_a_container_has_nothing_beside_it():
    assert part_set(Volumes()) is None


def test_folders_and_links_are_no_parts(tmp_path):
    (tmp_path / "a.001").touch()
    (tmp_path / "a.002").mkdir()
    (tmp_path / "a.003").symlink_to(tmp_path / "a.001")
    found = part_set(Volumes(tmp_path / "a.001"))
    assert found is not None
    assert found.names == ("a.001",)
