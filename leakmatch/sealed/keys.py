"""Keys: what a user offers, and the slots in which a sealed file keeps its master key for each of them.

A file is sealed under a random *master key* of 32 bytes. Each slot holds it encrypted under a key made of one secret:

``passphrase``
    Argon2id (RFC 9106), its cost kept in the slot. The default takes four times the memory of that document's second
    recommended option (section 4).
``key-file``
    HKDF-SHA256 (RFC 5869) of the file's bytes, which are random already: no slow derivation.

So a passphrase is changed, and a colleague's added, without encrypting the content again.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from leakmatch.errors import Damaged, IntegrityError, UsageError, WrongKey, os_error
from leakmatch.files import spare
from leakmatch.sealed.process import forbid_core_dumps

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16

#: The most slots a file has; they have to fit into its key page.
MOST_SLOTS: Final = 16

#: Argon2id: KiB of memory, passes, lanes.
ARGON2: Final = (256 * 1024, 3, 4)
#: What a slot may ask for at the most, and the most of memory times passes: a file that was tampered with must not take
#: all memory, or hours.
_ARGON2_MOST: Final = (1024 * 1024, 16, 16)
_ARGON2_WORK: Final = 4 * 1024 * 1024

_SALT_BYTES: Final = 16
_KEY_FILE_LEAST: Final = 32
_KEY_FILE_MOST: Final = 1 << 30
_CHUNK: Final = 1 << 20
_LABEL_MOST: Final = 64

PASSPHRASE: Final = "passphrase"  # noqa: S105 - the kind of a slot
KEY_FILE: Final = "key-file"


@dataclass(frozen=True, slots=True)
class Keys:
    """What a user offers to seal or open files with. A key file goes before a passphrase; ``ask`` is called last.

    ``ask`` is given a question and whether the answer is to be repeated (a new passphrase), and returns a passphrase.
    It is asked once for each file; the slow derivation is done once for each slot. ``offer`` tells a user without a key
    how to give one.
    """

    key_file: Path | None = None
    passphrase: str | None = None
    ask: Callable[[str, bool], str] | None = None
    offer: str = "Give --key-file FILE or set LEAKMATCH_PASSPHRASE."
    _answers: dict[str, Secret] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def given(self) -> bool:
        """Whether there is a key without asking."""
        return self.key_file is not None or self.passphrase is not None

    def secret(self, what: str, *, new: bool = False) -> Secret:
        """The secret to try on ``what``, or for a ``new`` slot. Raises :class:`UsageError` where none was given."""
        forbid_core_dumps()
        if what not in self._answers:
            self._answers[what] = self._secret(what, new=new)
        return self._answers[what]

    def _secret(self, what: str, *, new: bool) -> Secret:
        if self.key_file is not None:
            spare(self.key_file)
            return Secret(KEY_FILE, _digest_of(self.key_file))
        passphrase = self.passphrase
        if passphrase is None and self.ask is not None:
            passphrase = self.ask(f"New passphrase for {what}" if new else f"Passphrase of {what}", new)
        if passphrase is None:
            needed = "will be sealed" if new else "is sealed"
            raise UsageError(f"{what}: it {needed}, and no key was given. {self.offer}")
        if not passphrase:
            raise UsageError(f"{what}: the passphrase is empty.")
        return Secret(PASSPHRASE, unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A passphrase (its bytes) or a key file (SHA-256 of its bytes)."""

    kind: str
    content: bytes
    _derived: dict[bytes, bytes] = field(default_factory=dict, init=False, compare=False)


