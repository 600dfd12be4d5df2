"""The impostor distribution: what it says, where it stops counting, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from leakmatch.errors import IntegrityError, UsageError
from leakmatch.matching.calibration import Calibration, make_calibration
from leakmatch.matching.impostors import GRID, Impostors
from leakmatch.matching.normalisation import Normalisation

SHIPPED = Path(__file__).resolve().parents[3] / "models" / "opencv-zoo" / "calibration.json"
PEOPLE, PHOTOS, DIMENSION = 400, 3, 24


def population(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Templates float32[1200,24] of unit norm and people int64[1200]: each a direction, each photo a little off it."""
    generator = np.random.default_rng(seed)
    people = np.repeat(np.arange(PEOPLE), PHOTOS)
    vectors = generator.normal(size=(PEOPLE, DIMENSION))[people] + 0.4 * generator.normal(size=(len(people), DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), people


@pytest.fixture(scope="module")
def content() -> bytes:
    vectors, people = population()
    impostors = Impostors.of(vectors, people, vectors, people)
    return make_calibration("sha256:x/fp32/r1", impostors, {"name": "made up"}, repeat=True)


@pytest.fixture(scope="module")
def calibration(content: bytes) -> Calibration:
    return Calibration.parse(content, "here")


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    """Every impostor score of the population, by one product."""
    vectors, people = population()
    return (vectors.astype(np.float64) @ vectors.T.astype(np.float64))[people[:, None] != people]


def test_the_rate_is_the_share_at_or_above(calibration: Calibration, scores: np.ndarray) -> None:
    for score in (-0.3, 0.0, 0.15, 0.3, 0.5):
        assert calibration.fmr(score) == pytest.approx((scores >= score).mean(), rel=0.02)
    assert calibration.fmr(-1) == 1
    assert calibration.pairs == len(scores) // 2


def test_the_rate_never_rises_and_is_never_zero(calibration: Calibration) -> None:
    rates = calibration.fmr(np.linspace(-1, 1, 20_001))
    assert (np.diff(rates) <= 0).all()
    assert (rates > 0).all()
    assert rates.max() <= 1
    assert calibration.fmr([]).shape == (0,)
    assert calibration.fmr([[0.1, 0.2]]).shape == (1, 2)


def test_the_interval_holds_the_rate_and_widens_in_the_tail(calibration: Calibration) -> None:
    points = np.linspace(-0.5, 0.9, 300)
    low, high = calibration.interval(points)
    rates = calibration.fmr(points)
    assert (low <= rates).all()
    assert (rates <= high).all()
    wide = high / low
    assert wide[points > 0.8].min() > wide[(points > 0.5) & (points < 0.55)].max()


def test_the_interval_covers_the_truth_of_another_draw(calibration: Calibration) -> None:
    """Other people of the same kind, at scores where enough of their pairs are left to know the truth."""
    vectors, people = population(seed=1)
    others = (vectors @ vectors.T)[people[:, None] != people]
    at = np.array([calibration.threshold(rate) for rate in (1e-2, 3e-3, 1e-3, 3e-4)])
    low, high = calibration.interval(at)
    truth = np.array([(others >= score).mean() for score in at])
    assert (truth > 0.8 * low).all()
    assert (truth < 1.25 * high).all()


@pytest.mark.parametrize("rate", [1e-1, 1e-3, 1e-5, 1e-7])
def test_the_threshold_is_the_lowest_score_that_is_rare_enough(calibration: Calibration, rate: float) -> None:
    threshold = calibration.threshold(rate)
    assert round(threshold, 4) == threshold
    assert calibration.fmr(threshold) <= rate < calibration.fmr(threshold - 1e-4)


def test_thresholds_at_the_ends(calibration: Calibration) -> None:
    assert calibration.threshold(1) == calibration.threshold(1000) == -1
    assert calibration.threshold(1e-300) > 1
    with pytest.raises(ValueError, match="false match rate of 0"):
        calibration.threshold(0)


def test_the_stricter_of_two_calibrations(calibration: Calibration, content: bytes) -> None:
    body = json.loads(content)
    alike = body | {name: [min(1.0, 3 * rate) for rate in body[name]] for name in ("rates", "low", "high")}
    other = Calibration.parse(json.dumps(alike).encode(), "there")
    both = calibration.or_stricter(other)
    points = np.linspace(-1, 1, 101)
    assert np.array_equal(both.fmr(points), np.maximum(calibration.fmr(points), other.fmr(points)))
    assert both.fmr(0.5) == pytest.approx(3 * calibration.fmr(0.5), rel=0.01)
    assert both.sha256 not in {calibration.sha256, other.sha256}
    assert both.describe()["pack"]["sha256"] == calibration.sha256
    assert both.pairs == other.pairs
    laxer = other.or_stricter(calibration)
    assert (laxer.sha256, laxer.pairs) == (other.sha256, other.pairs), "what is laxer changes nothing"
    assert np.array_equal(laxer.fmr(points), other.fmr(points))
    hardly = body | {name: [min(1.0, 1.02 * rate) for rate in body[name]] for name in ("rates", "low", "high")}
    same = calibration.or_stricter(Calibration.parse(json.dumps(hardly).encode(), "there"))
    assert np.array_equal(same.fmr(points), calibration.fmr(points))
    assert "gallery" in same.describe()
    stranger = Calibration.parse(json.dumps(body | {"model_id": "another"}).encode(), "there")
    with pytest.raises(ValueError, match="two models"):
        calibration.or_stricter(stranger)


def test_too_few_pairs_are_no_calibration() -> None:
    vectors, people = population()
    few = people < 30
    with pytest.raises(UsageError, match=r"too few.*5,000"):
        make_calibration("m", Impostors.of(vectors[few], people[few], vectors[few], people[few]), {})


def test_scores_that_are_all_alike_are_no_calibration() -> None:
    vectors = np.zeros((200, 4), np.float32)
    vectors[:, 0] = 1
    with pytest.raises(UsageError, match="all alike"):
        make_calibration("m", Impostors.of(vectors, np.arange(200), vectors, np.arange(200)), {})


def test_a_pack_without_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no calibration\.json.*cannot be estimated.*--threshold"):
        Calibration.load(tmp_path / "calibration.json")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"step": 0.01},
        {"rates": [1, 0.5, 0.1]},
        {"rates": [i / 900 for i in range(len(GRID))]},
        {"low": [0.0] * len(GRID)},
        {"tail": {"start": 0.4, "rate": 0.1, "scale": -3, "shape": 0}},
        {"tail": {"start": 0.4, "rate": 0.1}},
        {"normalisation": {"mean": [1.0], "within": [-1.0]}},
        {"model_id": None, "tail": None},
    ],
)
def test_a_damaged_file(tmp_path: Path, change: dict[str, object]) -> None:
    body = json.loads(SHIPPED.read_text(encoding="utf-8")) | change
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(body))
    with pytest.raises(IntegrityError, match="not a calibration"):
        Calibration.load(file)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"3"])
