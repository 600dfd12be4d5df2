"""Archives in several files: read through the part that carries them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from archives import COMPRESS, PICTURES, Walked, Zipped, picture, tar_of, walked, zip_of, zipped

from leakmatch.records import ItemKind, Outcome

MEMBERS = [(b"%d.jpg" % n, picture(n, 40_000)) for n in range(6)]


def cut(data: bytes, folder: Path, name: str, pieces: int, first: int = 1) -> list[Path]:
    size = -(-len(data) // pieces)
    paths = [folder / f"{name}.{first + n:03}" for n in range(pieces)]
    for n, path in enumerate(paths):
        path.write_bytes(data[n * size : (n + 1) * size])
    return paths


def is_part_of(walk: Walked, path: Path, carrier: str) -> bool:
    """Whether the file has a row of its own, and nothing else."""
    (row,) = walk.entries
    assert row.sha256 == hashlib.sha256(path.read_bytes()).digest()
    return (row.kind, row.outcome) == (ItemKind.CONTAINER, Outcome.WALKED) and carrier in row.detail


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("name", "data", "depth"),
    [
        ("a.zip", zip_of(MEMBERS), 1),
        ("a.tar", tar_of(MEMBERS), 1),
        ("a.tar.gz", COMPRESS["gzip"](tar_of(MEMBERS)), 2),
        ("nameless", COMPRESS["xz"](tar_of(MEMBERS)), 2),
    ],
)
def test_a_file_that_was_cut(tmp_path, name, data, depth, first):
    paths = cut(data, tmp_path, name, 4, first)
    walk = walked(paths[0])
    assert walk.members(depth) == MEMBERS
    assert walk.root.outcome is Outcome.WALKED
    assert not walk.incidents
    assert walk.root.sha256 == hashlib.sha256(paths[0].read_bytes()).digest()
    assert walk.root.size == paths[0].stat().st_size
    for number, path in enumerate(paths[1:], start=2):
        assert is_part_of(walked(path), path, f"part {number} of {name}.{first:03}")


def test_the_parts_of_a_tar_that_begin_with_a_header_are_read_with_it(tmp_path):
    data = tar_of([(b"%d.jpg" % n, picture(n, 509)) for n in range(8)])
    paths = cut(data[: len(data) // 4096 * 4096], tmp_path, "a.tar", 4)
    assert len(walked(paths[0]).below(1)) == 8
    assert [is_part_of(walked(path), path, "a.tar.001") for path in paths[1:]] == [True] * 3


def test_a_part_that_is_missing_is_named(tmp_path):
    paths = cut(zip_of(MEMBERS), tmp_path, "a.zip", 4)
    paths[2].unlink()
    walk = walked(paths[0])
    assert walk.members()[:3] == MEMBERS[:3]
    assert walk.root.outcome is Outcome.NEEDS_VOLUME
    assert "a.zip.003" in walk.root.detail
    assert is_part_of(walked(paths[1]), paths[1], "a.zip.001")
    (row,) = walked(paths[3]).entries
    assert (row.kind, row.outcome) == (ItemKind.CONTAINER, Outcome.NEEDS_VOLUME)
    assert "a.zip.003" in row.detail


def test_the_parts_after_the_only_one_that_is_there(tmp_path):
    paths = cut(COMPRESS["gzip"](tar_of(MEMBERS)), tmp_path, "a.tar.gz", 3)
    paths[1].unlink()
    paths[2].unlink()
    walk = walked(paths[0])
    assert walk.root.outcome is Outcome.NEEDS_VOLUME
    assert "a.tar.gz.002" in walk.root.detail
    assert walk.members(2)[0] == MEMBERS[0]


def test_parts_without_the_first(tmp_path):
    paths = cut(zip_of(MEMBERS), tmp_path, "a.zip", 3)
    paths[0].unlink()
    (row,) = walked(paths[1]).entries
    assert row.outcome is Outcome.NEEDS_VOLUME
    assert "a.zip.001" in row.detail


def test_in_a_container_there_is_nothing_beside_a_part(tmp_path):
    paths = cut(zip_of(MEMBERS), tmp_path, "a.zip", 3)
    walk = walked(zip_of([(path.name.encode(), path.read_bytes()) for path in paths]))
    assert walk.below(1)[0].outcome is Outcome.PARTIAL


def test_no_name_hides_a_picture_or_an_archive(tmp_path):
    (tmp_path / "a.001").write_bytes(zip_of(PICTURES))
    (tmp_path / "a.002").write_bytes(picture(9))
    (tmp_path / "a.003").write_bytes(COMPRESS["gzip"](picture(10)))
    assert walked(tmp_path / "a.002").pictures == [picture(9)]
    assert walked(tmp_path / "a.003").pictures == [picture(10)]


@pytest.mark.parametrize("name", ["frame", "scan.2024"])
def test_numbered_files_that_are_no_set(tmp_path, name):
    for n in range(1, 4):
        (tmp_path / f"{name}.{n:03}").write_bytes(b"text" if n == 2 else picture(n))
    assert walked(tmp_path / f"{name}.001").pictures == [picture(1)]
    assert walked(tmp_path / f"{name}.002").root.outcome is Outcome.NOT_IMAGE
    assert walked(tmp_path / f"{name}.003").pictures == [picture(3)]


# Zip with volumes of its own


def volumes(folder: Path, members: list[tuple[bytes, bytes]]) -> list[Path]:
    """A volume for each member, by hand."""
    paths, body, directory = [], b"PK\x07\x08", b""
    for disk, (name, data) in enumerate(members):
        alone = zipped([Zipped(name, data, disk=disk, header=len(body))])
        start, end = alone.find(b"PK\x01\x02"), alone.rfind(b"PK\x05\x06")
        directory += alone[start:end]
        last = disk == len(members) - 1
        paths.append(folder / ("a.zip" if last else f"a.z{disk + 1:02}"))
        local = alone[:start]
        if last:
            size = len(directory)
            end_record = alone[end : end + 4] + disk.to_bytes(2, "little") * 2 + alone[end + 8 : end + 8]
            counts = len(members).to_bytes(2, "little") * 2
            end_record += counts + size.to_bytes(4, "little") + (len(body) + len(local)).to_bytes(4, "little") + b"\0\0"
            paths[-1].write_bytes(body + local + directory + end_record)
        else:
            paths[-1].write_bytes(body + local)
        body = b""
    return paths


def test_volumes_of_a_zip(tmp_path):
    paths = volumes(tmp_path, MEMBERS)
    walk = walked(paths[-1])
    assert walk.members() == MEMBERS
    assert walk.root.outcome is Outcome.WALKED
    assert not walk.incidents
    for number, path in enumerate(paths[:-1], start=1):
        assert is_part_of(walked(path), path, f"part {number} of a.zip")


def test_a_volume_of_a_zip_that_is_missing(tmp_path):
    paths = volumes(tmp_path, MEMBERS)
    paths[2].unlink()
    walk = walked(paths[-1])
    assert [e.outcome for e in walk.below(1)] == [None, None, Outcome.NEEDS_VOLUME, None, None, None]
    assert walk.pictures == [data for n, (_, data) in enumerate(MEMBERS) if n != 2]
    assert walk.root.outcome is Outcome.NEEDS_VOLUME
    assert "a.z03" in walk.root.detail
    assert is_part_of(walked(paths[3]), paths[3], "part 4 of a.zip")


def test_a_volume_beside_a_zip_that_has_none_is_read_by_itself(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_of(PICTURES))
    (tmp_path / "a.z01").write_bytes(zip_of([(b"hidden.jpg", picture(50))]))
    assert walked(tmp_path / "a.z01").pictures == [picture(50)]


@pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP's zip is not installed")
@pytest.mark.parametrize("name", ["all.zip", "ALL.ZIP"])
def test_volumes_by_info_zip(tmp_path, name):
    for member, data in MEMBERS:
        (tmp_path / member.decode()).write_bytes(data)
    names = [member.decode() for member, _ in MEMBERS]
    subprocess.run(["zip", "-q", "-s", "64k", name, *names], cwd=tmp_path, check=True)
    paths = sorted(path for path in tmp_path.iterdir() if path.suffix != ".jpg")
    assert len(paths) == 4
    carrier = tmp_path / name
    walk = walked(carrier)
    assert walk.members() == MEMBERS
    assert not walk.incidents
    assert all(is_part_of(walked(path), path, name) for path in paths if path != carrier)


@pytest.mark.parametrize(("name", "last"), [("a.z02", "a.zip"), ("A.Z02", "A.ZIP"), ("a.zx02", "a.zipx")])
def test_a_missing_last_part_is_named_in_the_letters_of_the_set(tmp_path, name, last):
    for number in (1, 2, 3):
        (tmp_path / name.replace("2", str(number))).write_bytes(bytes(100))
    walk = walked(tmp_path / name)
    assert walk.root.outcome is Outcome.NEEDS_VOLUME
    assert walk.root.detail.endswith(f"without {last}")
