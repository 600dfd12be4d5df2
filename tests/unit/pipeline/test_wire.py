"""Records survive the way between processes, and unsound ones do not get in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from analyses import analysis, equal

from leakmatch.hashing.algorithms import DHASH, PHASH
from leakmatch.locator import Locator
from leakmatch.pipeline.channel import Message, ProtocolError
from leakmatch.pipeline.tasks import Setup
from leakmatch.pipeline.wire import (
    analysis_message,
    entry_fields,
    incident_fields,
    read_analysis,
    read_entry,
    read_incident,
)
from leakmatch.records import (
    Budget,
    Entry,
    Incident,
    ItemKind,
    Outcome,
)

LOCATOR = Locator.root("file", "a.zip", b"a.zip", 0).child("zip", "b\udcff", b"b\xff", 3)
ENTRY = Entry(LOCATOR, 7, ItemKind.IMAGE, 12, bytes(range(32)), Outcome.PARTIAL, "why", members=2)


def test_an_entry_and_an_incident_come_back() -> None:
    assert read_entry(Message("entry", entry_fields(ENTRY))) == ENTRY
    incident = Incident(LOCATOR, "sources", "corrupt", "text")
    assert read_incident(Message("incident", incident_fields(incident))) == incident


@pytest.mark.parametrize("faces", [0, 1, 5])
def test_analyses_come_back(faces: int) -> None:
    sent = [analysis(faces), analysis(1, frame=4, plain=False)]
    fields, arrays = analysis_message(sent)
    assert all(map(equal, sent, read_analysis(Message("looked", fields, arrays))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("locator", "[]"),
        ("locator", 5),
        ("position", -1),
        ("position", True),
        ("kind", "nothing"),
        ("size", 1.5),
        ("sha256", "00"),
        ("outcome", "fine"),
        ("detail", None),
    ],
)
def test_an_unsound_entry_is_refused(field: str, value: object) -> None:
    with pytest.raises(ProtocolError):
        read_entry(Message("entry", {**entry_fields(ENTRY), field: value}))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("0.vectors", np.full((2, 8), np.nan, np.float32)),
        ("0.vectors", np.ones((2, 8), np.float32)),
        ("0.vectors", np.zeros((3, 8), np.float32)),
        ("0.boxes", np.zeros((2, 3), np.float32)),
        ("0.landmarks", np.full((2, 5, 2), np.inf, np.float32)),
        ("0.crop_sizes", np.array([-1, 4], np.int32)),
        ("0.crop_sizes", np.array([1], np.int32)),
        ("0.p.bits", np.zeros((2, 40), np.uint8)),
        ("0.p.bits", np.zeros((1, 41), np.uint8)),
        ("0.p.bits", np.zeros((1, 40), np.int8)),
        ("0.p.bits", np.zeros((5, 1, 8), np.uint8)),
        ("0.f.bits", np.zeros((2, 24), np.uint8)),
        ("0.f.quality", np.zeros((1, 1), np.float32)),
        ("0.plain", np.ones((2, 8), np.float32)),
        ("0.plain", np.zeros((2, 7), np.float32)),
        ("0.plain_valid", np.zeros(2, np.bool_)),
        ("0.sharpness", np.zeros(1, np.float32)),
        ("0.sharpness", np.full(2, np.nan, np.float32)),
    ],
)
def test_an_unsound_analysis_is_refused(name: str, array: np.ndarray) -> None:
    fields, arrays = analysis_message([analysis()])
    with pytest.raises(ProtocolError):
        read_analysis(Message("looked", fields, {**arrays, name: array}))


@pytest.mark.parametrize("quality", [0, 101, True, "75", 1.5])
def test_an_unsound_jpeg_quality_is_refused(quality: object) -> None:
    fields, arrays = analysis_message([analysis()])
    fields["pictures"][0]["jpeg_quality"] = quality
    with pytest.raises(ProtocolError):
        read_analysis(Message("looked", fields, arrays))


@pytest.mark.parametrize("names", [["phash64/another"], [5], [[]], [PHASH], [PHASH, DHASH, DHASH]])
def test_unknown_hashes_and_such_that_do_not_fit_are_refused(names: list[object]) -> None:
    fields, arrays = analysis_message([analysis()])
    fields["pictures"][0]["face_hashes"] = names
    with pytest.raises(ProtocolError):
        read_analysis(Message("looked", fields, arrays))


def test_templates_must_be_of_the_model_and_the_side_that_was_asked_for() -> None:
    def setup(model_id: str = "model", mirrored: bool = True) -> Setup:
        return Setup("pack", "onnxruntime", Budget(), mirrored, model_id, 8)

    sound, scanned = analysis(), analysis(plain=False)
    setup().check([sound])
    setup(mirrored=False).check([scanned])
    assert sound.plain is not None
    other = dataclasses.replace(sound, plain=dataclasses.replace(sound.plain, model_id="other"))
    for wrong, asked in ((sound, setup("other")), (other, setup()), (scanned, setup()), (sound, setup(mirrored=False))):
        with pytest.raises(ProtocolError):
            asked.check([wrong])


def test_missing_arrays_and_wrong_frames_are_refused() -> None:
    fields, arrays = analysis_message([analysis()])
    for name in arrays:
        with pytest.raises(ProtocolError):
            read_analysis(Message("looked", fields, {n: a for n, a in arrays.items() if n != name}))
    with pytest.raises(ProtocolError):
        read_analysis(Message("looked", {"pictures": []}, {}))
    fields, arrays = analysis_message([analysis(frame=3)])
    with pytest.raises(ProtocolError):
        read_analysis(Message("looked", fields, arrays))
