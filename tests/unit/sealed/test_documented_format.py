"""A reader of sealed files written from docs/security.md alone: with ``cryptography``, without LeakMatch."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from galleries import add, pack, people

from leakmatch.gallery.store import Gallery
from leakmatch.sealed.keys import Keys


def hkdf(key: bytes, salt: bytes, info: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info.encode()).derive(key)


def opened(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """Nonce, ciphertext and tag."""
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], about)


def slot_key(slot: dict, secret: bytes) -> bytes:  # type: ignore[type-arg]
    salt = b64decode(slot["salt"])
    if slot["kind"] == "key-file":
        return hkdf(sha256(secret).digest(), salt, "leakmatch key file")
    memory, passes, lanes = slot["argon2"]
    return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(secret)


def read(content: bytes, slot_number: int, secret: bytes) -> tuple[bytes, list[dict]]:  # type: ignore[type-arg]
    """The database, and the log."""
    page = content[:8192]
    assert page == content[8192:16384]
    assert page[:16] == b"LeakMatch sealed"
    assert struct.unpack("<I", page[-4:])[0] == zlib.crc32(page[:-4])
    (length,) = struct.unpack_from("<I", page, 16)
    about = json.loads(page[20 : 20 + length])
    assert about["format"] == 1
    slot = about["slots"][slot_number]
    bound = json.dumps({name: slot[name] for name in ("argon2", "created", "kind", "label", "salt")}, sort_keys=True)
    master = AESGCM(slot_key(slot, secret)).decrypt(b64decode(slot["nonce"]), b64decode(slot["sealed"]), bound.encode())
    identity = bytes.fromhex(about["identity"])
    data_key = opened(master, b64decode(about["data_key"]), identity)
    assert opened(hkdf(data_key, identity, "leakmatch key page"), page[8160:8188], page[:8160]) == b""

    root = content[16384:20480]
    sealed = root[4 : 4 + 12 + 88 + 16]
    assert struct.unpack_from("<I", root, 120)[0] == zlib.crc32(root[:120])
    assert not any(root[124:])
    plain = opened(hkdf(data_key, identity, "leakmatch root"), sealed, b"LMRT")
    end, blocks, commits, entries, pages, chain, generation, changing = struct.unpack("<QQQQQ32sQQ", plain)
    assert (end, generation, changing) == (len(content), about["generation"], 0)

    key = hkdf(data_key, identity, "leakmatch blocks")
    now, tags = sha256(identity).digest(), b""
    found: dict[int, bytes] = {}
    log, head = [], bytes(32)
    offset = count = ends = 0
    offset = 20480
    while offset < end:
        mark, kind, size, sequence, number = struct.unpack_from("<4sB3xIQQ", content, offset)
        block = content[offset : offset + 40 + size + 20]
        assert (mark, sequence) == (b"LMBK", count)
        assert struct.unpack("<I", block[-4:])[0] == zlib.crc32(block[:-4])
        plain = opened(key, block[28:-4], block[:40] + struct.pack("<Q", offset))
        tag = block[-20:-4]
        if kind == 1:
            found[number] = plain
        elif kind == 2:
            assert plain[:32] == head
            head = sha256(plain).digest()
            log.append(json.loads(plain[32:]))
        else:
            all_pages, all_entries, first, _, digest = struct.unpack_from("<QQQQ32s", plain)
            assert digest == sha256(now + tags).digest()
            assert (all_entries, number) == (len(log), ends)
            assert first == count - len(tags) // 16
            now, tags, ends = sha256(digest + tag).digest(), b"", ends + 1
            found = {number: page for number, page in found.items() if number < all_pages}
        tags = tags + tag if kind != 3 else b""
        offset, count = offset + len(block), count + 1
    assert (count, ends, len(log), len(found), now) == (blocks, commits, entries, pages, chain)
    return b"".join(found[number] for number in range(pages)), log


def test_a_gallery_is_read_by_what_the_page_says(tmp_path: Path) -> None:
    import sqlite3

    key, path, default = tmp_path / "key", tmp_path / "g.gallery", pack()
    key.write_bytes(bytes(range(100)))
    keys = Keys(key_file=key)
    shots = people(np.random.default_rng(1), 30)
    with Gallery.create(path, default.name, default.model_id, 128, keys=keys) as gallery:
        add(gallery, shots)
        gallery.keyring.add(Keys(passphrase="pass \u00e9"), "Änne \U0001f511")
    for slot, secret in ((0, key.read_bytes()), (1, "pass \u00e9".encode())):
        database, log = read(path.read_bytes(), slot, secret)
        assert [entry["action"] for entry in log][:1] == ["create"]
        connection = sqlite3.connect(":memory:")
        connection.deserialize(database)
        stored = [bytes(row[0]) for row in connection.execute("SELECT vector FROM templates ORDER BY photo")]
        connection.close()
        assert stored == [shot.vector.tobytes() for shot in shots]