def test_a_file_that_is_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "calibration.json").write_bytes(content)
    with pytest.raises(IntegrityError, match="not a calibration"):
        Calibration.load(tmp_path / "calibration.json")


def test_the_shipped_calibration() -> None:
    calibration = Calibration.load(SHIPPED)
    assert calibration.model_id.startswith("sha256:0ba9fbfa")
    assert calibration.pairs > 18_000_000
    assert calibration.about["people"] == 2827
    assert calibration.normalisation is not None
    assert calibration.normalisation.mean.shape == (128,)
    assert calibration.repeat is not None
    assert calibration.resolution == 1 / calibration.pairs
    files = {row[side] for row in calibration.about["left_out"] for side in "ab"}
    assert {"Carlos_Beltran_0001.jpg", "Raul_Ibanez_0001.jpg"} <= files
    assert all(row["why"].startswith(("published", "the same picture")) for row in calibration.about["left_out"])
    without = calibration.about["thresholds_with_nobody_left_out"]
    assert calibration.threshold(1e-6) < without["1e-06"]


def test_writing_is_reproducible(content: bytes) -> None:
    vectors, people = population()
    again = make_calibration(
        "sha256:x/fp32/r1", Impostors.of(vectors, people, vectors, people), {"name": "made up"}, repeat=True
    )
    assert again == content


def test_a_normalisation_travels_with_it() -> None:
    vectors, people = population()
    normalisation = Normalisation.learn(vectors, people)
    better = normalisation.apply(vectors)
    content = make_calibration("m", Impostors.of(better, people, better, people), {}, normalisation)
    read = Calibration.parse(content, "here").normalisation
    assert read is not None
    assert np.array_equal(read.apply(vectors), better)


def test_the_tail_is_near_the_law_of_the_scores() -> None:
    """Normal scores of two million pairs of 1,415 people: the tail as fitted against the true one."""
    generator = np.random.default_rng(5)
    people = 1415
    score = np.sort(generator.normal(0.05, 0.1, people * (people - 1)))[::-1].clip(-1, 1)
    counts = np.array([(score >= step).sum() for step in GRID])
    kept = score[:60_000]
    number = np.arange(len(kept)) % people
    once = np.ones(people, np.int64)
    impostors = Impostors(once, once, frozenset(), counts, number, number, number, kept)
    rates = impostors.rates(np.ones(people))
    for at in (0.4, 0.45, 0.5):
        assert rates[np.searchsorted(GRID, at)] == pytest.approx(norm.sf(at, 0.05, 0.1), rel=0.5)
