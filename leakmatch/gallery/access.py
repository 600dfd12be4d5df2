"""What the log of a gallery says: who did what, when, and for which case.

An entry is a JSON object: ``when`` (UTC), ``who`` (account and machine), ``action``, ``tool`` (version), and what else
there is to say of the action. A subject is in it by a keyed digest of the id only
(:mod:`leakmatch.gallery.references`), for nobody can be taken out of it; never a template or a hash. A command notes
what it is about to do ("remove") and, where that changed something, what it did ("erased"). Entries are chained (each
holds the SHA-256 of the one before), so that none can be left out or changed without breaking the chain; within a
sealed gallery they are sealed like everything else.
"""

from __future__ import annotations

import getpass
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any


def entry(action: str, **detail: Any) -> dict[str, Any]:
    """An entry for what is being done now. ``detail``: JSON values; those that are ``None`` are left out."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": f"{_account()}@{platform.node() or 'unknown'}",
        "action": action,
        "tool": f"leakmatch {metadata.version('leakmatch')}",
        **{key: value for key, value in detail.items() if value is not None},
    }


def _account() -> str:
    """The name of the account; its number where the system knows no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
