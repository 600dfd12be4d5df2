"""Archives of other projects' test suites, held to what 7-Zip and bsdtar find in them.

The samples lie beside the repository, in ``../shared/corpora``, and are not part of it.
"""

from __future__ import annotations

import shutil
import subprocess
import zlib
from collections import Counter
from pathlib import Path

import pytest
from archives import walked

from leakmatch.errors import ItemError
from leakmatch.sources.members import Member
from leakmatch.sources.opening import Opening
from leakmatch.sources.passwords import Passwords
from leakmatch.sources.registry import detect, open_container
from leakmatch.sources.split.volumes import Volumes

CORPORA = Path(__file__).parents[3] / "shared" / "corpora"
SEVENZIP, BSDTAR = shutil.which("7zz"), shutil.which("bsdtar")

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="the shared samples are not beside the repository")

PASSWORDS = ("password", "secret", "12345678", "пароль", "1234", "psw", "hello", "passwd", "boom")

#: Where the two differ from what is read here, and why that is right or cannot be helped.
KNOWN = {
    "test_read_format_7zip_deflate_arm64.7z": "the filter for ARM64 code is not read, and told as such",
    "test_read_format_7zip_lzma2_arm64.7z": "the same",
    "test_read_format_7zip_lzma2_riscv.7z": "the same for RISC-V",
    "test_read_format_cab_filename_cp932.cab": "7-Zip takes the names for another encoding; here they stay as stored",
    "test_read_format_cab_multi.p1.cab": "sets of cabinets are not read, and told as such",
    "test_read_format_cab_multi.p2.cab": "the same",
    "test_read_format_rar5_zip_in_rar.rar": "a rar with a zip stored in it; 7-Zip reads that zip instead",
    "crc_corrupted.7z": "damaged: 7-Zip lists the checksums that the contents should have",
    "data_corrupted.7z": "the same",
    "github_14.7z": "a member without a name; 7-Zip gives it that of the archive",
    "github_14_multi.7z": "the same",
}

#: Samples for bugs of libarchive itself that old versions have: one overruns its memory, the others never end. A worker
#: that reads them is replaced, and the sample is quarantined.
DEADLY = {
    "test_read_format_cab_lzx_oob.cab",
    "test_read_format_xar_doublelink.xar",
    "test_read_format_iso_rockridge_ce_loop.iso.Z",
}

Found = list[tuple[str, int | None]]  # names, and CRC-32 where one could be made


def samples(*suffixes: str) -> list[Path]:
    paths = (path for path in CORPORA.rglob("*") if path.suffix in suffixes and path.is_file())
    return sorted(path for path in paths if path.name not in DEADLY | KNOWN.keys())


def ours(path: Path) -> tuple[Found, str]:
    """What is read here, and how the reading ended."""
    found: Found = []
    with path.open("rb") as file:
        kind = detect(file.read(36 << 10))
        if kind is None or kind.startswith("unread:"):
            return [], "not recognised"
        passwords = Passwords([line.encode() for line in PASSWORDS])
        opening = Opening(kind, file, path.stat().st_size, path.name, passwords=passwords, volumes=Volumes(path))
        try:
            for member in open_container(opening).members():
                if not member.special:
                    found.append((member.raw.decode("utf-8", "replace"), crc_of(member)))
        except ItemError as error:
            return found, str(error)
    return found, ""


def crc_of(member: Member) -> int | None:
    if member.problem is not None:
        return None
    crc, file = 0, member.open()
    try:
        while block := file.read(1 << 16):
            crc = zlib.crc32(block, crc)
    except Exception:  # noqa: BLE001 - whatever a codec raises: it cannot be read
        return None
    return crc


def by_sevenzip(path: Path) -> Found:
    """What 7-Zip lists, with the first password that opens it."""
    for password in PASSWORDS:
        assert SEVENZIP is not None
        command = [SEVENZIP, "l", "-slt", "-ba", "-sccUTF-8", f"-p{password}", str(path)]
        done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            break
    else:
        return []
    found: Found = []
    for block in done.stdout.decode("utf-8", "replace").split("\n\n"):
        fields = dict(line.split(" = ", 1) for line in block.splitlines() if " = " in line)
        attributes = fields.get("Attributes", "")
        is_link = any(fields.get(name) for name in ("Symbolic Link", "Hard Link", "Copy Link")) or " l" in attributes
        is_folder = fields.get("Folder", "-") != "-" or "D" in attributes.split(" ")[0]
        is_other = fields.get("Anti") == "+" or fields.get("Alternate Stream") == "+"
        if fields.get("Path") and not (is_link or is_folder or is_other):
            crc = fields.get("CRC") or ("00000000" if fields.get("Size") == "0" else "")
            found.append((fields["Path"], int(crc, 16) if crc else None))
    return found


@pytest.mark.skipif(SEVENZIP is None, reason="7zz is not installed")
def test_what_seven_zip_finds_is_found():
    differences, compared = [], 0
    for path in samples(".7z", ".rar", ".cab"):
        listed = by_sevenzip(path)
        if not listed or (".part" in path.name and "part1." not in path.name and "part01." not in path.name):
            continue
        found, end = ours(path)
        # 7-Zip's list has no CRC of what is stored with another checksum, or begins in another part.
        names = Counter(name for name, _ in listed) - Counter(name for name, _ in found)
        crcs = {crc for _, crc in listed if crc} - {crc for _, crc in found}
        if names or crcs:
            differences.append(f"{path.name}: {dict(names)} {len(crcs)} contents ({end})")
        compared += 1
    assert not differences, "\n".join(differences)
    assert compared > 100


@pytest.mark.skipif(BSDTAR is None, reason="bsdtar is not installed")
def test_what_bsdtar_finds_is_found():
    differences, compared = [], 0
    for path in samples(".cpio", ".iso", ".lzh", ".xar", ".ar", ".rpm"):
        assert BSDTAR is not None
        done = subprocess.run([BSDTAR, "-xOf", str(path)], capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        if done.returncode:
            continue
        found, end = ours(path)
        with path.open("rb") as file:
            kind = detect(file.read(36 << 10)) or ""
            whole = b"".join(_contents(Opening(kind, file, path.stat().st_size, path.name)))
        if whole != done.stdout:
            differences.append(f"{path.name}: {len(whole)} bytes, not {len(done.stdout)} ({end}) {found}")
        compared += 1
    assert not differences, "\n".join(differences)
    assert compared > 25


def _contents(opening: Opening):
    for member in open_container(opening).members():
        if not member.special:
            yield member.open().read()


def test_every_sample_has_its_rows():
    """None raises. (``walked`` checks positions and locators.)"""
    for path in samples(".7z", ".rar", ".cab", ".cpio", ".iso", ".lzh", ".xar", ".ar", ".rpm", ".warc", ".exe", ".sfx"):
        walked(path)
