"""Model packs: a folder with ``pack.toml``, the model files it names, and perhaps ``calibration.json``.

Models are data: a detector or an embedder of a known kind is declared, not programmed. Nothing here downloads;
:mod:`leakmatch.faces.install` does, when the user asks for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leakmatch.assets import Asset, parse_assets, plain_name
from leakmatch.errors import IntegrityError, UsageError, os_error
from leakmatch.settings import home
from leakmatch.toml import Table

DECLARATION: Final = "pack.toml"
CALIBRATION: Final = "calibration.json"

#: Counts changes of alignment, resampling or normalisation: templates of two recipes are never compared.
TEMPLATE_RECIPE: Final = 1

COLOURS: Final = ("bgr", "rgb")


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A face detector. Its input is ``(pixel - mean) / std`` in the order ``colour``.

    ``kind``: ``yunet`` or ``scrfd``, how outputs are read. ``rungs``: the sizes (square root of the area, in
    pixels) at which a picture is looked at, largest first. ``score_threshold`` and ``nms_iou``: what counts as a
    face, and as the same face.
    """

    kind: str
    file: str
    colour: str
    mean: float
    std: float
    strides: tuple[int, ...]
    rungs: tuple[int, ...]
    score_threshold: float
    nms_iou: float


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """A face embedder: 112x112 pixels in, ``dimension`` numbers out. Its input is ``(pixel - mean) / std``.

    ``kind``: ``arcface``. ``alignment``: ``arcface-112``, the five-point template of ArcFace. ``precision``: of
    the weights, ``fp32`` or ``int8``, a part of the model's identity.
    """

    kind: str
    file: str
    colour: str
    mean: float
    std: float
    alignment: str
    dimension: int
    precision: str


@dataclass(frozen=True, slots=True)
class Pack:
    """A detector and an embedder that belong together, and the folder that holds their files."""

    name: str
    version: str
    licence: str
    folder: Path
    detector: DetectorSpec
    embedder: EmbedderSpec
    assets: tuple[Asset, ...]

    @property
    def calibration(self) -> Path:
        """Where the calibration lies, if the pack has one."""
        return self.folder / CALIBRATION

    @property
    def model_id(self) -> str:
        """``sha256:<embedder's digest>/<precision>/<recipe>``: only templates of equal ids may be compared.

        The recipe is all that leads from a picture to the model's input: alignment, colour order, mean, deviation,
        and :data:`TEMPLATE_RECIPE`.
        """
        e = self.embedder
        recipe = f"{e.alignment}-{e.colour}-{e.mean:g}-{e.std:g}-r{TEMPLATE_RECIPE}"
        return f"sha256:{self.asset(e.file).sha256}/{e.precision}/{recipe}"

    def asset(self, file: str) -> Asset:
        """The declared content of the model file ``file``."""
        return next(asset for asset in self.assets if asset.name == file)

    def describe(self) -> dict[str, object]:
        """What a run record says about the pack."""
        return {
            "name": self.name,
            "version": self.version,
            "licence": self.licence,
            "model_id": self.model_id,
            "detector": self.detector.file,
            "detector_sha256": self.asset(self.detector.file).sha256,
            "embedder": self.embedder.file,
            "embedder_sha256": self.asset(self.embedder.file).sha256,
        }


def load_pack(name_or_path: str | Path, store: Path | None = None) -> Pack:
    """The pack of this name in the model store, or the user's own pack in this folder.

    A shipped name comes before a folder of the same name (which ``./name`` still reaches). ``store`` is
    :func:`leakmatch.settings.home` unless told. Raises :class:`UsageError` for an unknown name, a wrong declaration,
    a missing model file or a pack that is not installed.
    """
    if isinstance(name_or_path, Path) or name_or_path not in shipped_names():
        folder = Path(name_or_path).absolute()
        if not (folder / DECLARATION).is_file():
            known = ", ".join(shipped_names())
            raise UsageError(f"{name_or_path}: not a model pack. Give a name ({known}) or a folder with pack.toml.")
        return _with_files(read_pack(folder), "Put it beside pack.toml.")
    remedy = f"Install it with: leakmatch models install {name_or_path}"
    source = shipped(name_or_path)
    folder = pack_folder(name_or_path, store)
    for file in shipped_files(source, ".toml", ".json"):
        if not (folder / file.name).is_file() or (folder / file.name).read_bytes() != file.read_bytes():
            raise UsageError(f"The model pack {name_or_path} is not installed, or not in this version. {remedy}")
    return _with_files(read_pack(folder), remedy)


