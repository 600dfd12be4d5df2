"""Places the packs that LeakMatch describes in the model store, ready to run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from leakmatch.assets import fetch_all, is_placed, place, silent
from leakmatch.errors import os_error
from leakmatch.faces.packs import Pack, load_pack, pack_folder, read_pack, shipped, shipped_files
from leakmatch.faces.prepared import prepare
from leakmatch.mirrors import Progress


def install(name: str, store: Path | None = None, from_dir: Path | None = None, progress: Progress = silent) -> Pack:
    """Place the shipped pack ``name`` in the model store, complete: description, calibration, models, prepared models.

    Files that are there already are kept. With ``from_dir`` the network is not used. Raises as
    :func:`leakmatch.assets.fetch_all`, :func:`leakmatch.assets.place` and :func:`leakmatch.faces.prepared.prepare`.
    """
    source, folder = shipped(name), pack_folder(name, store)
    assets = read_pack(source).assets
    if from_dir is None:
        fetch_all(assets, folder, progress)
    else:
        for asset in assets:
            if not is_placed(asset, folder):
                place(asset, from_dir, folder)
    for file in shipped_files(source, ".toml", ".json", ".md"):
        _copy(file, folder)
    pack = load_pack(name, store)
    prepare(pack)
    return pack


def _copy(file: Path, folder: Path) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{file.name}.", suffix=".tmp", delete=False) as out:
            out.write(file.read_bytes())
        Path(out.name).chmod(0o644)
        Path(out.name).replace(folder / file.name)
    except OSError as error:
        raise os_error(error, folder) from error
