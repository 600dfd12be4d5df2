"""What the crash tests share: a small seized set, a gallery, the commands, and how two cases are compared."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from leakmatch.case.columns import COLUMNS
from leakmatch.case.export import write
from leakmatch.case.store import Case
from leakmatch.case.tables import DECIDED, rows
from leakmatch.sealed.keys import generate

#: What two cases must agree in. Of the run row: what is no time, no id and no machine.
EXPORTS = ("items", "faces", "candidates", "subjects", "incidents")
RUN = ("complete", "threshold", "searches", "face_comparisons", "pictures", "picture_comparisons", "outcomes", "files")

_PORTRAITS = ("astronaut.png", "obama.jpg", "biden.jpg", "obama2.jpg")
_BEGAN = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Kit:
    """A seized set and a gallery in ``folder``. ``arguments``: of every scan, but for the case."""

    folder: Path
    arguments: tuple[str, ...]

    @property
    def sources(self) -> list[str]:
        """The sources of every scan."""
        return [str(self.folder / name) for name in ("loose", "a.zip", "b.tar.gz", "cut.tar.gz")]

    @property
    def key(self) -> Path:
        """The key file of every gallery."""
        return self.folder / "set.key"

    @property
    def gallery(self) -> Path:
        """Two people with one photo each."""
        return self.folder / "people.gallery"

    def scan(self, case: Path) -> list[str]:
        """The arguments of the scan into ``case``."""
        gallery = ("-g", str(self.gallery), "--key-file", str(self.key))
        return ["scan", *self.sources, *gallery, "-c", str(case), *self.arguments]

    def enroll(self, gallery: Path, people: str = "people") -> list[str]:
        """The arguments of an enrolment."""
        return ["enroll", str(gallery), str(self.folder / people), "--key-file", str(self.key), *self.arguments]


def leakmatch(*arguments: str | Path) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "leakmatch", *map(str, arguments)]


def make_kit(folder: Path, photos: Path, pictures: int, arguments: tuple[str, ...]) -> Kit:
    """Write a set of about ``pictures`` small pictures, made of the sample ``photos``, and enrol two people."""
    folder.mkdir(parents=True, exist_ok=True)
    for people, subjects in {"people": {"collins": 0, "obama": 1}, "more": {"biden": 2}}.items():
        for subject, number in subjects.items():
            (folder / people / subject).mkdir(parents=True)
            _portrait(photos, number).save(folder / people / subject / "1.png")
    made = [(f"{n:04}.jpg", _jpeg(photos, n)) for n in range(pictures)]
    _write_set(folder, made)
    kit = Kit(folder, arguments)
    generate(kit.key)
    subprocess.run(leakmatch(*kit.enroll(kit.gallery)), check=True, capture_output=True)
    return kit


def _write_set(folder: Path, made: list[tuple[str, bytes]]) -> None:
    """A folder, a zip with a zip in it, a tar.gz, and one that is cut off; damaged and double pictures in each."""
    third = max(len(made) // 3, 2)
    loose, zipped, tarred = made[:third], made[third : 2 * third], made[2 * third :]
    (folder / "loose").mkdir()
    damaged = [("cut.jpg", made[0][1][: len(made[0][1]) // 2]), ("no.jpg", b"\xff\xd8\xff\xe0 no picture")]
    for name, data in [*loose, *damaged, ("note.txt", b"not a picture\n")]:
        (folder / "loose" / name).write_bytes(data)
    frames = [Image.open(io.BytesIO(data)) for _, data in made[:3]]
    frames[0].save(folder / "loose" / "moving.gif", save_all=True, append_images=frames[1:])
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        _add(archive, [*zipped[third // 2 :], *loose[:2], ("cut.jpg", damaged[0][1])])
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, [*zipped[: third // 2], ("inner.zip", inner.getvalue()), *loose[1:3], *damaged])
    broken = bytearray((folder / "a.zip").read_bytes())
    broken[len(broken) // 20] ^= 0x55  # somewhere in an early member
    (folder / "a.zip").write_bytes(broken)
    packed = _tar([*tarred, *zipped[:2], ("again/moving.gif", (folder / "loose" / "moving.gif").read_bytes())])
    (folder / "b.tar.gz").write_bytes(packed)
    (folder / "cut.tar.gz").write_bytes(packed[: len(packed) // 2])


def _add(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
    for name, data in members:
        archive.writestr(zipfile.ZipInfo(name, _BEGAN), data, archive.compression)


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def _portrait(photos: Path, number: int) -> Image.Image:
    portrait = Image.open(photos / _PORTRAITS[number % len(_PORTRAITS)]).convert("RGB")
    portrait.thumbnail((240, 240))
    return portrait


def _jpeg(photos: Path, number: int) -> bytes:
    """A picture unlike every other one: most show a face, some only colours."""
    data = io.BytesIO()
    if number % 7 == 6:
        colours = random.Random(number).randbytes(12 * 9 * 3)
        Image.frombytes("RGB", (12, 9), colours).resize((240, 180)).save(data, "JPEG", quality=80)
    else:
        _portrait(photos, number).rotate(number / 8).save(data, "JPEG", quality=80)
    return data.getvalue()


# Comparing


def exported(path: Path) -> dict[str, bytes]:
    """What a finished case says: every row as JSON lines, the crops, and what of the run row does not change."""
    with Case.open(path) as case:
        case.verify()
        if case.finished is None:
            raise AssertionError(f"{path} has not finished")
        found = {}
        for what in EXPORTS:
            stream = io.BytesIO()
            write(rows(case, what, every=what in DECIDED), COLUMNS[what], "jsonl", stream)
            found[what] = stream.getvalue()
        (run,) = rows(case, "run")
        found["run"] = "\n".join(f"{key}: {run[key]}" for key in RUN).encode()
        crops = case.select("SELECT file, position, frame, face, jpeg FROM crops ORDER BY 1, 2, 3, 4")
        found["crops"] = b"\n".join(b"%d %d %d %d " % row[:4] + bytes(row[4]).hex().encode() for row in crops)
    return found


def differences(truth: dict[str, bytes], found: dict[str, bytes]) -> Iterator[str]:
    """What is missing, what is more, and what is there twice, in words."""
    for what, expected in truth.items():
        one, other = Counter(expected.splitlines()), Counter(found[what].splitlines())
        for line in other - one:
            yield f"{what}: too much: {line[:400]!r}"
        for line in one - other:
            yield f"{what}: missing: {line[:400]!r}"
        if expected != found[what] and one == other:
            yield f"{what}: the same rows in another order"
        if what in EXPORTS and max(other.values(), default=1) > max(one.values(), default=1):
            yield f"{what}: a row is there twice"


def left_beside(case: Path) -> list[str]:
    """Files that a finished case must not leave beside it."""
    return sorted(p.name for p in case.parent.iterdir() if case.name in p.name and p != case)
