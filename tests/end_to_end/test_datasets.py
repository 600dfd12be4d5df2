"""One portrait in every data-set container and document: the same person is found in each."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path

import cv2
import datasets
import documents
import numpy as np
import pytest
from commands import Run


def containers(jpeg: bytes) -> dict[str, bytes]:
    """Files with the portrait in them, encoded or as an array."""
    members = [(b"a/portrait.jpg", jpeg), (b"b/note.txt", b"text")]
    rgb = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    stack = np.stack([rgb, np.zeros_like(rgb)])
    arrays = io.BytesIO()
    np.savez(arrays, faces=(stack / 255).astype(np.float32).transpose(0, 3, 1, 2))
    docx = io.BytesIO()
    with zipfile.ZipFile(docx, "w") as archive:
        archive.writestr("word/media/image1.jpeg", jpeg)
    size = {"height": [rgb.shape[0]], "width": [rgb.shape[1]], "depth": [3]}
    return {
        **{name.replace(" ", "-"): make(members) for name, make in datasets.WHOLE.items()},
        "stack.npy": datasets.npy(stack),
        "stack.npz": arrays.getvalue(),
        "gray.npy": datasets.npy(stack[..., 1]),
        "array.h5": datasets.in_hdf5(lambda file: file.create_dataset("faces", data=stack, compression="gzip")),
        "raw.tfrecord": datasets.framed(datasets.example({"image_raw": [rgb.tobytes()], **size})),
        "url.json": json.dumps([{"photo": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()}]).encode(),
        "jpeg.pdf": documents.pdf({4: documents.image(1, 1, jpeg, more=b"/Filter /DCTDecode")}),
        "flate.pdf": documents.pdf({
            4: documents.image(rgb.shape[1], rgb.shape[0], documents.flate(rgb.tobytes()), more=b"/Filter /FlateDecode")
        }),
        "word.doc": documents.ole({"Data": b"in front" + jpeg + b"behind"}),
        "word.docx": docx.getvalue(),
        "text.rtf": b"{\\rtf1 {\\pict\\jpegblip " + jpeg.hex().encode() + b"}}",
    }  # fmt: skip


@pytest.mark.models
def test_the_same_person_in_every_container(run: Run, sample_photos: Path, tmp_path: Path) -> None:
    people = tmp_path / "people" / "barack-obama"
    people.mkdir(parents=True)
    (people / "1.jpg").write_bytes((sample_photos / "obama.jpg").read_bytes())
    seized = tmp_path / "seized"
    seized.mkdir()
    photo = cv2.imread(str(sample_photos / "obama2.jpg"))
    photo = cv2.resize(photo, None, fx=(scale := 480 / max(photo.shape)), fy=scale, interpolation=cv2.INTER_AREA)
    made = containers(cv2.imencode(".jpg", photo)[1].tobytes())
    for name, data in made.items():
        (seized / name).write_bytes(data)
    gallery, case = tmp_path / "people.gallery", tmp_path / "x.case"
    assert run("enroll", gallery, people.parent).code == 0
    done = run("scan", seized, "--gallery", gallery, "--case", case)
    items = [json.loads(line) for line in run("export", case, "items").out.splitlines()]
    assert done.code == 0, [row for row in items if row["outcome"] not in ("done", "walked", "not-image", "duplicate")]
    candidates = [json.loads(line) for line in run("export", case, "candidates").out.splitlines()]
    found = {row["path"].split("!/")[0] for row in candidates if row["decision"] == "match"}
    assert found == made.keys()
    assert {row["subject_id"] for row in candidates} == {"barack-obama"}
    assert run("verify", case).code == 0
