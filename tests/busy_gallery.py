"""A process that reads and changes a gallery as others do at the same time."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from galleries import add, people
from sealed_files import key_in

from leakmatch.errors import UsageError
from leakmatch.gallery.store import Gallery

READING, CHANGING = ("look", "list", "rely"), ("enrol", "compact", "keys", "remove")


def busy(path: Path, seed: int, seconds: float) -> Counter[str]:
    """Do this and that for so long. What was done, what was refused since others were at it, and what went wrong."""
    logging.disable(logging.CRITICAL)
    chance, done = random.Random(seed), Counter[str]()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        what = chance.choice(READING + CHANGING)
        try:
            _do(what, path, chance)
            done[what] += 1
        except UsageError as error:
            known = ("in use by another", "changed by another", "replaced by another")
            done["refused" if any(words in str(error) for words in known) else f"wrong: {what}: {error}"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
            done[f"wrong: {what}: {type(error).__name__}: {error}"] += 1
    return done


def _do(what: str, path: Path, chance: random.Random) -> None:
    keys = key_in(path.parent)
    if what in READING:
        with Gallery.open(path, keys=keys, steady=what == "rely") as gallery:
            if what == "look":
                return
            list(gallery.subjects())
            time.sleep(chance.random() / 50)
            list(gallery.templates().parts())
            list(gallery.log())
            if what == "rely":
                gallery.note("again")
        return
    with Gallery.open(path, keys=keys, writable=True) as gallery:
        if what == "enrol":
            shots = people(np.random.default_rng(chance.randrange(1 << 30)), chance.randrange(1, 5))
            add(gallery, [replace(shot, content=chance.randrange(1 << 60)) for shot in shots])
        elif what == "compact":
            gallery.compact()
        elif what == "remove":
            subjects = [subject["subject_id"] for subject in gallery.subjects()]
            if subjects:
                gallery.remove(chance.choice(subjects))
        elif len(gallery.keyring) < 4:
            gallery.keyring.add(key_in(path.parent, f"key {chance.random()}"))
        else:
            gallery.keyring.remove(len(gallery.keyring) - 1)
