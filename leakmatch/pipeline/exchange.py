"""Template files into a gallery that may have to be made first, and one gallery into another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from leakmatch.errors import IntegrityError, ModelMismatch, StorageError
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.gallery.about import About
from leakmatch.gallery.merge import Merged
from leakmatch.gallery.merge import merge as _merge
from leakmatch.gallery.rows import FACE, PICTURE
from leakmatch.gallery.store import Gallery
from leakmatch.gallery.template_files import open_templates
from leakmatch.gallery.template_writers import Progress
from leakmatch.gallery.transfer import Imported, import_templates, no_progress, require_model
from leakmatch.hashing.algorithms import DHASH, HASH_BYTES, PHASH
from leakmatch.hashing.evidence import require_current
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings

log = logging.getLogger(__name__)

#: Makes a callback for the progress of one file.
Watched = Callable[[], AbstractContextManager[Progress]]


def import_files(
    path: Path,
    files: Sequence[Path],
    settings: Settings,
    watched: Watched,
    *,
    keys: Keys | None = None,
    file_keys: Keys | None = None,
    purpose: str = "",
    legal_basis: str = "",
    trust_model: bool = False,
    hashes: bool = True,
) -> Iterator[Imported]:
    """Add ``files`` to the gallery at ``path``, one after the other; each as a whole or not at all.

    The gallery is made where it is not there, for the pack of ``settings``; what is not said of its ``purpose`` and
    ``legal_basis`` is taken from the first file that states it. ``keys`` open or seal the gallery (``None``: it is
    plain), ``file_keys`` open files that are sealed. All files are looked at before the first is added. ``hashes`` and
    ``trust_model``: see :func:`~leakmatch.gallery.transfer.import_templates`, and what it raises.
    """

    def look(model_id: str, dimension: int) -> Iterator[About]:
        for file in files:
            with open_templates(file, file_keys) as templates:
                require_model(templates, file, model_id, dimension, trust_model=trust_model)
                if hashes:
                    _require_current(templates.about, file)
                yield templates.about

    with ExitStack() as stack:
        if path.exists():
            gallery = stack.enter_context(Gallery.open(path, keys=keys, writable=True, action="import"))
            gallery.require_terms(purpose, legal_basis)
            list(look(gallery.model_id, gallery.dimension))
        else:
            pack = load_pack(settings.pack)
            stated = [About(purpose=purpose, legal_basis=legal_basis)]
            stated += look(pack.model_id, pack.embedder.dimension)
            gallery = stack.enter_context(_made(path, pack, stated, keys))
        for file in files:
            with watched() as progress:
                report = import_templates(
                    gallery, file, keys=file_keys, trust_model=trust_model, hashes=hashes, progress=progress
                )
            yield report
        _tidy(gallery)


def _made(path: Path, pack: Pack, stated: Sequence[About], keys: Keys | None) -> Gallery:
    """A new gallery, for what is stated first."""
    return Gallery.create(
        path,
        pack.name,
        pack.model_id,
        pack.embedder.dimension,
        keys=keys,
        purpose=next((about.purpose for about in stated if about.purpose), ""),
        legal_basis=next((about.legal_basis for about in stated if about.legal_basis), ""),
    )


def _require_current(about: About, file: Path) -> None:
    """Raise :class:`ModelMismatch` for hashes that this version would not find copies with."""
    advice = f"Its templates alone can be imported with --without-hashes: leakmatch gallery import ... {file}"
    try:
        require_current({kind.algorithm for kind in about.hashes}, str(file))
    except IntegrityError as error:
        raise ModelMismatch(f"{error} {advice}") from error
    for scope in (PICTURE, FACE):
        algorithms = {kind.algorithm for kind in about.hashes if kind.scope == scope}
        if algorithms and not {PHASH, DHASH} <= algorithms:
            raise ModelMismatch(f"{file}: its hashes are not complete ({scope}). {advice}")
    for kind in about.hashes:
        if HASH_BYTES.get(kind.algorithm) != kind.size:
            raise ModelMismatch(f"{file}: has hashes that this version does not make: {kind}. {advice}")


def merge(
    path: Path,
    other: Path,
    *,
    keys: Keys | None = None,
    other_keys: Keys | None = None,
    same_ids: bool = False,
    prefix: str = "",
    progress: Progress = no_progress,
) -> Merged:
    """Add the people of the gallery ``other`` to the one at ``path``. See :func:`leakmatch.gallery.merge.merge`.

    ``keys`` and ``other_keys`` open them. Both logs say what was done; of ``other`` nothing else changes.
    """
    with (
        Gallery.open(path, keys=keys, writable=True, action="merge", other=str(other.absolute())) as gallery,
        Gallery.open(other, keys=other_keys, steady=True, action="merge-into", into=str(path.absolute())) as second,
    ):
        merged = _merge(gallery, second, same_ids=same_ids, prefix=prefix, progress=progress)
        second.note("merged-into", into=str(path.absolute()), into_gallery=gallery.id, templates=merged.added)
        _tidy(gallery)
        return merged


def _tidy(gallery: Gallery) -> None:
    """What is added in one step may be written more than once. That it cannot be rewritten ends nothing."""
    try:
        gallery.tidy()
    except StorageError as error:
        log.warning("%s: was not compacted (%s)", gallery.path, error)
