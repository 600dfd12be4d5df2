"""Records as frames and back. What comes from a worker is checked here, once, before anything uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from leakmatch.arrays import Array, FloatArray, check, check_finite
from leakmatch.errors import UsageError
from leakmatch.hashing.algorithms import HASH_BYTES
from leakmatch.locator import Locator, printable
from leakmatch.pipeline.channel import UNSOUND, Message, ProtocolError
from leakmatch.records import (
    INCIDENT_CODES,
    Entry,
    FaceBatch,
    HashBatch,
    ImageAnalysis,
    Incident,
    ItemKind,
    Outcome,
    TemplateBatch,
)

_MAX_TEXT = 1 << 20
_MAX_FORMAT = 40  # a format's name is ours, not the material's
_MAX_CROP = 1 << 16  # a JPEG of 112x112 pixels
_LONGEST = 1e9  # seconds that an animation may take

#: How looking at a picture may end. What else an item may be is not for an analyser to say.
_LOOKED = {
    str(outcome): outcome
    for outcome in (
        Outcome.DONE,
        Outcome.NO_FACE,
        Outcome.PARTIAL,
        Outcome.UNREADABLE,
        Outcome.OVER_BUDGET,
        Outcome.NEEDS_EXTRA,
        Outcome.NOT_IMAGE,
    )
}

Fields = dict[str, Any]
Arrays = dict[str, Array]


def entry_fields(entry: Entry) -> Fields:
    """An entry without its payload."""
    return {
        "locator": entry.locator.to_json(),
        "position": entry.position,
        "kind": str(entry.kind),
        "size": entry.size,
        "sha256": entry.sha256.hex() if entry.sha256 else None,
        "outcome": None if entry.outcome is None else str(entry.outcome),
        "detail": entry.detail,
        "members": entry.members,
        "format": entry.format,
        "cut": entry.cut,
    }


def read_entry(message: Message) -> Entry:
    """The entry in a frame. Raises :class:`ProtocolError` for anything that is not one."""
    fields = message.fields
    try:
        sha256 = None if fields["sha256"] is None else bytes.fromhex(fields["sha256"])
        if sha256 is not None and len(sha256) != 32:
            raise ValueError("sha256")
        return Entry(
            _locator(fields["locator"]),
            _count(fields["position"]),
            ItemKind(fields["kind"]),
            _count(fields["size"]),
            sha256,
            None if fields["outcome"] is None else Outcome(fields["outcome"]),
            _text(fields["detail"]),
            members=None if fields["members"] is None else _count(fields["members"]),
            format=_format(fields["format"]),
            cut=fields["cut"] is True and fields["outcome"] is not None,
        )
    except UNSOUND as error:
        raise ProtocolError(f"A worker sent a malformed entry ({error}).") from error


def incident_fields(incident: Incident) -> Fields:
    """An incident."""
    return {
        "locator": incident.locator.to_json(),
        "stage": incident.stage,
        "code": incident.code,
        "message": incident.message,
    }


def read_incident(message: Message) -> Incident:
    """The incident in a frame. Raises :class:`ProtocolError` for anything that is not one."""
    fields = message.fields
    try:
        return Incident(
            _locator(fields["locator"]), _text(fields["stage"]), _text(fields["code"]), _text(fields["message"])
        )
    except UNSOUND as error:
        raise ProtocolError(f"A worker sent a malformed incident ({error}).") from error


def analysis_message(analyses: Sequence[ImageAnalysis]) -> tuple[Fields, Arrays]:
    """All that was seen in one image file, one analysis for each frame looked at."""
    pictures: list[Fields] = []
    arrays: Arrays = {}
    for i, analysis in enumerate(analyses):
        fields: Fields = {
            "frame": analysis.frame,
            "outcome": str(analysis.outcome),
            "detail": analysis.detail,
            "width": analysis.width,
            "height": analysis.height,
            "incidents": [list(incident) for incident in analysis.incidents],
            "picture_hashes": [batch.algorithm for batch in analysis.picture_hashes],
            "face_hashes": [batch.algorithm for batch in analysis.face_hashes],
            "model_id": None if analysis.templates is None else analysis.templates.model_id,
            "plain": analysis.plain is not None,
            "jpeg_quality": analysis.jpeg_quality,
            "seconds": analysis.seconds,
        }
        for scope, batches in (("p", analysis.picture_hashes), ("f", analysis.face_hashes)):
            if batches:  # as one array for all algorithms: what the parent unpacks is what a large machine waits for
                arrays[f"{i}.{scope}.bits"] = np.concatenate([batch.bits for batch in batches], axis=1)
                arrays[f"{i}.{scope}.quality"] = np.stack([batch.quality for batch in batches])
        faces = analysis.faces
        arrays |= {f"{i}.boxes": faces.boxes, f"{i}.landmarks": faces.landmarks, f"{i}.scores": faces.scores}
        if analysis.templates is not None:
            batch_t = analysis.templates
            arrays |= {
                f"{i}.vectors": batch_t.vectors,
                f"{i}.face_quality": batch_t.quality,
                f"{i}.valid": batch_t.valid,
            }
        if analysis.plain is not None and analysis.sharpness is not None:  # the gallery's side; of the same faces
            arrays |= {
                f"{i}.plain": analysis.plain.vectors,
                f"{i}.plain_valid": analysis.plain.valid,
                f"{i}.sharpness": analysis.sharpness,
            }
        arrays[f"{i}.crops"] = np.frombuffer(b"".join(analysis.crops), dtype=np.uint8)
        arrays[f"{i}.crop_sizes"] = np.array([len(crop) for crop in analysis.crops], dtype=np.int32)
        pictures.append(fields)
    return {"pictures": pictures}, arrays


def read_analysis(message: Message) -> list[ImageAnalysis]:
    """The analyses in a frame. Raises :class:`ProtocolError` for anything that is not sound."""
    try:
        pictures = message.fields["pictures"]
        analyses = [_read_picture(fields, message.arrays, i) for i, fields in enumerate(pictures)]
        if not analyses or [a.frame for a in analyses] != sorted({a.frame for a in analyses}) or analyses[0].frame:
            raise ValueError("frames")
    except UNSOUND as error:
        raise ProtocolError(f"A worker sent a malformed analysis ({error}).") from error
    return analyses


def _read_picture(fields: Fields, arrays: Any, i: int) -> ImageAnalysis:
    scores = arrays[f"{i}.scores"]
    faces = FaceBatch(np.zeros(len(scores), dtype=np.int32), arrays[f"{i}.boxes"], arrays[f"{i}.landmarks"], scores)
    templates = None
    if fields["model_id"] is not None:
        templates = TemplateBatch(
            arrays[f"{i}.vectors"], arrays[f"{i}.face_quality"], arrays[f"{i}.valid"], _text(fields["model_id"])
        )
        if len(templates) != len(faces):
            raise ValueError("templates")
    plain, sharpness = _read_gallery_side(templates, arrays, i) if fields["plain"] else (None, None)
    sizes = arrays[f"{i}.crop_sizes"]
    check(sizes, (len(faces),), np.int32, "crop_sizes")
    if (sizes < 0).any() or (sizes > _MAX_CROP).any() or int(sizes.sum()) != len(arrays[f"{i}.crops"]):
        raise ValueError("crops")
    ends = np.cumsum(sizes)
    joined = arrays[f"{i}.crops"].tobytes()
    return ImageAnalysis(
        _count(fields["frame"]),
        _LOOKED[fields["outcome"]],
        _text(fields["detail"]),
        _count(fields["width"]),
        _count(fields["height"]),
        _read_hashes(fields["picture_hashes"], arrays, f"{i}.p", 1),
        faces,
        templates,
        _read_hashes(fields["face_hashes"], arrays, f"{i}.f", len(faces)),
        tuple(joined[end - size : end] for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)),
        tuple((_text(stage), _code(code), _text(text)) for stage, code, text in fields["incidents"]),
        plain,
        sharpness,
        _jpeg_quality(fields["jpeg_quality"]),
        _seconds(fields["seconds"]),
    )


def _read_gallery_side(templates: TemplateBatch | None, arrays: Any, i: int) -> tuple[TemplateBatch, FloatArray]:
    if templates is None:
        raise ValueError("plain")
    vectors, sharpness = arrays[f"{i}.plain"], arrays[f"{i}.sharpness"]
    check(vectors, templates.vectors.shape, np.float32, "plain")
    check(sharpness, (len(templates),), np.float32, "sharpness")
    check_finite(sharpness, "sharpness")
    return TemplateBatch(vectors, templates.quality, arrays[f"{i}.plain_valid"], templates.model_id), sharpness


def _read_hashes(algorithms: list[Any], arrays: Any, prefix: str, count: int) -> tuple[HashBatch, ...]:
    if not algorithms:
        return ()
    bits, quality = arrays[f"{prefix}.bits"], arrays[f"{prefix}.quality"]
    ends = np.cumsum([HASH_BYTES[name] for name in algorithms]).tolist()
    check(bits, (count, ends[-1]), np.uint8, "hashes")
    check(quality, (len(algorithms), count), np.float32, "quality")
    index = np.arange(count, dtype=np.int32)
    return tuple(
        HashBatch(name, one, its_quality, index)
        for name, one, its_quality in zip(algorithms, np.split(bits, ends[:-1], axis=1), quality, strict=True)
    )


def _code(value: Any) -> str:
    if value not in INCIDENT_CODES:
        raise ValueError("incident code")
    return str(value)


def _locator(value: Any) -> Locator:
    if not isinstance(value, str) or len(value) > 8 * _MAX_TEXT:
        raise TypeError("locator")
    try:
        return Locator.from_json(value)
    except UsageError as error:
        raise ValueError("locator") from error


def _format(value: Any) -> str:
    if len(_text(value)) > _MAX_FORMAT:
        raise ValueError("format")
    return printable(_text(value))


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise TypeError("text")
    return value.encode("utf-8", "backslashreplace").decode()


def _jpeg_quality(value: Any) -> int | None:
    if value is not None and not 1 <= _count(value) <= 100:
        raise ValueError("jpeg_quality")
    return value if value is None else int(value)


def _seconds(value: Any) -> float | None:
    if value is not None and not (isinstance(value, float) and 0 <= value <= _LONGEST):
        raise ValueError("seconds")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise TypeError("count")
    return value
