"""Nothing of the people in a sealed gallery is anywhere in plain: not in it, beside it, in temporary files or logs."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from canaries import Canaries, watched
from commands import Run

from leakmatch.gallery.store import Gallery
from leakmatch.sealed.file import SealedFile
from leakmatch.sealed.header import BLOCKS_AT
from leakmatch.sealed.keys import Keys

PEOPLE = {
    "obama-canary": ("Barackolin Canarius", "obama.jpg"),
    "collins-canary": ("Eilinora Quorinbach", "astronaut.png"),
}
STRANGER = "biden.jpg"
IMPORTED = 60


@dataclass(frozen=True)
class World:
    """What is left of a whole job: the gallery, what was written elsewhere, what was ever in temporary folders."""

    gallery: Path
    plain: Path
    archive: Path
    results: dict[str, bytes]
    said: dict[str, bytes]
    temporary: dict[str, bytes]
    missed: list[str]
    templates: np.ndarray
    digests: list[bytes]
    hashes: list[bytes]
    hidden: list[str]  #: names, ids and photos of all who are no candidates, not even weak ones

    def canaries(self, *texts: str) -> Canaries:
        """All templates and hashes, and these texts."""
        return Canaries(self.templates, self.digests, self.hashes, texts)


@pytest.fixture(scope="module")
def world(run: Run, key: Path, sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("canary")
    house, temporary, out = folder / "house", folder / "tmp", folder / "out"
    for each in (house, temporary, out):
        each.mkdir()
    table, templates, archive = _inputs(folder, sample_photos)
    gallery, case = house / "school.gallery", out / "found.case"
    said = {}
    with watched(house, temporary, out) as watch:
        for name, arguments in {
            "enroll": ("enroll", gallery, table, "-v"),
            "import": ("gallery", "import", gallery, templates, "--trust-model"),
            "scan": ("scan", archive, "-g", gallery, "-c", case, "-v"),
            "report": ("report", case, "-o", out / "report.html"),
            "candidates": ("export", case, "candidates", "--all"),
            "items": ("export", case, "items"),
        }.items():
            done = run(*arguments, TMPDIR=str(temporary))
            assert done.code in (0, 3), done.err
            said[name] = (done.out + done.err).encode()
    candidates = {json.loads(line)["subject_id"] for line in said["candidates"].splitlines()}
    assert "obama-canary" in candidates
    assert "collins-canary" not in candidates
    assert len(candidates) < IMPORTED
    plain = folder / "plain.gallery"
    with Gallery.open(gallery, keys=Keys(key_file=key), writable=True) as opened:
        vectors = np.concatenate(list(opened.templates().parts()))
        database = opened._database
        digests = [sha256 for (sha256,) in database.select("SELECT sha256 FROM photos")]
        hashes = [bits for (bits,) in database.select("SELECT DISTINCT bits FROM hashes")]
        database._connection.execute("VACUUM INTO ?", (f"file:{plain}?vfs=unix",))
    assert len(vectors) == len(PEOPLE) + IMPORTED
    return World(
        gallery,
        plain,
        archive,
        {path.name: path.read_bytes() for path in out.iterdir()},
        said,
        {str(path): data for path, kept in watch.content.items() if path != gallery for data in kept},
        sorted(map(str, watch.missed)),
        vectors,
        digests,
        hashes,
        [text for subject, *texts in _everybody() if subject not in candidates for text in (subject, *texts)],
    )


def _everybody() -> Iterator[tuple[str, str, str]]:
    """Subject id, name and photo."""
    for subject, (name, photo) in PEOPLE.items():
        yield subject, name, photo
    for n in range(IMPORTED):
        yield f"imported-canary-{n:03}", f"Zyxwella Canary {n:03}", f"canary-folder/{n:03}.jpg"


def _inputs(folder: Path, photos: Path) -> tuple[Path, Path, Path]:
    """Two photos with names, templates of nobody, and an archive with another photo of one of the two."""
    table = folder / "people.csv"
    rows = [f"{subject},{photos / photo},{name}" for subject, (name, photo) in PEOPLE.items()]
    table.write_text("\n".join(["subject_id,path,name", *rows]) + "\n")
    generator = np.random.default_rng(4)
    vectors = generator.normal(size=(IMPORTED, 128)).astype(np.float32)
    subjects, names, paths = (np.array(column[len(PEOPLE) :]) for column in zip(*_everybody(), strict=True))
    np.savez(
        folder / "made-up.npz",
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        subject_id=subjects,
        name=names,
        path=paths,
        sha256=generator.integers(0, 256, (IMPORTED, 32), np.uint8),
    )
    archive = folder / "seized.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for photo in ("obama2.jpg", STRANGER):
            made.write(photos / photo, f"set/{photo}")
        made.writestr("set/noise.jpg", b"\xff\xd8\xff\xe0" + os.urandom(2000))
    return table, folder / "made-up.npz", archive


def test_the_search_finds_what_it_is_for(world: World) -> None:
    """In a gallery that was left plain, and in every form that it knows, at any place in a file."""
    canaries = world.canaries("Eilinora Quorinbach", "imported-canary-007", "canary-folder/007.jpg")
    found = canaries.found(world.plain.read_bytes())
    assert found >= {"a template as float32", "a digest", "a hash"}
    assert sum(each.startswith("the text") for each in found) == 3
    vector, noise = world.templates[7], os.urandom(1000)
    for name, data in {
        "float32": vector.tobytes(),
        "float16": vector.astype(np.float16).tobytes(),
        "float64": vector.astype(np.float64).tobytes(),
        "int8": np.rint(vector * 127).astype(np.int8).tobytes(),
    }.items():
        for shift in range(9):
            part = noise[:shift] + data[5 : 5 + 24] + noise
            assert f"a template as {name}" in canaries.found(part)
            assert f"a template as {name} in hexadecimal" in canaries.found(b"x" + part.hex().encode())
            text = b'{"v": "' + base64.b64encode(part) + b'"}'
            assert f"a template as {name} in base64" in canaries.found(text)
            assert f"a template as {name} in base64" in canaries.found(base64.urlsafe_b64encode(part)[1:])
    assert not canaries.found(os.urandom(1 << 20))


def test_a_sealed_gallery_shows_nothing(world: World) -> None:
    data = world.gallery.read_bytes()
    texts = [text for texts in _everybody() for text in texts]
    assert not world.canaries(*texts, "SQLite format", "CREATE TABLE", "subject_id", str(world.archive)).found(data)
    assert len(zlib.compress(data[BLOCKS_AT:], 9)) >= 0.99 * (len(data) - BLOCKS_AT)
    assert [path.name for path in world.gallery.parent.iterdir()] == [world.gallery.name]


def test_nothing_is_in_temporary_files_not_for_a_moment(world: World) -> None:
    """Beside the gallery, beside the case, and where TMPDIR points; each file was read while it was there."""
    assert world.temporary
    canaries = world.canaries(*world.hidden)
    for path, data in world.temporary.items():
        assert not canaries.found(data), path
    # Gone too soon to be looked at: at most the gallery before it has its name, and journals of the case, of which all
    # comes to be in the case.
    assert [path for path in world.missed if ".school.gallery.new" not in path and "found.case" not in path] == []


@pytest.mark.parametrize("kind", ["results", "said"])
def test_results_and_messages_name_candidates_only(world: World, kind: str) -> None:
    """The case, the report, exports and all that was said: no template, no hash, nobody who is no candidate."""
    canaries = world.canaries(*world.hidden)
    for name, data in getattr(world, kind).items():
        assert not canaries.found(data), name


# Processes


def _children(pid: int) -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found.append(int(each.name))
    return found


def _memory(pid: int) -> Iterator[bytes]:
    """The writable memory of another process."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights = line.split()[:2]
            if "w" not in rights or "[v" in line:
                continue
            start, stop = (int(bound, 16) for bound in bounds.split("-"))
            try:
                memory.seek(start)
                yield memory.read(stop - start)
            except OSError:
                continue


