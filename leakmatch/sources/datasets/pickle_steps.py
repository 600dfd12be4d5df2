"""What each instruction of a pickle does to the stack. Source: the documentation of ``pickletools``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from leakmatch.sources.datasets.pickle_opcodes import Machine, Step
from leakmatch.sources.datasets.pickle_values import MARK, OPAQUE


def _pushes(value: Any) -> Step:
    return lambda machine: machine.push(value)


def _skips(size: int) -> Step:
    def step(machine: Machine) -> None:
        machine.skip(size)
        machine.push(OPAQUE)

    return step


def _number(machine: Machine, size: int, *, signed: bool = False) -> None:
    value = machine.number(size)
    machine.push(value - (1 << 8 * size) if signed and value >> (8 * size - 1) else value)


def _long_number(machine: Machine, width: int) -> None:
    size = machine.number(width)
    if size > 16:
        machine.skip(size)
        machine.push(OPAQUE)
    else:
        machine.push(int.from_bytes(machine.read(size), "little", signed=True))


def _text_number(machine: Machine) -> None:
    text = machine.line().rstrip(b"L")
    machine.push(text == b"01" if text in (b"00", b"01") else int(text))


def _global(machine: Machine) -> None:
    machine.name(machine.line().decode("utf-8", "replace"), machine.line().decode("utf-8", "replace"))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.call(function, arguments)


def _new(machine: Machine, count: int) -> None:
    values = [machine.pop() for _ in range(count)][::-1]
    machine.make([values[0], *(values[1] if isinstance(values[1], tuple) else ())])


def _instance(machine: Machine) -> None:
    _global(machine)
    name = machine.pop()
    machine.make([name, *machine.to_mark()])


def _real_number(machine: Machine) -> None:
    machine.line()
    machine.push(OPAQUE)


def _outside(machine: Machine) -> None:
    machine.not_known("data kept outside the pickle")
    machine.push(OPAQUE)


def _extension(size: int) -> Step:
    def step(machine: Machine) -> None:
        machine.number(size)
        machine.not_known("an extension")
        machine.push(OPAQUE)

    return step


def _persistent(machine: Machine, *, named: bool) -> None:
    if named:
        machine.line()
    else:
        machine.out([machine.pop()])
    _outside(machine)


def _duplicate(machine: Machine) -> None:
    machine.push(machine.top())


def _pop_mark(machine: Machine) -> None:
    machine.out(machine.to_mark())


def _pop_one(machine: Machine) -> None:
    if machine.top() is MARK:
        machine.to_mark()
    else:
        machine.out([machine.pop()])


def _discards(step: Callable[[Machine], Any]) -> Step:
    def discarding(machine: Machine) -> None:
        step(machine)

    return discarding


STEPS: Final[dict[bytes, Step]] = {
    b"\x80": _discards(lambda m: m.number(1)),
    b"\x95": _discards(lambda m: m.number(8)),
    b"(": _pushes(MARK),
    b"0": _pop_one,
    b"1": _pop_mark,
    b"2": _duplicate,
    # numbers
    b"I": _text_number,
    b"L": _text_number,
    b"J": lambda m: _number(m, 4, signed=True),
    b"K": lambda m: _number(m, 1),
    b"M": lambda m: _number(m, 2),
    b"F": _real_number,
    b"G": _skips(8),
    b"\x8a": lambda m: _long_number(m, 1),
    b"\x8b": lambda m: _long_number(m, 4),
    b"N": _pushes(None),
    b"\x88": _pushes(True),
    b"\x89": _pushes(False),
    # bytes and texts
    b"U": lambda m: m.data(m.number(1)),
    b"T": lambda m: m.data(m.number(4)),
    b"C": lambda m: m.data(m.number(1)),
    b"B": lambda m: m.data(m.number(4)),
    b"\x8e": lambda m: m.data(m.number(8)),
    b"\x96": lambda m: m.data(m.number(8)),
    b"S": lambda m: m.quoted(),
    b"V": lambda m: m.unquoted(),
    b"\x8c": lambda m: m.data(m.number(1), text=True),
    b"X": lambda m: m.data(m.number(4), text=True),
    b"\x8d": lambda m: m.data(m.number(8), text=True),
    # collections
    b"]": _pushes(OPAQUE),
    b"}": _pushes(OPAQUE),
    b"\x8f": _pushes(OPAQUE),
    b")": _pushes(()),
    b"l": lambda m: m.collection(),
    b"d": lambda m: m.collection(),
    b"\x91": lambda m: m.collection(),
    b"t": lambda m: m.tuple_of(m.to_mark()),
    b"\x85": lambda m: m.tuple_of([m.pop()]),
    b"\x86": lambda m: m.tuple_of([m.pop(), m.pop()][::-1]),
    b"\x87": lambda m: m.tuple_of([m.pop(), m.pop(), m.pop()][::-1]),
    b"a": lambda m: m.put(1),
    b"s": lambda m: m.put(2),
    b"e": lambda m: m.put(None),
    b"u": lambda m: m.put(None),
    b"\x90": lambda m: m.put(None),
    # what was seen before
    b"g": lambda m: m.fetch(int(m.line())),
    b"h": lambda m: m.fetch(m.number(1)),
    b"j": lambda m: m.fetch(m.number(4)),
    b"p": lambda m: m.remember(int(m.line())),
    b"q": lambda m: m.remember(m.number(1)),
    b"r": lambda m: m.remember(m.number(4)),
    b"\x94": lambda m: m.remember(),
    # what would be imported and called
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"b": lambda m: m.build(),
    b"i": _instance,
    b"o": lambda m: m.make(m.to_mark()),
    b"\x81": lambda m: _new(m, 2),
    b"\x92": lambda m: _new(m, 3),
    b"P": lambda m: _persistent(m, named=True),
    b"Q": lambda m: _persistent(m, named=False),
    b"\x82": _extension(1),
    b"\x83": _extension(2),
    b"\x84": _extension(4),
    # buffers of protocol 5
    b"\x97": _outside,
    b"\x98": lambda m: None,
}
