"""The instructions of a pickle, followed without carrying any of them out.

A value on the stack is a number, a short text, a tuple of values, :class:`Data` (where some bytes lie in the file), a
name that would be imported (:class:`Name`), or ``OPAQUE``. Collections are opaque; what is put into one is given out at
that moment and not kept, so a pickle of a million pictures needs no memory for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from leakmatch.sources.datasets.pickle_values import MARK, OPAQUE, SHORT, Data, Name, Numbers, Stopped, Type, array_of
from leakmatch.sources.streams import CHUNK, FURTHEST

_MAX_STACK: Final = 1_000_000
_MAX_MEMO: Final = 1_000_000
_MAX_REMEMBERED: Final = 32  # characters of a text; names of modules and functions are shorter
_MAX_TEXT: Final = 200  # of a text that is kept; longer ones are Data
_MAX_TUPLE: Final = 64
_MAX_LINE: Final = 256 << 20
_MAX_UNKNOWN: Final = 5
_WINDOW: Final = 4096

_MODULES: Final = ("numpy.core", "numpy._core")
_ARRAYS: Final = frozenset(f"{module}.multiarray._reconstruct" for module in _MODULES)
_FROM_BUFFER: Final = frozenset(f"{module}.numeric._frombuffer" for module in _MODULES)
_TYPES: Final = frozenset(("numpy.dtype",))
_HARMLESS: Final = frozenset(
    (
        *(f"{module}.multiarray.scalar" for module in _MODULES),
        *(f"{module}.{name}" for module in ("builtins", "__builtin__")
          for name in ("set", "frozenset", "list", "tuple", "dict", "bytearray", "bytes", "bool", "int", "float")),
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
    )
)  # fmt: skip

Step = Callable[["Machine"], None]


class Machine:
    """Reads the ``size`` bytes of ``file`` as a pickle, by ``steps``: what each instruction does."""

    def __init__(self, file: BinaryIO, size: int, steps: dict[bytes, Step]) -> None:
        self.unknown: list[str] = []
        self._file, self._size, self._steps = file, size, steps
        self._at = 0
        self._window, self._window_at = b"", 0  # what was read last, and where
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._memoed = 0
        self._found: list[Data | Numbers] = []

    def run(self, pulse: Callable[[], None]) -> Iterator[Data | Numbers]:
        """The values of bytes and the arrays, as they are put into collections.

        Raises :class:`Stopped` for what is not followed, ``EOFError`` and ``ValueError`` for damage.
        """
        while True:
            code = self.read(1)
            if code == b".":
                self.out(self._stack[-1:])
                self._stack.clear()
            else:
                step = self._steps.get(code)
                if step is None:
                    raise Stopped(f"the instruction {code!r} at {self._at - 1:,} is not followed")
                step(self)
            if len(self._stack) > _MAX_STACK:
                raise Stopped(f"more than {_MAX_STACK:,} values at once")
            if self._found:
                pulse()
                yield from self._found
                self._found.clear()
            if code == b".":
                if self._at >= self._size:
                    return
                # One file may hold several pickles.
                self._memo.clear()
                self._memoed = 0

    def left(self) -> Iterator[Data | Numbers]:
        """What lies on the stack where reading stopped."""
        self.out(self._stack)
        yield from self._found

    # Reading

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises ``EOFError``."""
        start = self._at - self._window_at
        if start < 0 or start + size > len(self._window):
            self._file.seek(min(self._at, FURTHEST))
            self._window, self._window_at, start = self._file.read(max(size, _WINDOW)), self._at, 0
        data = self._window[start : start + size]
        self._at += len(data)
        if len(data) < size:
            raise EOFError
        return data

    def skip(self, size: int) -> None:
        """Go on behind ``size`` bytes."""
        self._at += size

    def number(self, size: int) -> int:
        """An unsigned number, little endian."""
        return int.from_bytes(self.read(size), "little")

    def line(self) -> bytes:
        """A line of protocol 0, if it is short; ``ValueError`` otherwise."""
        start = self._at
        end = self._line_end()
        if end - start > _MAX_TEXT:
            raise ValueError("a long line")
        self._at = start
        text = self.read(end - start)
        self._at = end + 1
        return text

    def _line_end(self) -> int:
        at = self._at
        while at - self._at < _MAX_LINE:
            self._file.seek(at)
            block = self._file.read(CHUNK)
            if not block:
                raise EOFError
            if (found := block.find(b"\n")) >= 0:
                return at + found
            at += len(block)
        raise ValueError("a line without an end")

    # The stack

    def push(self, value: Any) -> None:
        """Put a value on top."""
        self._stack.append(value)

    def top(self) -> Any:
        """The value on top, which stays there."""
        return self._stack[-1]

    def pop(self) -> Any:
        """Take the value on top."""
        value = self._stack.pop()
        if value is MARK:
            raise ValueError("a collection without an end")
        return value

    def to_mark(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is MARK:
                values = self._stack[place + 1 :]
                del self._stack[place:]
                return values
        raise ValueError("an end of a collection without its beginning")

    def out(self, values: list[Any] | tuple[Any, ...], depth: int = 0) -> None:
        """Give out the bytes and arrays among values that are put away."""
        for value in values:
            if isinstance(value, tuple) and not isinstance(value, Name) and depth < _MAX_TUPLE:
                self.out(value, depth + 1)
            elif isinstance(value, (Numbers, Data)):
                self._found.append(value)

    def data(self, size: int, *, text: bool = False) -> None:
        """Bytes or characters of that size: pushed as the place where they are, if they are long."""
        start = self._at
        if size > self._size - start:
            self._found.append(Data(start, self._size - start, is_text=text))
            raise EOFError
        if text and size <= _MAX_TEXT:
            self.push(self.read(size).decode("utf-8", "surrogateescape"))
            return
        self._at += size
        self.push(Data(start, size, "utf8" if text else "", text))

    def quoted(self) -> None:
        """A line of protocol 0 in quotes: bytes of Python 2."""
        start, end = self._at, self._line_end()
        self._at = end + 1
        if end - start >= 2:
            self.push(Data(start + 1, end - start - 2, "escaped"))
        else:
            raise ValueError("a text without quotes")

    def unquoted(self) -> None:
        """A line of protocol 0 without quotes: characters."""
        start, end = self._at, self._line_end()
        self._at = start
        if end - start <= _MAX_TEXT:
            self.push(self.read(end - start).decode("raw-unicode-escape"))
        else:
            self.push(Data(start, end - start, "unicode", is_text=True))
        self._at = end + 1

    def fetch(self, key: int) -> None:
        """Push what was remembered; most values are not."""
        self.push(self._memo.get(key, OPAQUE))

    def remember(self, key: int | None = None) -> None:
        """Remember the value on top, where a later instruction may need to know it."""
        value = self._stack[-1]
        is_short = isinstance(value, str) and len(value) <= _MAX_REMEMBERED
        if (is_short or isinstance(value, (Name, Type, Numbers, tuple))) and len(self._memo) < _MAX_MEMO:
            self._memo[self._memoed if key is None else key] = value
        self._memoed += 1

    # Collections

    def tuple_of(self, values: list[Any]) -> None:
        """Push a tuple."""
        if len(values) <= _MAX_TUPLE:
            self.push(tuple(values))
        else:
            self.out(values)
            self.push(OPAQUE)

    def put(self, count: int | None) -> None:
        """Put the ``count`` values on top (all above the mark) into the collection below them."""
        self.out(self.to_mark() if count is None else [self.pop() for _ in range(count)][::-1])
        if not self._stack:
            raise ValueError("no collection to put it into")

    def collection(self) -> None:
        """A collection of what stands above the mark."""
        self.out(self.to_mark())
        self.push(OPAQUE)

    # What would be called

    def name(self, module: Any, name: Any) -> None:
        """Something that would be imported."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is none")
        self.push(Name(f"{module}.{name}"))

    def call(self, function: Any, arguments: Any) -> None:
        """What a call would give, for the few that are known."""
        given = arguments if isinstance(arguments, tuple) and not isinstance(arguments, Name) else ()
        known = function.name if isinstance(function, Name) else ""
        self.push(self._known(known, given))

    def _known(self, function: str, given: tuple[Any, ...]) -> Any:
        if function == "_codecs.encode" and len(given) == 2 and given[1] in ("latin1", "latin-1"):
            value = given[0]
            if isinstance(value, Data) and value.is_text:
                return Data(value.start, value.size, value.coding)
            return SHORT
        if function in _ARRAYS:
            return Numbers()
        if function in _TYPES and given and isinstance(given[0], str):
            return Type(given[0])
        if function in _FROM_BUFFER and len(given) == 4:
            return array_of((1, given[2], given[1], given[3] == "F", given[0])) or OPAQUE
        if function not in _HARMLESS:
            self.not_known(function)
        self.out(given)
        return OPAQUE

    def not_known(self, name: str) -> None:
        """Remember what is not read."""
        if len(self.unknown) < _MAX_UNKNOWN and name and name not in self.unknown:
            self.unknown.append(name)

    def build(self) -> None:
        """Give a thing its state."""
        state, thing = self.pop(), self._stack[-1]
        if isinstance(thing, Type) and isinstance(state, tuple) and len(state) > 1 and isinstance(state[1], str):
            thing.order = state[1]
        elif isinstance(thing, Numbers) and isinstance(state, tuple) and (made := array_of(state)) is not None:
            thing.shape, thing.dtype, thing.fortran, thing.data = made.shape, made.dtype, made.fortran, made.data
        else:
            if isinstance(thing, Numbers):
                if not (isinstance(state, tuple) and state and state[-1] is SHORT):
                    self.not_known("numpy array of objects")
                self._stack[-1] = OPAQUE
            self.out([state])

    def make(self, values: list[Any]) -> None:
        """An instance of the first of the values, made of the others."""
        first = values[0] if values else OPAQUE
        self.call(first, tuple(values[1:]))
