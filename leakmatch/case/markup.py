"""HTML that is safe by construction: text is escaped when it is put into a tag, and only tags are taken as they are."""

from __future__ import annotations

import html
from collections.abc import Iterable

from leakmatch.locator import printable

# What is shown of a name; names in archives may be megabytes long.
_HEAD, _TAIL = 280, 100


class Html(str):
    """Text that is HTML already. Made by :func:`tag`, :func:`safe` and :func:`join`."""

    __slots__ = ()


def safe(value: object) -> Html:
    """``value`` as HTML: :class:`Html` as it is, anything else as text, shortened, made printable and escaped."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(printable(shorten(str(value))), quote=True))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element. Children and attribute values go through :func:`safe`; ``class_`` is written ``class``."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[object], between: str = "") -> Html:
    """Children one after another, with ``between`` (text) in between."""
    return Html(safe(between).join(safe(child) for child in children))


def shorten(text: str) -> str:
    """``text``, or its two ends and the number of characters left out between them."""
    left_out = len(text) - _HEAD - _TAIL
    if left_out <= 40:
        return text
    return f"{text[:_HEAD]} […{left_out:,} characters…] {text[-_TAIL:]}"


def table(caption: str, heads: Iterable[object], rows: Iterable[Iterable[object]], class_: str | None = None) -> Html:
    """A table whose first column heads its rows. A cell that is a :class:`Number` is set to the right."""
    head = tag("thead", tag("tr", *(tag("th", title, scope="col", class_=_side(title)) for title in heads)))
    body = tag("tbody", *(tag("tr", *_cells(row)) for row in rows))
    return tag("div", tag("table", tag("caption", caption), head, body), class_=f"wide {class_ or ''}".strip())


def _cells(row: Iterable[object]) -> Iterable[Html]:
    for i, cell in enumerate(row):
        yield tag("th", cell, scope="row", class_=_side(cell)) if i == 0 else tag("td", cell, class_=_side(cell))


def _side(cell: object) -> str | None:
    return "n" if isinstance(cell, Number) else None


class Number(Html):
    """A figure, set to the right in a table."""

    __slots__ = ()


def count(value: int) -> Number:
    """A whole number with thousands separated."""
    return Number(f"{value:,}")


def plural(value: int, one: str, many: str | None = None) -> str:
    """``1 file``, ``2 files``."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def figure(value: float | None, digits: int = 3) -> Number:
    """A figure to so many digits, as 2.14 × 10⁻⁷ where it is very small or large; ``unknown`` for ``None``."""
    if value is None:
        return Number("unknown")
    if value == 0:
        return Number("0")
    if 0.001 <= abs(value) < 1_000_000:
        return Number(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = str(int(exponent)).replace("-", "−")
    return Number(f"{float(mantissa):g}\u00a0×\u00a010<sup>{power}</sup>")


def size(value: int) -> Number:
    """A number of bytes, in words of 1,024."""
    amount, unit = float(value), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return Number(f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}")
