"""The cross-fitted benchmark: who is in which half, what is averaged, and that a whole run adds up."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "identification.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cross_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 people with two to four photos and 720 with one, in the format of scripts/make_calibration.py."""
    rng = np.random.default_rng(3)

    def unit(vectors: np.ndarray) -> np.ndarray:
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    counts = np.append(rng.integers(2, 5, 60), np.ones(720, int))
    faces = unit(0.3 + rng.normal(size=(780, 24)))
    person = np.repeat(np.arange(780), counts)
    names = [f"all/p{p:03}/{n}.jpg" for n, p in enumerate(person)]
    templates = [unit(faces[person] + spread * rng.normal(size=(len(person), 24))) for spread in (0.2, 0.15)]
    file = tmp_path_factory.mktemp("cross") / "cache.npz"
    np.savez(file, names=names, probes=templates[0], enrolled=templates[1], failures=0)
    return file


def test_halves_hold_everybody_once_and_as_many_with_several_photos(benchmark: ModuleType, kept: Path) -> None:
    people = benchmark.people_of(benchmark.seen(kept, "", kept))
    for seed in range(3):
        one, other = benchmark.halves(people, seed)
        assert not one & other
        assert one | other == people.keys()
        assert [sum(len(people[name]) > 1 for name in half) for half in (one, other)] == [30, 30]
    assert benchmark.halves(people, 0) != benchmark.halves(people, 1)


def test_the_first_draw_is_everybody_once_and_all_splits_share_the_others(benchmark: ModuleType, kept: Path) -> None:
    people = benchmark.people_of(benchmark.seen(kept, "", kept))
    drawn = benchmark.Draws(people).of(sorted(people))
    assert (drawn[0] == 1).all()
    several = np.array([len(people[name]) > 1 for name in sorted(people)])
    assert (drawn[:, several].sum(axis=1) == 60).all()
    assert np.array_equal(drawn, benchmark.Draws(people).of(sorted(people)))


def test_both_halves_count_by_their_people(benchmark: ModuleType) -> None:
    columns = [np.full((2, 6), value) for value in (0.1, 0.4)]
    weights = [np.array([30.0, 10.0]), np.array([30.0, 20.0])]
    figures, again = benchmark._both(
        [((c, np.array([0.2, share])), w) for c, w, share in zip(columns, weights, (0.5, 0.7), strict=True)]
    )
    assert figures[:, 0].tolist() == pytest.approx([0.25, 0.3])
    assert again.tolist() == pytest.approx([0.2, 0.6])


def test_a_change_is_paired_and_the_relative_one_is_of_means(benchmark: ModuleType) -> None:
    base = np.array([[0.10, 0.2, 0.1], [0.20, 0.2, 0.1]])
    change = benchmark.change(base / 2, base)
    assert change["value"] == pytest.approx(-0.075)
    assert (change["relative"], change["relative_interval_95"]) == (-0.5, [-0.5, -0.5])
    assert change["seed_sd"] == pytest.approx(0.05 / 2**0.5, abs=1e-5)


def test_a_run_from_cache_to_figures(
    benchmark: ModuleType,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pack_home: Path,
) -> None:
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    monkeypatch.setattr(benchmark, "RESAMPLES", 20)
    result, errata = tmp_path / "cross.json", tmp_path / "errata.csv"
    errata.write_text("a,b,why\np001,p100,made up\n")
    given = [str(kept), "--cache", str(kept), "--errata", str(errata), "--seeds", "2", "--json", str(result)]
    monkeypatch.setattr(sys, "argv", ["identification.py", *given])
    benchmark.main()
    record = json.loads(result.read_text())
    assert {group: counts["with_several_photos"] for group, counts in record["people"].items()} == {
        "everybody": 60,
        "without the published label errors": 59,
    }
    mean = {
        (row["photos_of"], row["protocol"], row["step"]): row for row in record["rows"] if row["figure"] == "mean FNIR"
    }
    assert len(mean) == 2 * (6 + 12 + 8 + 12)
    for (_, _, step), row in mean.items():
        assert 0 <= row["interval_95"][0] <= row["interval_95"][1] <= 1
        assert ("to_plain" in row) == (step != "plain")
    again = [row for row in record["rows"] if row["figure"] == "looked at again"]
    assert len(again) == 4
    assert all(0 < row["non_mated"] < 1 for row in again)
    assert "leave-one-out, everybody" in capsys.readouterr().out
