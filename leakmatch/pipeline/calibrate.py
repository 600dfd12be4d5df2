"""What scores are judged by: the calibration of the pack and, where it is stricter, that of a gallery's own people.

A pack is calibrated on other people than those to protect. Where these are more alike, be it for their descent, sex or
age, or for how they were photographed, a score is less rare among them than the pack says. So a gallery can be
calibrated on itself: photos of its people against the templates of all others, who are other people by its own word.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from leakmatch.arrays import BoolArray, LongArray
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.gallery.store import Gallery
from leakmatch.matching.calibration import LEAST_PAIRS, Calibration, make_calibration
from leakmatch.matching.impostors import Impostors
from leakmatch.pipeline.fused import SubjectTemplates
from leakmatch.pipeline.shared import Shared, shared_pictures
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings

#: Of a larger gallery so many people are drawn: 25 million pairs of people and more, which take about a minute.
MOST_PEOPLE: Final = 5_000
#: Further photos of a person say little that is new about how alike strangers are.
PHOTOS_EACH: Final = 4

SHOWN_RATES: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

_SEED: Final = 20_261_126

_log = logging.getLogger(__name__)


def calibration_for(gallery: Gallery, pack: Pack, settings: Settings) -> Calibration | None:
    """What scores in ``gallery`` are judged by: the pack's calibration and, where it is stricter, the gallery's own.

    Either alone where there is no other. Without any, ``None`` where a raw threshold was given, else
    :class:`UsageError`. Warns where others are enrolled than those whom the gallery's own was made of.
    """
    calibration = judged_by(gallery, pack)
    if calibration is None and settings.threshold is None:
        raise UsageError(
            f"The model pack {pack.name} has no calibration, so how many false candidates a score brings cannot be "
            f"estimated. Make one of the gallery's own people (leakmatch gallery calibrate {gallery.path}), or give "
            "--threshold, a raw score, instead."
        )
    return calibration


def judged_by(gallery: Gallery, pack: Pack) -> Calibration | None:
    """As :func:`calibration_for`; ``None`` where neither the pack nor the gallery has a calibration."""
    general, own = pack_calibration(pack), own_calibration(gallery)
    if own is None:
        return general
    if own.about.get("pack_calibration") != (general and general.sha256):
        raise UsageError(
            f"{gallery.path}: was calibrated beside another calibration of the model pack, so its scores mean "
            f"something else. Run it again: leakmatch gallery calibrate {gallery.path}"
        )
    if has_changed(gallery, own):
        _log.warning(
            "%s: others are enrolled than when it was calibrated. Run again: leakmatch gallery calibrate %s",
            gallery.path,
            gallery.path,
        )
    return own if general is None else general.or_stricter(own)


def pack_calibration(pack: Pack) -> Calibration | None:
    """The calibration of the pack; ``None`` where it has none."""
    if not pack.calibration.is_file():
        return None
    calibration = Calibration.load(pack.calibration)
    if calibration.model_id != pack.model_id:
        raise IntegrityError(f"{pack.calibration}: made for the model {calibration.model_id}, not {pack.model_id}.")
    return calibration


def own_calibration(gallery: Gallery) -> Calibration | None:
    """The calibration that ``gallery`` holds of its own people; ``None`` where it holds none."""
    content = gallery.calibration()
    where = f"{gallery.path} (calibrate it again: leakmatch gallery calibrate {gallery.path})"
    return None if content is None else Calibration.parse(content, where)


def has_changed(gallery: Gallery, own: Calibration) -> bool:
    """Whether other photos are enrolled than when the gallery's ``own`` calibration was made."""
    return bool(own.about["gallery"]["enrolled_state"] != gallery.enrolled_state())


# Making one


@dataclass(frozen=True, slots=True)
class OwnCalibration:
    """A calibration made of a gallery's people: ``content``, the same read, the same with nobody left out, and the
    pack's (``None`` where it has none)."""

    content: bytes
    own: Calibration
    with_everybody: Calibration
    general: Calibration | None

    @property
    def used(self) -> Calibration:
        """What scores in the gallery are judged by from now on."""
        return self.own if self.general is None else self.general.or_stricter(self.own)

    def to_json(self) -> dict[str, Any]:
        """The data it was made of, and :meth:`thresholds`."""
        return {**self.own.about, "pairs": self.own.pairs, "sha256": self.own.sha256, "thresholds": self.thresholds()}

    def thresholds(self) -> list[dict[str, Any]]:
        """For each of ``SHOWN_RATES`` the score from which on impostors are as rare: the gallery's own with its 95 %
        interval, with nobody left out, the pack's, and the stricter one, which is used."""
        return [
            {
                "fmr": fmr,
                "own": _threshold(self.own, fmr),
                "with_nobody_left_out": round(self.with_everybody.threshold(fmr), 4),
                "pack": self.general and _threshold(self.general, fmr),
                "used": round(self.used.threshold(fmr), 4),
            }
            for fmr in SHOWN_RATES
        ]


