"""What an export says of the gallery it comes from: the JSON part of an npz or Parquet file.

====================  ==================================================================================
``format``            "leakmatch-gallery/1"
``gallery``           its random identity
``created``           when it was made
``pack``              the name of the model pack it was made with
``model_id``          the model, precision and recipe of all templates
``dimension``         the length of a template
``purpose``           what the gallery is for
``legal_basis``       what allows it
``subjects``          how many people are in it
``templates``         how many rows the table has
``refused_left_out``  how many photos were refused at enrolment; these are not in the file
``hashes``            for each kind of hash ``scope``, ``algorithm``, ``bytes``, and ``column``, the beginning of the
                      names of its two columns
``others``            ``subject_id``, ``name`` and ``expires`` of people without a template, who are in no row
====================  ==================================================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from leakmatch.gallery.rows import FACE, PICTURE
from leakmatch.gallery.table import HashKind, Person

#: The member of an npz, and the entry of a Parquet file's metadata.
MEMBER: Final = "gallery.json"
FORMAT: Final = "leakmatch-gallery/1"

_MOST_KINDS: Final = 64
_MOST_BYTES: Final = 4096  # of a hash


@dataclass(frozen=True, slots=True)
class About:
    """The JSON part. ``others``: people without a template. Files of other tools have none of it."""

    pack: str = ""
    model_id: str = ""
    gallery: str = ""
    created: str = ""
    dimension: int = 0
    purpose: str = ""
    legal_basis: str = ""
    subjects: int = 0
    templates: int = 0
    refused_left_out: int = 0
    hashes: tuple[HashKind, ...] = ()
    others: tuple[Person, ...] = field(default=(), repr=False)

    def to_json(self) -> str:
        """As it is written."""
        return json.dumps(
            {
                "format": FORMAT,
                **{name: getattr(self, name) for name in (*_TEXTS, *_NUMBERS)},
                "hashes": [
                    {"scope": kind.scope, "algorithm": kind.algorithm, "bytes": kind.size, "column": column_of(number)}
                    for number, kind in enumerate(self.hashes)
                ],
                "others": [
                    {"subject_id": person.subject_id, "name": person.name, "expires": person.expires}
                    for person in self.others
                ],
            },
            indent=1,
        )

    @classmethod
    def parse(cls, text: str | bytes) -> About:
        """What :meth:`to_json` gives. Raises ``ValueError`` for anything else."""
        value = json.loads(text)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise ValueError(f"{MEMBER} is not of the format {FORMAT}")
        kinds = tuple(_kind(number, kind) for number, kind in enumerate(_list(value, "hashes")))
        if len({(kind.scope, kind.algorithm) for kind in kinds}) != len(kinds) or len(kinds) > _MOST_KINDS:
            raise ValueError(f"{MEMBER} names hashes twice, or too many")
        return cls(
            **{name: _typed(value, name, str) for name in _TEXTS},
            **{name: _typed(value, name, int) for name in _NUMBERS},
            hashes=kinds,
            others=tuple(
                Person(*(_typed(person, name, str) for name in Person.__slots__)) for person in _list(value, "others")
            ),
        )


def column_of(kind: int) -> str:
    """How the names of the columns of the hash with this number begin; ``_bits`` and ``_quality`` follow."""
    return f"hash{kind}"


_TEXTS: Final = ("gallery", "created", "pack", "model_id", "purpose", "legal_basis")
_NUMBERS: Final = ("dimension", "subjects", "templates", "refused_left_out")


def _kind(number: int, value: Any) -> HashKind:
    kind = HashKind(_typed(value, "scope", str), _typed(value, "algorithm", str), _typed(value, "bytes", int))
    if kind.scope not in (PICTURE, FACE) or not kind.algorithm or not 0 < kind.size <= _MOST_BYTES:
        raise ValueError(f"{MEMBER} names hashes that LeakMatch has not")
    if _typed(value, "column", str) != column_of(number):
        raise ValueError(f"{MEMBER} names other columns than {column_of(number)}")
    return kind


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found: list[Any] = _typed(value, name, list)
    return found


def _typed(value: Any, name: str, kind: type) -> Any:
    found = value.get(name) if isinstance(value, dict) else None
    if type(found) is not kind:
        raise ValueError(f"{MEMBER} has no {name}, or one of another kind")
    return found
