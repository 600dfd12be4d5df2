"""Prepared models: a pack's files, rewritten once for speed and held equal to the files as they were shipped.

They lie in the folder ``prepared`` of the pack, each beside a record (JSON) of what it was made from, its own
digest, and how well it agreed. A file whose record or digest is not right is made anew from the shipped file, whose
digest the pack declares; so nothing is run that does not lead back to it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.errors import IntegrityError, os_error
from leakmatch.faces.anchors import blob
from leakmatch.faces.geometry import CROP_SIZE
from leakmatch.faces.graph import RECIPE, rewritten
from leakmatch.faces.packs import Pack, verified
from leakmatch.faces.session import ONNXRUNTIME, OPENVINO, Session, open_session

FOLDER: Final = "prepared"
#: The least cosine between any output of the prepared and of the shipped model.
AGREEMENT: Final = 0.99999
_FREE_SIDE: Final = 320  # pixels of the check's picture, where the model takes any size

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The record of a prepared file.

    ``source_sha256`` and ``sha256``: of the shipped and of the prepared file. ``cosine``: the least between their
    outputs. ``onnx``: the version of the package that rewrote it.
    """

    source_sha256: str
    recipe: int
    sha256: str
    cosine: float
    onnx: str


def prepare(pack: Pack) -> dict[str, Prepared]:
    """The records of the pack's prepared files by name of the shipped file; what is missing or wrong is made.

    Raises :class:`IntegrityError` for a shipped file that is not what the pack declares, is no model, or is another
    function when rewritten; :class:`~leakmatch.errors.UsageError` or :class:`~leakmatch.errors.StorageError` where
    files cannot be read or written.
    """
    return {file: _ready(pack, file)[0] for file in _files(pack)}


def check(pack: Pack) -> dict[str, Prepared]:
    """:func:`prepare`, and every prepared file compared with the shipped one again. Raises as it does."""
    records = {}
    for file in _files(pack):
        record, content = _ready(pack, file)
        records[file] = replace(record, cosine=_agree(pack, file, content))
    return records


def open_prepared(pack: Pack, file: str, engine: str = ONNXRUNTIME) -> Session:
    """A session of ``engine`` on the pack's model ``file``: its prepared form, unless :func:`runs_as_shipped`.

    Raises as :func:`prepare`.
    """
    content = verified(pack, file) if runs_as_shipped(pack, file, engine) else _ready(pack, file)[1]
    return open_session(content, file, engine)


def runs_as_shipped(pack: Pack, file: str, engine: str) -> bool:
    """Whether ``engine`` is given ``file`` as it was shipped: OpenVINO has a fast ``PRelu`` of its own."""
    return engine == OPENVINO and file == pack.embedder.file


def agreement(pack: Pack, file: str, prepared: bytes) -> float:
    """The least cosine between the outputs of the model ``file`` as shipped and of ``prepared``.

    Looked at with noise and with patches of colour, at the size for which the model was shipped.
    """
    shipped, ours = open_session(verified(pack, file), file), open_session(prepared, f"{file} (prepared)")
    spec = pack.detector if file == pack.detector.file else pack.embedder
    free = CROP_SIZE if spec is pack.embedder else _FREE_SIDE
    height, width = (side if isinstance(side, int) else free for side in shipped.input_shape[2:])
    return min(
        _cosine(a, b)
        for picture in _pictures(height, width)
        for a, b in zip(shipped.run(blob(picture, spec)), ours.run(blob(picture, spec)), strict=True)
    )


def _ready(pack: Pack, file: str) -> tuple[Prepared, bytes]:
    found = _read(pack, file)
    return found if found is not None else _make(pack, file)


def _read(pack: Pack, file: str) -> tuple[Prepared, bytes] | None:
    """What lies in the folder, ``None`` where it is not what it should be."""
    model, record = _paths(pack, file)
    try:
        prepared = Prepared(**json.loads(record.read_bytes()))
        content = model.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_error(error, model) from error
    except (ValueError, TypeError) as error:
        _log.warning("%s: not a record of a prepared model (%s); it is made anew.", record, error)
        return None
    if (prepared.source_sha256, prepared.recipe) != (pack.asset(file).sha256, RECIPE):
        return None
    if hashlib.sha256(content).hexdigest() != prepared.sha256:
        _log.warning("%s: not the file that its record describes; it is made anew.", model)
        return None
    return prepared, content


def _make(pack: Pack, file: str) -> tuple[Prepared, bytes]:
    import onnx

    content = rewritten(verified(pack, file), free_size=file == pack.detector.file)
    cosine = _agree(pack, file, content)
    digest = hashlib.sha256(content).hexdigest()
    prepared = Prepared(pack.asset(file).sha256, RECIPE, digest, cosine, onnx.__version__)
    model, record = _paths(pack, file)
    try:
        model.parent.mkdir(exist_ok=True)
        _write(model, content)
        _write(record, json.dumps(asdict(prepared), indent=2).encode() + b"\n")
    except OSError as error:
        raise os_error(error, model.parent) from error
    return prepared, content


def _agree(pack: Pack, file: str, content: bytes) -> float:
    cosine = agreement(pack, file, content)
    if not cosine >= AGREEMENT:
        raise IntegrityError(
            f"{pack.folder / file}: rewritten for speed, this model gives other results (cosine {cosine:.6f}, not "
            f"{AGREEMENT} or more). Please report it, naming the model; it cannot be used."
        )
    return cosine


def _files(pack: Pack) -> tuple[str, str]:
    return pack.detector.file, pack.embedder.file


def _paths(pack: Pack, file: str) -> tuple[Path, Path]:
    folder = pack.folder / FOLDER
    return folder / file, folder / f"{file}.json"


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, for others may read it at the same time."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".tmp", delete=False) as out:
        out.write(content)
    Path(out.name).chmod(0o644)
    Path(out.name).replace(path)


def _pictures(height: int, width: int) -> list[ByteArray]:
    """uint8[H,W,3] of nobody: noise, and patches of a sixteenth of the height."""
    random = np.random.default_rng(0)
    patches = random.integers(0, 256, (16, 16, 3), np.uint8)
    rows, columns = (np.arange(side) * 16 // side for side in (height, width))
    return [random.integers(0, 256, (height, width, 3), np.uint8), patches[rows][:, columns]]


def _cosine(a: FloatArray, b: FloatArray) -> float:
    """Between the flattened arrays; 1 where both are zero throughout, -1 where they differ in size."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    if x.shape != y.shape:
        return -1.0
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0:
        return 1.0 if not x.any() and not y.any() else -1.0
    return float(x @ y) / norms
