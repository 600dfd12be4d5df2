"""How the gallery's records speak of a subject without naming them: by a keyed digest of the subject id.

The log and the erasure records outlive the people they are about, and the log cannot be changed. A subject id is
personal data, so they hold its HMAC-SHA256 in its place, under a key that is made with the gallery and kept in it. Who
may open the gallery and is told an id can find what was recorded of it ("was I erased?"). Who has a printed log, an
exported record or another gallery can do nothing with it; the same id has another digest in each gallery.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from leakmatch.database import Database
from leakmatch.errors import IntegrityError

#: Where the key is, among the gallery's values.
REFERENCE_KEY: Final = "reference_key"


def reference(database: Database, kind: str, value: str) -> str:
    """What stands for ``value``, of a ``kind`` of things ("subject", "file"): 32 hexadecimal digits.

    Raises :class:`IntegrityError` where the key is missing.
    """
    try:
        key = bytes.fromhex(database.get(REFERENCE_KEY))
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"{database.path}: a key of its records is damaged. Restore it from a copy.") from error
    content = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:32]
