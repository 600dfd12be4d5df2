"""Frames between the trusted parent and a worker: length-checked, without pickle, over a Unix socket.

A frame is a fixed header, a JSON object and the raw bytes of arrays. A file descriptor may travel beside it: the bytes
of a picture go from the reader to an analyser as an anonymous memory file that the parent passes on unopened.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from leakmatch.arrays import Array
from leakmatch.errors import LeakMatchError

_HEADER: Final = struct.Struct("<4sBII")  # magic, 1 if a descriptor travels along, bytes of JSON, bytes of arrays
_MAGIC: Final = b"LMF1"
MAX_JSON: Final = 16 << 20
MAX_BODY: Final = 64 << 20
_DTYPES: Final = {name: np.dtype(name) for name in ("uint8", "int32", "int64", "float32", "bool")}
#: What reading an unsound frame may raise.
UNSOUND: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
_RECEIVE: Final = 1 << 18


class ProtocolError(LeakMatchError):
    """A worker sent something that is not a frame. It is not trusted any further."""


class ChannelClosed(LeakMatchError):
    """The other side is gone."""


@dataclass(frozen=True, slots=True)
class Message:
    """One frame: what it is, its JSON fields, its arrays, and the descriptor that came with it."""

    kind: str
    fields: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    descriptor: int | None = None

    def discard(self) -> None:
        """Close the descriptor that came with it, for a frame that is not taken."""
        if self.descriptor is not None:
            os.close(self.descriptor)


class Channel:
    """One end of a connection. ``send`` blocks; ``receive`` waits for a frame; ``drain`` takes what is there."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        """The socket's descriptor, for a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket and every descriptor that was received and not handed out."""
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def send(
        self,
        kind: str,
        fields: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
        descriptor: int | None = None,
    ) -> None:
        """Send one frame. Raises :class:`ChannelClosed` if the other side is gone or takes nothing."""
        frame = packed(kind, fields or {}, arrays or {}, carries=descriptor is not None)
        try:
            sent = 0
            if descriptor is not None:
                sent = socket.send_fds(self._socket, [frame], [descriptor])
            self._socket.sendall(memoryview(frame)[sent:])
        except OSError as error:
            raise ChannelClosed(f"The other process is gone ({error.strerror}).") from error

    def receive(self) -> Message:
        """Wait for the next frame. Raises :class:`ChannelClosed` at the end."""
        while (message := self._take()) is None:
            self._fill(0)
        return message

    def drain(self) -> list[Message]:
        """Every whole frame that has arrived; reads once without waiting. For use after a selector fired."""
        self._fill(socket.MSG_DONTWAIT)
        messages: list[Message] = []
        try:
            while (message := self._take()) is not None:
                messages.append(message)
        except ProtocolError:
            for message in messages:
                message.discard()
            raise
        return messages

    def _fill(self, flags: int) -> None:
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_RECEIVE, socket.CMSG_SPACE(64 * 4), flags)
        except BlockingIOError:
            return
        except OSError as error:
            raise ChannelClosed(f"The other process is gone ({error.strerror}).") from error
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self._descriptors.extend(numbers)
        if len(self._descriptors) > 1:  # the kernel ends a read at each frame that carries one
            raise ProtocolError("A worker sent descriptors that it did not announce.")
        if not data:
            raise ChannelClosed("The other process is gone.")
        self._buffer += data

    def _take(self) -> Message | None:
        if len(self._buffer) < _HEADER.size:
            return None
        carries, head_size, body_size = _sizes(self._buffer)
        total = _HEADER.size + head_size + body_size
        if len(self._buffer) < total:
            return None
        frame = bytes(memoryview(self._buffer)[_HEADER.size : total])
        del self._buffer[:total]
        if carries and not self._descriptors:
            raise ProtocolError("A worker announced a descriptor and sent none.")
        descriptor = self._descriptors.popleft() if carries else None
        try:
            return _parse(frame, head_size, descriptor)
        except UNSOUND as error:
            if descriptor is not None:
                os.close(descriptor)
            raise ProtocolError(f"A worker sent a malformed frame ({error}).") from error


def packed(kind: str, fields: Mapping[str, Any], arrays: Mapping[str, Array], *, carries: bool = False) -> bytes:
    """One frame as bytes; ``carries``: a descriptor travels beside it."""
    layout = [[name, str(a.dtype), list(a.shape)] for name, a in arrays.items()]
    head = json.dumps({"kind": kind, "fields": dict(fields), "arrays": layout}).encode("ascii")
    body = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())
    if len(head) > MAX_JSON or len(body) > MAX_BODY:
        raise ProtocolError(f"A {kind} frame of {len(head)} + {len(body)} bytes is too large to send.")
    return _HEADER.pack(_MAGIC, carries, len(head), len(body)) + head + body


def unpacked(frame: bytes) -> Message:
    """The message in one whole frame that carries no descriptor. Raises :class:`ProtocolError`."""
    if len(frame) < _HEADER.size:
        raise ProtocolError("A frame ends early.")
    carries, head_size, body_size = _sizes(frame)
    if carries or len(frame) != _HEADER.size + head_size + body_size:
        raise ProtocolError("A frame is of another length than it says.")
    try:
        return _parse(frame[_HEADER.size :], head_size, None)
    except UNSOUND as error:
        raise ProtocolError(f"A frame is malformed ({error}).") from error


def _sizes(frame: bytes | bytearray) -> tuple[int, int, int]:
    """1 if a descriptor travels along, bytes of JSON, bytes of arrays."""
    magic, carries, head_size, body_size = _HEADER.unpack_from(frame)
    if magic != _MAGIC or carries > 1 or head_size > MAX_JSON or body_size > MAX_BODY:
        raise ProtocolError("A worker sent a malformed frame.")
    return carries, head_size, body_size


def _parse(frame: bytes, head_size: int, descriptor: int | None) -> Message:
    head = json.loads(frame[:head_size])
    kind, fields, layout = head["kind"], head["fields"], head["arrays"]
    if not isinstance(kind, str) or not isinstance(fields, dict):
        raise TypeError("kind or fields")
    arrays: dict[str, Array] = {}
    offset = head_size
    for name, dtype_name, shape in layout:
        dtype, count = _DTYPES[dtype_name], 1
        for length in shape:
            if type(length) is not int or length < 0 or len(shape) > 4:
                raise ValueError("array layout")
            count *= length
        if count * dtype.itemsize > len(frame) - offset:
            raise ValueError("array size")
        arrays[name] = np.frombuffer(frame, dtype, count, offset).reshape(shape)
        offset += count * dtype.itemsize
    if offset != len(frame):
        raise ValueError("bytes left over")
    return Message(kind, fields, arrays, descriptor)


def memory_file(payload: bytes) -> int:
    """The descriptor of an anonymous memory file with these bytes, which may be passed to a worker."""
    descriptor = os.memfd_create("picture", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(payload)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