def _threshold(calibration: Calibration, fmr: float) -> dict[str, Any]:
    low, high = calibration.threshold_interval(fmr)
    return {
        "score": round(calibration.threshold(fmr), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "extrapolated": fmr < calibration.resolution,
    }


def calibrate(path: Path, settings: Settings, *, keys: Keys | None = None) -> OwnCalibration:
    """Calibrate the gallery at ``path`` on its own people, and keep the calibration in it.

    The shape of the tail is that of the pack's calibration, where it has one: it takes more people to know than most
    galleries have, who tell how far the scores reach and how fast they fall. Without one the templates are compared as
    they are, and the shape is fitted, too. Raises :class:`UsageError` for too few people.
    """
    pack = load_pack(settings.pack)
    with Gallery.open(path, keys=keys, writable=True, action="calibrate") as gallery:
        gallery.require_model(pack.model_id)
        gallery.verify()
        before = gallery.calibration()
        made = make_own(gallery, pack_calibration(pack))
        if before is not None and _undated(before) == _undated(made.content):  # so that cases begun with it can go on
            return replace(made, content=before, own=Calibration.parse(before, str(path)))
        gallery.put_calibration(made.content)
    return made


def _undated(content: bytes) -> dict[str, Any]:
    """A calibration without the date it was made on, and the digest that it was itself a part of."""
    body: dict[str, Any] = json.loads(content)
    data = body.get("data")
    if isinstance(data, dict):
        gallery = {key: value for key, value in data.get("gallery", {}).items() if key != "digest"}
        body["data"] = {**{key: value for key, value in data.items() if key != "date"}, "gallery": gallery}
    return body


def make_own(gallery: Gallery, general: Calibration | None) -> OwnCalibration:
    """The calibration of the people in ``gallery``, beside ``general``, the pack's. Nothing is stored."""
    normalisation, shape = (None, None) if general is None else (general.normalisation, general.tail.shape)
    subjects = SubjectTemplates(gallery.templates(), gallery.first_enrolments(), normalisation)
    generator = np.random.default_rng(_SEED)
    rows = np.sort(generator.permutation(len(subjects))[:MOST_PEOPLE])
    probes, people, _ = subjects.of_photos(rows)
    keep = _some_of_each(people, generator)
    probes, people = probes[keep], people[keep]
    _require_enough(gallery.path, len(rows), len(probes))
    shared = _between(shared_pictures(gallery, subjects), rows)
    templates, numbers = subjects[rows], np.arange(len(rows))
    data: dict[str, Any] = {
        "name": "the gallery's own people",
        "people": len(rows),
        "photos": len(probes),
        "which": f"up to {PHOTOS_EACH} photos of each, against the mean template of every other one",
        "gallery": {
            "id": gallery.id,
            "digest": gallery.digest,
            "people": len(subjects),
            "photos": len(gallery.templates()),
            "enrolled_state": gallery.enrolled_state(),
        },
        "pack_calibration": general and general.sha256,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "left_out": [_told(gallery, one) for one in shared.values()],
    }

    def made(left_out: frozenset[tuple[int, int]]) -> bytes:
        impostors = Impostors.of(probes, people, templates, numbers, left_out)
        return make_calibration(gallery.model_id, impostors, data, shape=shape)

    where = str(gallery.path)
    with_everybody = made(frozenset())
    before = Calibration.parse(with_everybody, where)
    if shared:
        data["thresholds_with_nobody_left_out"] = {f"{rate:g}": before.threshold(rate) for rate in SHOWN_RATES}
    content = made(frozenset(shared)) if shared else with_everybody
    return OwnCalibration(content, Calibration.parse(content, where), before, general)


def _some_of_each(people: LongArray, generator: np.random.Generator) -> BoolArray:
    """Which photos to take, bool[N]: up to :data:`PHOTOS_EACH` of each person, drawn. ``people`` int64[N] ascends."""
    order = np.lexsort((generator.random(len(people)), people))
    place = np.arange(len(people)) - np.searchsorted(people, people)
    keep = np.zeros(len(people), np.bool_)
    keep[order[place < PHOTOS_EACH]] = True
    return keep


def _require_enough(path: Path, people: int, photos: int) -> None:
    pairs = photos * (people - 1) // 2
    if pairs >= LEAST_PAIRS:
        return
    each = photos / people if people else 1.0
    needed = math.ceil((1 + math.sqrt(1 + 8 * LEAST_PAIRS / each)) / 2)
    raise UsageError(
        f"{path}: a calibration takes {LEAST_PAIRS:,} pairs of two people, some {needed:,} people with as many photos "
        f"each as here; here are {max(pairs, 0):,}, of {people:,} people with {photos:,} photos. Nothing was changed; "
        "scans go on with the calibration of the model pack."
    )


def _between(shared: dict[tuple[int, int], Shared], rows: LongArray) -> dict[tuple[int, int], Shared]:
    """Those of two people in ``rows``, by their places there."""
    place = {int(row): i for i, row in enumerate(rows)}
    return {(place[a], place[b]): one for (a, b), one in shared.items() if a in place and b in place}


def _told(gallery: Gallery, one: Shared) -> dict[str, str]:
    a, b = one.enrolments
    return {
        "a": gallery.subject_of(a),
        "a_photo": gallery.path_of(a),
        "b": gallery.subject_of(b),
        "b_photo": gallery.path_of(b),
        "why": one.why,
    }


def remove_calibration(path: Path, *, keys: Keys | None = None) -> bool:
    """Take the gallery's own calibration out; whether there was one."""
    with Gallery.open(path, keys=keys, writable=True, action="calibrate") as gallery:
        there = gallery.calibration() is not None
        gallery.put_calibration(None)
    return there


def describe(gallery: Gallery) -> dict[str, Any] | None:
    """What `gallery info` says about the gallery's own calibration; ``None`` where it has none."""
    own = own_calibration(gallery)
    if own is None:
        return None
    about = own.about
    return {
        "date": about["date"],
        "people": about["people"],
        "photos": about["photos"],
        "pairs": own.pairs,
        "left_out": len(about["left_out"]),
        "sha256": own.sha256,
        "enrolments_changed_since": has_changed(gallery, own),
    }