def test_workers_have_no_key_and_no_gallery(
    run: Run, world: World, key: Path, pack_home: Path, sample_photos: Path, tmp_path: Path
) -> None:
    """Neither in their environment, arguments and open files, nor, where that can be read, in their memory."""
    passphrase = "a canary of a passphrase"
    done = run("gallery", "keys", "add", world.gallery, LEAKMATCH_NEW_PASSPHRASE=passphrase)
    assert done.code == 0, done.err
    with SealedFile.open(world.gallery, Keys(key_file=key)) as file:
        secrets = [file.master, file._keys.blocks, file._keys.root, file._keys.key_page]
    secrets += [passphrase.encode(), key.read_bytes()]
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for number in range(6):
            photo = (sample_photos / STRANGER).read_bytes() + bytes([number])
            made.writestr(f"{number}.jpg", photo)
    case = tmp_path / "a.case"
    scan = subprocess.Popen(
        [sys.executable, "-m", "leakmatch", "scan", archive, "-g", world.gallery, "-c", case, "-q"],
        env={
            **os.environ,
            "LEAKMATCH_HOME": str(pack_home),
            "LEAKMATCH_WORKERS": "2",
            "LEAKMATCH_PASSPHRASE": passphrase,
        },
        stdin=subprocess.DEVNULL,
    )
    seen, until = 0, time.monotonic() + 120
    try:
        while scan.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
            limits = Path(f"/proc/{scan.pid}/limits").read_text()
            if not re.search(r"Max core file size +0 ", limits):
                continue  # it has not read its key yet
            for pid in _children(scan.pid):
                with suppress(FileNotFoundError, ProcessLookupError):
                    seen += _has_nothing(pid, secrets, passphrase, key, world)
            if seen >= 4 and case.exists():
                break
    finally:
        scan.wait(120)
    assert seen >= 2
    assert scan.returncode in (0, 3)


def _has_nothing(pid: int, secrets: list[bytes], passphrase: str, key: Path, world: World) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    if b"leakmatch.pipeline.worker" not in command:
        return False
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    for text in (passphrase, "LEAKMATCH_PASSPHRASE", str(key), str(world.gallery)):
        assert text.encode() not in environment + command
    files = [str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
    assert not [name for name in files if name in (str(key), str(world.gallery))]
    canaries = [*secrets, *(vector.tobytes()[:32] for vector in world.templates)]
    looked_at = 0
    with suppress(PermissionError):
        for part in _memory(pid):
            assert not any(secret in part for secret in canaries)
            looked_at += len(part)
        assert looked_at > 1 << 20
    return True


def test_a_process_that_read_a_key_leaves_no_core(key: Path) -> None:
    script = """
import ctypes, resource, sys
from pathlib import Path
from leakmatch.sealed.keys import Keys
libc = ctypes.CDLL(None)
assert libc.prctl(3, 0, 0, 0, 0) == 1  # PR_GET_DUMPABLE: as every process begins
Keys(key_file=Path(sys.argv[1])).secret("a gallery")
assert libc.prctl(3, 0, 0, 0, 0) == 0
assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
"""
    done = subprocess.run([sys.executable, "-c", script, key], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
