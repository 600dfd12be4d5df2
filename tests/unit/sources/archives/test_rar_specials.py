"""Rar: parts of a set, links, programs that carry one, damage. (Compressed and locked ones: the corpora.)"""

from __future__ import annotations

import builtins
import io
from pathlib import Path

import pytest
from archives import picture, walked, zip_of
from packers import rar4_block, rar4_file, rar4_from, rar4_of, rar5_block, rar5_file, rar5_from, rar5_number, rar5_of

from leakmatch.records import ItemKind, Outcome
from leakmatch.sources.archives.rar.header import read_layout, read_main

GOOD = [(b"%d.jpg" % n, picture(n)) for n in range(4)]
BIG = picture(9, 9000)
CUTS = (0, 3000, 6000, len(BIG))


def parts(version: int) -> list[bytes]:
    """A set of three parts; the member in it goes through all of them."""
    made = []
    for n in range(3):
        piece = BIG[CUTS[n] : CUTS[n + 1]]
        if version == 5:
            flags = (8 if n else 0) | (0x10 if n < 2 else 0)
            first = rar5_file(*GOOD[0]) if not n else b""
            last = rar5_file(*GOOD[1]) if n == 2 else b""
            files = first + rar5_file(b"big.jpg", piece, flags, BIG) + last
            made.append(rar5_from(files, n, more=n < 2))
        else:
            flags = (1 if n else 0) | (2 if n < 2 else 0)
            first = rar4_file(*GOOD[0]) if not n else b""
            last = rar4_file(*GOOD[1]) if n == 2 else b""
            files = first + rar4_file(b"big.jpg", piece, flags, BIG) + last
            made.append(rar4_from(files, 0x11 | (0 if n else 0x100), 1 if n < 2 else 0))
    return made


