"""Which face of a photo is the subject's."""

from __future__ import annotations

import numpy as np

from leakmatch.records import FaceBatch


def subject_face(faces: FaceBatch, width: int, height: int) -> int:
    """The face of an enrolment photo to take: large and central.

    Area of the box less twice the squared distance of its centre from the picture's, the rule common in enrolment
    tools: between faces of like size the central one wins, a far larger one wins anywhere. ``faces`` is not empty.
    """
    boxes = faces.boxes.astype(np.float64)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    offset = centres - (width / 2, height / 2)
    return int(np.argmax(area - 2 * (offset**2).sum(axis=1)))


def describe_choice(faces: FaceBatch, taken: int) -> str:
    """A sentence that says which of several faces was taken; empty for a single face."""
    if len(faces) < 2:
        return ""
    x0, y0, x1, y1 = (round(float(v)) for v in faces.boxes[taken])
    return f"{len(faces)} faces; the one at [{x0}, {y0}, {x1}, {y1}] was taken as the subject's"
