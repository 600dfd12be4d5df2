"""Archives of other projects' test suites, held to what the standard library's readers find in them.

The samples lie beside the repository, in ``../shared/corpora``, and are not part of it.
"""

from __future__ import annotations

import hashlib
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import Walked, walked

CORPORA = Path(__file__).parents[3] / "shared" / "corpora"

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="the shared samples are not beside the repository")

Listed = tuple[bytes, bytes | None]  # raw name and digest

# Where the standard library's readers and this one differ, and why this one is right or cannot do better.
KNOWN = {
    "test_read_format_zip_uncompressed_size_off_by_4gib.zip": "its size is wrong by 4 GiB, and told as such",
    "test_read_format_rar5_zip_in_rar.rar": "a rar; zipfile finds the zip in it by its end",
    "test_compat_lzip_": "lzip, which is not read",
    "test_extract.tar.lz": "lzip, which is not read",
}


def samples() -> list[Path]:
    """Files that one of the standard library's readers takes for its own."""
    names = ("*.zip", "*.zipx", "*.jar", "*.xps", "*.tar", "*.t[gbxl]z", "*.tar.gz", "*.tar.bz2", "*.tar.xz", "*sfx*")
    return sorted({path for pattern in names for path in (CORPORA / "libarchive").rglob(pattern)})


def in_zip(path: Path) -> Iterator[Listed]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith("/"):
                raw = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
                try:
                    yield raw, hashlib.sha256(archive.read(info)).digest()
                except Exception:  # noqa: BLE001 - what zipfile cannot read, no reader is held to
                    yield raw, None


def in_tar(path: Path) -> Iterator[Listed]:
    with tarfile.open(path) as archive:
        for info in archive.getmembers():
            if not info.isdir():
                file = archive.extractfile(info) if info.isreg() else None
                digest = hashlib.sha256()
                while file and (block := file.read(1 << 16)):  # in pieces: tarfile is slow at large sparse files
                    digest.update(block)
                yield info.name.encode("utf-8", "surrogateescape"), digest.digest() if file else None


def listed(path: Path) -> list[Listed]:
    for reader in (in_zip, in_tar):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return list(reader(path))
        except Exception:  # noqa: BLE001 - not an archive of this kind
            continue
    return []


def holds(found: Walked, raw: bytes, sha256: bytes | None) -> bool:
    entries = [e for e in found.entries if e.locator.depth and e.locator.raw.rstrip(b"/") == raw.rstrip(b"/")]
    return any(sha256 is None or e.sha256 == sha256 for e in entries)


def test_every_member_that_the_standard_library_finds_is_found():
    compared = 0
    for path in samples():
        members = listed(path)
        if not members or any(path.name.startswith(name) for name in KNOWN):
            continue
        found = walked(path)
        missing = [raw for raw, sha256 in members if not holds(found, raw, sha256)]
        assert not missing, f"{path.name}: {missing}"
        deepest = max(e.locator.depth for e in found.entries)
        counts = {depth: len(found.below(depth)) for depth in range(1, deepest + 1)}
        assert len(members) <= max(counts.values()), f"{path.name}: {counts}, not {len(members)}"
        compared += 1
    assert compared > 80


def test_every_sample_has_its_rows():
    """None raises, and none that cannot be read is called walked. (``walked`` checks positions and locators.)"""
    for path in sorted(CORPORA.rglob("*")):
        if path.is_file() and path.suffix in {
            ".zip",
            ".zipx",
            ".tar",
            ".gz",
            ".bz2",
            ".xz",
            ".zst",
        }:
            walked(path)