def placed(folder: Path, version: int) -> list[Path]:
    paths = [folder / f"set.part{n + 1}.rar" for n in range(3)]
    for path, data in zip(paths, parts(version), strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.parametrize("version", [4, 5])
def test_a_set_is_read_from_its_first_part(tmp_path, version):
    first, *_ = placed(tmp_path, version)
    walk = walked(first)
    assert walk.members() == [GOOD[0], (b"big.jpg", BIG), GOOD[1]]
    assert walk.root.outcome is Outcome.WALKED


@pytest.mark.parametrize("version", [4, 5])
def test_a_missing_part_is_named_and_the_rest_read(tmp_path, version):
    first, second, _ = placed(tmp_path, version)
    second.unlink()
    walk = walked(first)
    assert walk.below(1)[0].payload == GOOD[0][1]
    assert walk.root.outcome is Outcome.NEEDS_VOLUME
    assert "set.part2.rar" in walk.root.detail


def test_a_part_that_is_a_link_is_not_opened(tmp_path):
    first, second, _ = placed(tmp_path, 5)
    second.rename(tmp_path / "elsewhere")
    second.symlink_to(tmp_path / "elsewhere")
    assert walked(first).root.outcome is not Outcome.WALKED


@pytest.mark.parametrize("version", [4, 5])
def test_a_part_in_a_container_says_what_to_do(version):
    walk = walked(zip_of([(b"set.part1.rar", parts(version)[0])]))
    inner = walk.named(b"set.part1.rar")
    assert inner.outcome is Outcome.NEEDS_VOLUME
    assert "unpack" in inner.detail
    assert walk.named(GOOD[0][0]).payload == GOOD[0][1]


def test_links_are_not_followed():
    link = rar4_file(b"link", b"../../etc/passwd", mode=0o120777)
    walk = walked(rar4_from(link + rar4_file(*GOOD[0])))
    assert walk.below(1)[0].detail == "a symbolic link"
    assert walk.below(1)[1].payload == GOOD[0][1]


@pytest.mark.parametrize("packed", [rar4_of(GOOD), rar5_of(GOOD)])
def test_a_program_that_carries_one(packed):
    stub = b"MZ" + bytes(5000) + b"Rar!\x1a\x07\0 that is no archive" + bytes(3000)
    walk = walked(stub + packed)
    assert walk.members() == GOOD
    assert walk.root.kind is ItemKind.CONTAINER
    assert walked(stub).root.outcome is Outcome.NOT_IMAGE


@pytest.mark.parametrize("packed", [rar4_of(GOOD), rar5_of(GOOD)])
def test_a_wrong_checksum_costs_one_member(packed):
    at = packed.index(GOOD[1][1]) + 50
    walk = walked(packed[:at] + bytes((packed[at] ^ 1,)) + packed[at + 1 :])
    assert [e.payload for e in walk.below(1)][2:] == [data for _, data in GOOD[2:]]
    assert walk.codes_of(walk.below(1)[1]) == {"corrupt"}


def test_alternate_data_streams_are_told():
    stream = rar5_block(3, 0, b"".join(map(rar5_number, (0, 5, 0, 0, 0, 3))) + b"STM", b"bytes")
    walk = walked(rar5_from(rar5_file(*GOOD[0]) + stream))
    assert walk.members() == GOOD[:1]
    assert "alternate data streams" in walk.root.detail


def test_a_huge_dictionary_is_not_allocated():
    """4 GiB are claimed."""
    info = rar5_number(15 << 10 | 1 << 7)
    fields = b"".join(map(rar5_number, (4, 5000, 0o100644))) + bytes(4)
    packed = rar5_from(rar5_block(2, 0, fields + info + b"\1\5" + b"a.jpg", bytes(500)) + rar5_file(*GOOD[0]))
    walk = walked(packed)
    assert walk.below(1)[0].outcome is Outcome.OVER_BUDGET
    assert walk.below(1)[1].payload == GOOD[0][1]


def test_without_unrar_libarchive_reads_what_it_can(monkeypatch, tmp_path):
    original = builtins.__import__

    def without(name, *arguments, **named):
        if name.startswith("unrar"):
            raise ImportError(name)
        return original(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert walked(rar5_of(GOOD)).members() == GOOD
    assert walked(rar4_of(GOOD)).members() == GOOD
    walk = walked(placed(tmp_path, 5)[0])
    assert walk.root.outcome is Outcome.NEEDS_EXTRA
    assert "pip install 'leakmatch[rar]'" in walk.root.detail


def test_a_block_that_is_too_short_ends_it():
    walk = walked(rar4_of(GOOD)[:-7] + rar4_block(0x75, 0, b""))
    assert walk.members() == GOOD
    assert walk.root.outcome is Outcome.PARTIAL


def rar4_bare(files: bytes) -> bytes:
    """Without a main header: a file header right behind the signature, as a corpus of libarchive has it."""
    return b"Rar!\x1a\x07\0" + files


def test_without_a_main_header_nothing_is_passed_over():
    walk = walked(rar4_bare(rar4_file(*GOOD[0]) + rar4_file(*GOOD[1])))
    assert walk.members() == GOOD[:2]
    assert walk.root.outcome is Outcome.UNREADABLE
    assert "first header" in walk.root.detail


@pytest.mark.parametrize("packed", [rar4_of(GOOD), rar5_of(GOOD)])
def test_a_damaged_main_header_is_told(packed):
    walk = walked(packed[:12] + bytes((packed[12] ^ 0x40,)) + packed[13:])
    assert walk.root.outcome is Outcome.UNREADABLE


def test_a_signature_that_stands_there_twice():
    walk = walked(b"Rar!\x1a\x07\0" * 3 + rar4_of(GOOD))
    assert walk.members() == GOOD
    assert walk.root.outcome is Outcome.WALKED


@pytest.mark.parametrize("kind", [0x60, 0x7C])
def test_a_block_of_an_unknown_kind_is_told(kind):
    odd = rar4_block(kind, 0x8000, len(GOOD[1][1]).to_bytes(4, "little"), GOOD[1][1])
    walk = walked(rar4_from(rar4_file(*GOOD[0]) + odd + rar4_file(*GOOD[2])))
    assert walk.root.outcome is not Outcome.WALKED
    assert GOOD[0] in walk.members()


def test_a_link_to_a_folder_has_a_row():
    target = b"elsewhere"
    redirection = b"".join(map(rar5_number, (5, 2, 1, len(target)))) + target  # a link of Windows, to a folder
    extra = rar5_number(len(redirection)) + redirection
    fields = b"".join(map(rar5_number, (1, 0, 0o755, 0, 0, 4))) + b"link"
    link = rar5_block(2, 1, rar5_number(len(extra)) + fields + extra)
    walk = walked(rar5_from(rar5_file(*GOOD[0]) + link))
    assert walk.named(b"link").detail == "a symbolic link"
    assert walk.codes_of(walk.named(b"link")) == {"link"}
    assert walk.root.outcome is Outcome.WALKED


def test_a_folder_with_data_has_a_row():
    body = b"".join(map(rar5_number, (1, len(GOOD[1][1]), 0o755, 0, 0, 6))) + b"folder"
    walk = walked(rar5_from(rar5_file(*GOOD[0]) + rar5_block(2, 0, body, GOOD[1][1])))
    assert walk.named(b"folder").outcome is Outcome.UNREADABLE


def test_what_a_key_costs_is_read():
    """Each round more doubles what a try takes, and fewer of them are made."""
    signature = b"Rar!\x1a\x07\1\0"
    assert read_main(signature + rar5_block(4, 0, bytes((0, 0, 20)) + bytes(16))).rounds == 20
    record = bytes((1, 0, 0, 21)) + bytes(32)
    extra = rar5_number(len(record)) + record
    fields = b"".join(map(rar5_number, (0, 0, 0, 0, 0, 1))) + b"x"
    packed = rar5_from(rar5_file(*GOOD[0]) + rar5_block(2, 1, rar5_number(len(extra)) + fields + extra))
    layout = read_layout(io.BytesIO(packed), 0, read_main(packed))
    assert (layout.rounds, layout.members, layout.ends) == (21, 2, True)
