"""Member names: raw bytes in an encoding that nobody wrote down, and a guess at the text."""

from __future__ import annotations

import locale
from typing import Final

# Lead bytes of the everyday characters: level 1 of GB 2312 (3,755 hanzi) and of JIS X 0208 (2,965 kanji). Level 2 of
# GB 2312 has rarer characters that are common in personal names; they count by half.
_HANZI: Final = range(0xB0, 0xD8)
_RARER_HANZI: Final = range(0xD8, 0xF8)
_KANJI: Final = range(0x88, 0x99)
_KANA: Final = (0x82, 0x83)
_FULL_WIDTH: Final = (0xA3,)  # full-width letters and digits in GBK

#: A legacy double-byte reading is believed where at least this share of its characters is everyday text.
BELIEVED: Final = 0.5


def decode_name(raw: bytes, *, utf8: bool = False) -> str:
    """The text of a member name; never fails.

    UTF-8 where it is valid (or declared: then with lone surrogates for bytes that are not). Else GBK or Shift-JIS,
    whichever reads more like everyday text, and cp437, the encoding that the zip format names, where neither does.
    The guess depends on the name alone, so it is the same in every run.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if utf8:
            return raw.decode("utf-8", "surrogateescape")
    guesses = [(_everyday(raw, "gbk"), "gbk"), (_everyday(raw, "cp932"), "cp932")]
    share, encoding = max(guesses, key=lambda guess: guess[0])
    return raw.decode(encoding if share >= BELIEVED else "cp437")


def _everyday(raw: bytes, encoding: str) -> float:
    """The share of everyday characters among those outside ASCII; -1 where the bytes are not in this encoding."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return -1.0
    foreign = [character.encode(encoding) for character in text if character >= "\x80"]
    if not foreign:
        return 0.0
    return sum(_weight(code, encoding) for code in foreign) / len(foreign)


def _weight(code: bytes, encoding: str) -> float:
    if len(code) != 2:  # half-width katakana: single bytes, which text in other encodings is full of
        return 0.0
    lead, trail = code
    if encoding == "cp932":
        return float(lead in _KANJI or lead in _KANA)
    if trail >= 0xA1 and lead in _RARER_HANZI:
        return 0.5
    return float((trail >= 0xA1 and lead in _HANZI) or lead in _FULL_WIDTH)


def use_utf8() -> None:
    """Let C libraries write the names that they decode as UTF-8, where this process has an encoding with less."""
    if locale.nl_langinfo(locale.CODESET).upper() != "UTF-8":
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