def _with_files(pack: Pack, remedy: str) -> Pack:
    for file in (pack.detector.file, pack.embedder.file):
        if not (pack.folder / file).is_file():
            raise UsageError(f"{pack.folder / file}: this model file is missing. {remedy}")
    return pack


def verified(pack: Pack, file: str) -> bytes:
    """The content of the model file ``file``, once its digest was found right.

    Raises :class:`IntegrityError` if it is not the file that the pack declares, :class:`UsageError` if it cannot
    be read.
    """
    path = pack.folder / file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise os_error(error, path) from error
    if hashlib.sha256(content).hexdigest() != pack.asset(file).sha256:
        raise IntegrityError(f"{path}: not the model that the pack {pack.name} declares (its SHA-256 differs).")
    return content


# --- shipped with LeakMatch -------------------------------------------------------------------------------------


def shipped_names() -> tuple[str, ...]:
    """The names of the packs that LeakMatch describes, sorted."""
    return tuple(sorted(file.parent.name for file in _shelf().glob(f"*/{DECLARATION}")))


def shipped(name: str) -> Path:
    """The folder of the shipped pack's description (no model files). Raises :class:`UsageError` for another name."""
    if name not in shipped_names():
        raise UsageError(f"There is no model pack {name!r} to install. Known: {', '.join(shipped_names())}.")
    return _shelf() / name


def pack_folder(name: str, store: Path | None = None) -> Path:
    """Where the shipped pack ``name`` is installed, or would be."""
    return (store or home()) / "packs" / name


def shipped_files(source: Path, *suffixes: str) -> list[Path]:
    """The files of a shipped description with these suffixes, sorted."""
    return sorted(file for file in source.iterdir() if file.suffix in suffixes)


def _shelf() -> Path:
    """Package data in a wheel; ``models/`` of the repository in a checkout."""
    package = Path(__file__).parents[1]
    return package / "_models" if (package / "_models").is_dir() else package.parent / "models"


# --- declaration ------------------------------------------------------------------------------------------------


def read_pack(folder: Path) -> Pack:
    """The pack that ``folder/pack.toml`` declares; model files are not looked at.

    Raises :class:`UsageError` naming the key that is missing or wrong.
    """
    table = Table.read(folder / DECLARATION)
    assets = parse_assets(table)
    declared = {asset.name for asset in assets}
    detector, embedder = table.table("detector"), table.table("embedder")
    for part in (detector, embedder):
        if part.text("file") not in declared:
            raise part.wrong("file", "the name of an [[asset]]")
    return Pack(
        name=plain_name(table, "name"),
        version=table.text("version"),
        licence=table.text("licence"),
        folder=folder,
        detector=_detector(detector),
        embedder=_embedder(embedder),
        assets=assets,
    )


def _detector(table: Table) -> DetectorSpec:
    rungs = table.wholes("rungs")
    if list(rungs) != sorted(set(rungs), reverse=True):
        raise table.wrong("rungs", "a list of sizes, largest first")
    return DetectorSpec(
        kind=table.choice("kind", ("yunet", "scrfd")),
        file=table.text("file"),
        colour=table.choice("colour", COLOURS),
        mean=table.number("mean"),
        std=table.number("std", low=1e-6),
        strides=table.wholes("strides"),
        rungs=rungs,
        score_threshold=table.number("score_threshold", 0.01, 1),
        nms_iou=table.number("nms_iou", 0, 1),
    )


def _embedder(table: Table) -> EmbedderSpec:
    return EmbedderSpec(
        kind=table.choice("kind", ("arcface",)),
        file=table.text("file"),
        colour=table.choice("colour", COLOURS),
        mean=table.number("mean"),
        std=table.number("std", low=1e-6),
        alignment=table.choice("alignment", ("arcface-112",)),
        dimension=table.whole("dimension", minimum=2),
        precision=table.choice("precision", ("fp32", "int8")),
    )