def generate(path: Path) -> None:
    """A new key file: 32 random bytes, readable by its owner only. Raises :class:`UsageError` where it is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
    except FileExistsError as error:
        raise UsageError(f"{path}: is there already; a key is not overwritten. Name another file.") from error
    except OSError as error:
        raise os_error(error, path) from error


def _digest_of(path: Path) -> bytes:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                digest.update(part)
                size += len(part)
                if size > _KEY_FILE_MOST:
                    raise UsageError(f"{path}: not a key file: larger than {_KEY_FILE_MOST >> 30} GiB.")
    except OSError as error:
        raise os_error(error, path) from error
    if size < _KEY_FILE_LEAST:
        raise UsageError(
            f"{path}: a key file needs {_KEY_FILE_LEAST} bytes or more, and has {size}. Make one with: "
            f"leakmatch gallery keys generate FILE"
        )
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Slot:
    """The master key, encrypted for one secret. ``argon2`` is empty for a key file. Nothing in it is secret."""

    kind: str
    label: str
    created: str
    salt: bytes
    argon2: tuple[int, ...]
    nonce: bytes
    sealed: bytes

    @classmethod
    def make(cls, secret: Secret, master: bytes, label: str) -> Slot:
        """A slot from which ``secret`` gives back ``master``."""
        slot = cls(
            kind=secret.kind,
            label=label,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            salt=os.urandom(_SALT_BYTES),
            argon2=ARGON2 if secret.kind == PASSPHRASE else (),
            nonce=os.urandom(NONCE_BYTES),
            sealed=b"",
        )
        return replace(slot, sealed=AESGCM(slot._key(secret)).encrypt(slot.nonce, master, slot._about()))

    def open(self, secret: Secret) -> bytes | None:
        """The master key; ``None`` where this is not the slot of ``secret``."""
        if secret.kind != self.kind:
            return None
        try:
            return AESGCM(self._key(secret)).decrypt(self.nonce, self.sealed, self._about())
        except InvalidTag:
            return None

    def _key(self, secret: Secret) -> bytes:
        about = self._about()
        if about not in secret._derived:
            secret._derived[about] = self._derive(secret)
        return secret._derived[about]

    def _derive(self, secret: Secret) -> bytes:
        if self.kind == KEY_FILE:
            return derived(secret.content, self.salt, "key file")
        memory, passes, lanes = self.argon2
        derivation = Argon2id(salt=self.salt, length=KEY_BYTES, iterations=passes, lanes=lanes, memory_cost=memory)
        try:
            return derivation.derive(secret.content)
        except MemoryError as error:
            raise UsageError(
                f"There is not enough memory to make the key of a passphrase ({memory >> 10} MiB). Use a key file."
            ) from error

    def _about(self) -> bytes:
        """What the encryption of the master key vouches for, too: the other fields, as JSON with sorted keys."""
        about = {name: value for name, value in self.to_json().items() if name not in ("nonce", "sealed")}
        return json.dumps(about, sort_keys=True).encode()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": self.kind,
            "label": self.label,
            "created": self.created,
            "salt": _text(self.salt),
            "argon2": list(self.argon2),
            "nonce": _text(self.nonce),
            "sealed": _text(self.sealed),
        }

    @classmethod
    def from_json(cls, value: Any) -> Slot:
        """Raises ``ValueError`` for what :meth:`to_json` does not give."""
        if not isinstance(value, dict) or value.keys() != {*cls.__slots__}:
            raise ValueError("a key slot has other fields")
        slot = cls(
            kind=_string(value["kind"]),
            label=_string(value["label"]),
            created=_string(value["created"]),
            salt=_bytes(value["salt"], _SALT_BYTES),
            argon2=tuple(map(_number, value["argon2"])) if isinstance(value["argon2"], list) else (-1,),
            nonce=_bytes(value["nonce"], NONCE_BYTES),
            sealed=_bytes(value["sealed"], KEY_BYTES + TAG_BYTES),
        )
        cost = {PASSPHRASE: 3, KEY_FILE: 0}.get(slot.kind)
        if cost != len(slot.argon2) or any(not 0 < a <= b for a, b in zip(slot.argon2, _ARGON2_MOST, strict=False)):
            raise ValueError("a key slot asks for a derivation that LeakMatch does not offer")
        if slot.argon2 and slot.argon2[0] * slot.argon2[1] > _ARGON2_WORK:
            raise ValueError("a key slot asks for a derivation that takes too long")
        if slot.argon2 and slot.argon2[0] < 8 * slot.argon2[2]:  # RFC 9106, section 3.1
            raise ValueError("a key slot asks for less memory than Argon2 can work with")
        return slot


@dataclass(frozen=True, slots=True)
class KeySlots:
    """The slots of one file, at least one and at most :data:`MOST_SLOTS`."""

    slots: tuple[Slot, ...]

    @classmethod
    def new(cls, secret: Secret, label: str = "") -> tuple[KeySlots, bytes]:
        """A single slot, and the new random master key in it."""
        master = os.urandom(KEY_BYTES)
        return cls(()).added(secret, master, label), master

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots)

    def __len__(self) -> int:
        return len(self.slots)

    def unlock(self, secret: Secret, what: str) -> bytes:
        """The master key. Raises :class:`WrongKey` where ``secret`` opens none of the slots of ``what``."""
        found = self.find(secret)
        if found is None:
            other = "passphrase" if secret.kind == KEY_FILE else "key file"
            has = "" if any(slot.kind == secret.kind for slot in self) else f" It is opened with a {other}."
            raise WrongKey(f"{what}: wrong key: this {secret.kind.replace('-', ' ')} does not open it.{has}")
        return found[1]

    def find(self, secret: Secret) -> tuple[int, bytes] | None:
        """The number of the slot that ``secret`` opens, and the master key; ``None`` where there is none."""
        for number, slot in enumerate(self.slots):
            master = slot.open(secret)
            if master is not None:
                return number, master
        return None

    def added(self, secret: Secret, master: bytes, label: str = "") -> KeySlots:
        """With one slot more. Raises :class:`UsageError` where there is no room, or the label is no label."""
        if len(self) == MOST_SLOTS:
            raise UsageError(f"There are {MOST_SLOTS} keys already; remove one first.")
        if len(label) > _LABEL_MOST or not label.isprintable():
            raise UsageError(f"A key's label has at most {_LABEL_MOST} printable characters.")
        return KeySlots((*self.slots, Slot.make(secret, master, label)))

    def without(self, number: int) -> KeySlots:
        """With one slot less. Raises :class:`UsageError` for the last, and for one that is not there."""
        if not 0 <= number < len(self):
            raise UsageError(f"There is no key {number + 1}; there are {len(self)}.")
        if len(self) == 1:
            raise UsageError("This is the only key: without it nobody could open the file. Add another one first.")
        return KeySlots(self.slots[:number] + self.slots[number + 1 :])

    def to_json(self) -> list[dict[str, Any]]:
        """As JSON values."""
        return [slot.to_json() for slot in self]

    @classmethod
    def from_json(cls, value: Any) -> KeySlots:
        """Raises ``ValueError`` for what :meth:`to_json` does not give."""
        if not isinstance(value, list) or not 1 <= len(value) <= MOST_SLOTS:
            raise ValueError("the key slots are no list, or of a wrong number")
        return cls(tuple(map(Slot.from_json, value)))


def derived(key: bytes, salt: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose: HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"leakmatch " + purpose.encode()).derive(key)


class Box:
    """Seals small pieces under one key: AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits before each.

    Each piece is bound to ``about``, the place it belongs to; a piece that was moved does not open.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, about: bytes) -> bytes:
        """Nonce, ciphertext and tag: 28 bytes more than ``content``."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, about)

    def open(self, sealed: bytes, about: bytes, what: str) -> bytes:
        """The content. Raises :class:`IntegrityError` where it is not what was sealed for this place."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
        except (InvalidTag, ValueError) as error:
            raise IntegrityError(f"{what}: tampered with or damaged: a sealed part is not authentic.") from error


def slots_of(value: Mapping[str, Any] | None, what: str) -> KeySlots:
    """Slots kept as JSON in ``what``. Raises :class:`Damaged`."""
    try:
        return KeySlots.from_json(None if value is None else value.get("slots"))
    except (ValueError, TypeError) as error:
        raise Damaged(f"{what}: its key slots are damaged ({error}).") from error


def _text(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a key slot holds something else where a text belongs")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("a key slot holds something else where a number belongs")
    return value


def _bytes(value: Any, size: int) -> bytes:
    content = b64decode(_string(value), validate=True)
    if len(content) != size:
        raise ValueError("a key slot has a field of a wrong length")
    return content
